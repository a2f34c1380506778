//! `docs/faults.md` agrees with the code: its tables of points and kinds are those of the code, and what it names is
//! there.

use shm_protocol::fault::{FaultKind, FaultPoint, Pin};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document() -> String {
    fs::read_to_string(root().join("docs/faults.md")).expect("the document")
}

/// The lines between two marks of the document.
fn between<'d>(document: &'d str, mark: &str) -> &'d str {
    let start = document
        .find(&format!("<!-- {mark}:"))
        .expect("the first mark");
    let rest = &document[start..];
    let end = rest
        .find(&format!("<!-- end of {mark} -->"))
        .expect("the last mark");
    let body = &rest[..end];
    body.split_once("-->\n")
        .expect("the end of the first mark")
        .1
}

fn points() -> String {
    let mut table = "| point | crate | passed by | tick | what is true there |\n\
        | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for point in FaultPoint::ALL {
        let processes: Vec<&str> = point
            .processes()
            .iter()
            .map(|process| process.name())
            .collect();
        let pin = match point.pin() {
            Pin::Exact => "exact",
            Pin::From => "from",
            Pin::Start => "start",
        };
        table += &format!(
            "| `{}` | {} | {} | {pin} | {} |\n",
            point.name(),
            point.place(),
            processes.join(", "),
            point.what()
        );
    }
    table
}

fn kinds() -> String {
    let mut table = "| kind | what happens | where |\n| --- | --- | --- |\n".to_owned();
    for kind in FaultKind::ALL {
        table += &format!(
            "| `{}` | {} | {} |\n",
            kind.name(),
            kind.what(),
            places(kind)
        );
    }
    table
}

/// The fault points of a kind, abbreviated.
fn places(kind: FaultKind) -> String {
    let names = |of_host: bool, fits: bool| -> Vec<String> {
        FaultPoint::ALL
            .iter()
            .filter(|point| point.is_of_supervisor() != of_host && kind.fits(**point) == fits)
            .map(|point| format!("`{}`", point.name()))
            .collect()
    };
    let part = |of_host: bool, whose: &str| {
        let (fits, misfits) = (names(of_host, true), names(of_host, false));
        if fits.is_empty() {
            None
        } else if misfits.is_empty() {
            Some(format!("every point of {whose}"))
        } else if misfits.len() < fits.len() {
            Some(format!("every point of {whose} but {}", misfits.join(", ")))
        } else {
            Some(fits.join(", "))
        }
    };
    let parts = [part(false, "the supervisor"), part(true, "hosts")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join("; ")
}

/// Set `LOCKSTEP_UPDATE_DOCUMENTS` to write the tables instead.
#[test]
fn the_documented_points_and_kinds_are_those_of_the_code() {
    let mut document = document();
    for (mark, table) in [("points", points()), ("kinds", kinds())] {
        let written = between(&document, mark).to_owned();
        if std::env::var_os("LOCKSTEP_UPDATE_DOCUMENTS").is_some() {
            let start = document
                .find(&format!("<!-- {mark}:"))
                .expect("the first mark");
            let at = start + document[start..].find("-->\n").expect("its end") + 4;
            document.replace_range(at..at + written.len(), &format!("\n{table}\n"));
            fs::write(root().join("docs/faults.md"), &document).expect("the document");
        } else {
            assert_eq!(
                written.trim(),
                table.trim(),
                "see this test for how to write it anew"
            );
        }
    }
}

/// The rows of the classes, by their number.
fn classes(document: &str) -> BTreeMap<&str, Vec<&str>> {
    let classes = document.split_once("## Classes").expect("the classes").1;
    let rows = classes
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| #"));
    let mut found = BTreeMap::new();
    for row in rows.filter(|row| !row.starts_with("| ---")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        assert!(found.insert(cells[0], cells).is_none(), "twice: {row}");
    }
    found
}

#[test]
fn every_class_of_the_fault_model_has_its_promise() {
    let document = document();
    let classes = classes(&document);
    let numbers = [
        ("P", 17),
        ("M", 11),
        ("C", 8),
        ("N", 11),
        ("W", 8),
        ("J", 11),
        ("S", 6),
        ("K", 3),
        ("X", 4),
    ];
    let expected: BTreeSet<String> = numbers
        .iter()
        .flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number}")))
        .collect();
    assert_eq!(expected.len(), 79);
    let found: BTreeSet<String> = classes.keys().map(ToString::to_string).collect();
    assert_eq!(found, expected);
    for cells in classes.values() {
        assert!(!cells[1].is_empty() && !cells[2].is_empty(), "{cells:?}");
    }
}

/// The words in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The code and the tests of all crates.
fn sources() -> String {
    let mut sources = String::new();
    for folder in [
        "tests",
        "src",
        "shm-protocol",
        "supervisor",
        "agent-host",
        "inference-host",
    ] {
        gather(&root().join(folder), &mut sources);
    }
    sources
}

/// Each row of the page on determinism names a test, a planted bug or the file that holds the rule.
#[test]
fn what_the_page_on_determinism_names_is_there() {
    let page = fs::read_to_string(root().join("docs/determinism.md")).expect("the page");
    let sources = sources();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let rows = rows.filter(|row| !row.starts_with("| what ") && !row.starts_with("| --- "));
    let mut count = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{row}");
        let is_named = |name: &str| {
            sources.contains(&format!("fn {name}("))
                || sources.contains(&format!("\"{name}\", "))
                || root().join(name).exists()
                || root().join("agent-host/src").join(name).exists()
        };
        let missing: Vec<&str> = quoted(cells[3]).filter(|name| !is_named(name)).collect();
        assert_eq!(missing, [""; 0], "{row}");
        let words = ["the simulator", "the same"];
        let is_covered = quoted(cells[3]).next().is_some();
        assert!(is_covered || words.contains(&cells[3]), "{row}");
        count += 1;
    }
    assert!(count > 20, "{count} rows");
}

#[test]
fn what_the_document_names_is_there() {
    let document = document();
    let sources = sources();
    for cells in classes(&document).values() {
        for test in quoted(cells[4]) {
            assert!(
                sources.contains(&format!("fn {test}(")),
                "{}: no test `{test}`",
                cells[0]
            );
        }
        for word in quoted(cells[3]).filter(|word| !word.contains(['=', '_', ' '])) {
            let is_known = FaultPoint::from_name(word).is_some()
                || FaultKind::from_name(word).is_some()
                || ["resume", "verify", "times"].contains(&word);
            assert!(
                is_known,
                "{}: neither a point nor a kind: `{word}`",
                cells[0]
            );
        }
    }
}

fn gather(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            gather(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&fs::read_to_string(&path).expect("text"));
        }
    }
}
