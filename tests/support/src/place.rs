//! A folder of a test's own and the binary in it.

use crate::process::{Running, Said};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A folder of a test's own. Commands run in it, so that names in it need no path.
pub struct Place {
    folder: TempDir,
    cache: PathBuf,
}

impl Place {
    /// A place that shares the cache of compiled agents: compiling is slow without optimisation.
    #[allow(clippy::new_without_default, reason = "a new folder is no default")]
    pub fn new() -> Place {
        let folder = tempfile::tempdir().expect("a folder for the test");
        fs::create_dir(folder.path().join("tmp")).expect("a folder for temporary files");
        Place {
            folder,
            cache: target_dir().join("tmp/cache"),
        }
    }

    /// A place with a cache of its own, where every agent is compiled anew.
    pub fn with_own_cache() -> Place {
        let place = Place::new();
        let cache = place.path("cache");
        Place { cache, ..place }
    }

    /// A path below it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file below it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("the test's folder can be written");
        path
    }

    /// A program with what all programs of this place have in common.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env("TMPDIR", self.path("tmp"))
            .env("XDG_CACHE_HOME", &self.cache)
            .env_remove("LOCKSTEP_ORT_LIB");
        command
    }

    /// The binary with arguments, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(lockstep_binary());
        command.args(arguments);
        command
    }

    /// Starts a command.
    pub fn start(&self, command: Command) -> Running {
        Running::start(command, self.folder.path())
    }

    /// Runs the binary to its end.
    pub fn lockstep(&self, arguments: &[&str]) -> Said {
        self.start(self.command(arguments)).end()
    }

    /// Runs the binary to its end, which must be a good one.
    pub fn fine(&self, arguments: &[&str]) -> Said {
        self.lockstep(arguments).with_code(0)
    }

    /// Runs a fleet that must be refused before its first tick.
    pub fn refuse(&self, text: &str, code: i32, words: &[&str]) -> Said {
        self.write("fleet.toml", text);
        let said = self
            .lockstep(&["run", "fleet.toml", "--dir", "runs/one"])
            .with_code(code)
            .naming(words);
        assert!(
            !self.path("runs").exists(),
            "the folders of a run that did not begin are taken away: {said}"
        );
        assert!(said.out.is_empty(), "{said}");
        said
    }

    /// Starts a run in the folder `run` and waits until it has committed some ticks and let something out.
    pub fn start_run(&self, fleet: &str) -> Running {
        let running = self.start(self.command(&["run", fleet, "--dir", "run", "--json"]));
        let outbox_bytes =
            || fs::metadata(self.path("run/outbox.jsonl")).map_or(0, |file| file.len());
        running.wait_until("ticks are in the journal and lines in the outbox", || {
            self.journal_bytes("run") > 20_000 && outbox_bytes() > 0
        });
        running
    }

    /// Bytes of the first file of a journal.
    pub fn journal_bytes(&self, run: &str) -> u64 {
        fs::metadata(self.segment(run)).map_or(0, |file| file.len())
    }

    /// The first file of a journal.
    pub fn segment(&self, run: &str) -> PathBuf {
        self.path(run).join("journal/00000001.lkj")
    }

    /// What `verify` says of a run that must verify.
    pub fn verified(&self, run: &str) -> serde_json::Value {
        let verified = self.fine(&["verify", run, "--json"]).json();
        assert_eq!(verified["verifies"], true, "{verified}");
        verified
    }

    /// Replays a run, with journaled results and with the models, and gives its chain; both must agree with it.
    pub fn replays(&self, run: &str) -> String {
        let chains = [
            &["replay", run, "--json"][..],
            &["replay", run, "--reinfer", "--json"],
        ]
        .map(|arguments| {
            let replay = self.fine(arguments).json();
            assert_eq!(
                (&replay["diverged"], &replay["complete"]),
                (&false.into(), &true.into()),
                "{replay}"
            );
            chain(&replay)
        });
        assert_eq!(chains[0], chains[1]);
        chains[0].clone()
    }
}

/// The binary that is tested: cargo has put it beside the folder of this test program.
pub fn lockstep_binary() -> PathBuf {
    let binary = target_dir().join("lockstep");
    assert!(
        binary.is_file(),
        "{} is not there: tests of the binary are run by `cargo test` of the whole workspace",
        binary.display()
    );
    binary
}

/// The folder in which cargo puts the binaries of this build.
fn target_dir() -> PathBuf {
    let program = std::env::current_exe().expect("a path");
    let deps = program.parent().and_then(Path::parent);
    deps.expect("a folder for each profile").to_path_buf()
}

/// The chain in a JSON answer.
pub fn chain(json: &serde_json::Value) -> String {
    let chain = json["chain"]
        .as_str()
        .unwrap_or_else(|| panic!("no chain in {json}"))
        .to_owned();
    assert!(
        chain.len() == 64 && chain.bytes().all(|digit| digit.is_ascii_hexdigit()),
        "{chain}"
    );
    chain
}

/// All files below a folder with their contents.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in
            fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display()))
        {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path
                    .strip_prefix(folder)
                    .expect("it is below")
                    .to_path_buf();
                found.insert(name, fs::read(&path).expect("a readable file"));
            }
        }
    }
    found
}

/// Says that a check is left out, past the test harness, which keeps what a test prints to itself.
pub fn skipped(what: &str, why: &str) {
    let said = writeln!(std::io::stderr(), "skipped: {what}: {why}");
    said.expect("standard error is there");
}
