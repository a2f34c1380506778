//! The harness that proves that a crate's tests catch its planted bugs.
//!
//! For each bug the calling test program is started again, with the bug planted and the test that is named beside it to
//! run, which must say that it failed. Without a bug the same test must pass, or its failing would prove nothing. Only
//! the unit tests of a crate with a `planted` module can plant its bugs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Output};
use std::sync::Mutex;

/// A bug: its name, what it is, and the test that must fail with it.
pub type Bug = [&'static str; 3];

/// What the environment names the bug with.
const PLANTED: &str = "LOCKSTEP_PLANTED";

/// How many tests run at once.
const AT_ONCE: usize = 2;

/// What a test program ends with when one of its tests failed.
const FAILED: i32 = 101;

/// Requires that every bug is caught by the test that is named beside it.
pub fn check(bugs: &[Bug]) {
    let names: BTreeSet<&str> = bugs.iter().map(|[name, _, _]| *name).collect();
    assert_eq!(names.len(), bugs.len(), "no two bugs have one name");
    let tests: BTreeSet<&str> = bugs.iter().map(|[_, _, test]| *test).collect();
    let without = tests.into_iter().map(|test| (test, None));
    let with = bugs.iter().map(|[bug, _, test]| (*test, Some(*bug)));
    let work = Mutex::new(without.chain(with));
    let complaints = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = work.lock().expect("nobody panics with it").next();
                    let Some((test, bug)) = next else { return };
                    let complaint = complaint(test, bug);
                    complaints
                        .lock()
                        .expect("nobody panics with it")
                        .extend(complaint);
                }
            });
        }
    });
    let complaints = complaints.into_inner().expect("nobody panics with it");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Requires that the table of `docs/faults.md` for a package is that of its code. Set `LOCKSTEP_UPDATE_DOCUMENTS` to write
/// the table instead.
pub fn check_document(package: &str, bugs: &[Bug]) {
    let path = crate::repository("docs/faults.md");
    let document = fs::read_to_string(&path).expect("the document");
    let mut table = String::from("\n| bug | what it is | caught by |\n| --- | --- | --- |\n");
    for [name, what, test] in bugs {
        let test = test.rsplit("::").next().expect("a name");
        writeln!(table, "| `{name}` |{what} | `{test}` |").expect("writing to a string");
    }
    table.push('\n');
    let mark = format!("bugs of {package}");
    let (before, rest) = document
        .split_once(&format!("<!-- {mark}: "))
        .expect("the first mark");
    let (source, rest) = rest.split_once("-->\n").expect("its end");
    let (written, after) = rest
        .split_once(&format!("<!-- end of {mark} -->"))
        .expect("the last mark");
    if std::env::var_os("LOCKSTEP_UPDATE_DOCUMENTS").is_some() {
        let text =
            format!("{before}<!-- {mark}: {source}-->\n{table}<!-- end of {mark} -->{after}");
        fs::write(&path, text).expect("the document can be written");
    } else {
        assert_eq!(
            written, table,
            "set LOCKSTEP_UPDATE_DOCUMENTS to write the table"
        );
    }
}

/// Runs one test of this program, with a bug or without.
fn run(test: &str, bug: Option<&str>) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args([test, "--exact"]).env_remove(PLANTED);
    // Bugs are caught early in a campaign of the simulator, or not at all.
    command.env("LOCKSTEP_SIM_FAULTS", "20000");
    if let Some(bug) = bug {
        command.env(PLANTED, bug);
    }
    command.output().expect("this program can be started")
}

/// What is wrong with how a test has ended.
fn complaint(test: &str, bug: Option<&str>) -> Option<String> {
    let output = run(test, bug);
    let said = String::from_utf8_lossy(&output.stdout);
    let (code, result) = match bug {
        None => (0, "test result: ok. 1 passed; 0 failed;"),
        Some(_) => (FAILED, "test result: FAILED. 0 passed; 1 failed;"),
    };
    if output.status.code() == Some(code) && said.contains(result) {
        return None;
    }
    Some(match bug {
        None => format!(
            "`{test}` does not pass without any bug: {}\n{said}",
            output.status
        ),
        Some(bug) => format!("`{bug}` was not caught by `{test}`: {}", output.status),
    })
}
