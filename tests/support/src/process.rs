//! One process of a test, with everything it starts.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A process that takes longer hangs. Far more than any needs, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long the system may take to end processes whose parent has died.
const AFTERMATH: Duration = Duration::from_secs(10);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until something is the case, or tells what it was.
pub fn wait_until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < patience,
            "waited in vain for this: {what}"
        );
        thread::sleep(PAUSE);
    }
}

/// How many processes this program has started, to give each file of words a name.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A process of a test. It is killed when the test forgets it.
pub struct Running {
    child: Child,
    folder: PathBuf,
    out: PathBuf,
    err: PathBuf,
    arguments: String,
}

impl Running {
    pub(crate) fn start(mut command: Command, folder: &Path) -> Running {
        let arguments = format!("{command:?}");
        // Files and not pipes: nobody has to read them while the process runs.
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let [out, err] =
            ["out", "err"].map(|stream| folder.join(format!("said-{number}.{stream}")));
        let file = |path| File::create(path).expect("a file for what it says");
        command
            .stdin(Stdio::null())
            .stdout(file(&out))
            .stderr(file(&err));
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{arguments}: {error}"));
        Running {
            child,
            folder: folder.to_path_buf(),
            out,
            err,
            arguments,
        }
    }

    /// Its process number.
    pub fn number(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said until now.
    pub fn words(&self) -> String {
        read(&self.out) + &read(&self.err)
    }

    /// True until it has ended.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }

    /// Waits until something is the case, which the process must live to see.
    pub fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            // A process that has ended and was not waited for has no program any more.
            let lives = Path::new("/proc")
                .join(self.number().to_string())
                .join("exe")
                .exists();
            let in_time = lives && began.elapsed() < PATIENCE;
            assert!(
                in_time,
                "{}: waited in vain for this: {what}\n{}",
                self.arguments,
                self.words()
            );
            thread::sleep(PAUSE);
        }
    }

    /// The processes that this one has started in a role, by the role's name.
    pub fn children(&self, role: &str) -> Vec<Pid> {
        roles_under(self.number())
            .into_iter()
            .filter(|(_, of)| of == role)
            .map(|(child, _)| child)
            .collect()
    }

    /// The one process of a role.
    pub fn child(&self, role: &str) -> Pid {
        let children = self.children(role);
        assert_eq!(children.len(), 1, "processes in the role {role}");
        children[0]
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let process = i32::try_from(self.number())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process number");
        kill_process(process, signal).expect("it is there");
    }

    /// Waits for its end, and looks that nothing is left of it.
    pub fn end(mut self) -> Said {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                break status;
            }
            if began.elapsed() > PATIENCE {
                let _ = self.child.kill();
                panic!("{} hangs\n{}", self.arguments, self.words());
            }
            thread::sleep(PAUSE);
        };
        let said = Said {
            code: status.code(),
            out: read(&self.out),
            err: read(&self.err),
            arguments: self.arguments.clone(),
        };
        self.leaves_nothing(status.code().is_none());
        said
    }

    /// No process, no named memory and no temporary file is left. A supervisor that is killed while a host starts leaves
    /// the folder of that host's socket, which the next start sweeps away.
    fn leaves_nothing(&self, is_killed: bool) {
        let number = self.number();
        wait_until(
            &format!("no child of {} is left", self.arguments),
            AFTERMATH,
            || roles_under(number).is_empty(),
        );
        let temporary = || {
            let mut names = names_in(&self.folder.join("tmp"));
            names.retain(|name| !(is_killed && name.starts_with("lockstep-sockets-")));
            names
        };
        // Another run of the same place may be starting a host just now.
        let began = Instant::now();
        while !temporary().is_empty() && began.elapsed() < AFTERMATH {
            thread::sleep(PAUSE);
        }
        let left = temporary();
        assert!(
            left.is_empty(),
            "{} leaves temporary files: {left:?}",
            self.arguments
        );
        let named: Vec<String> = names_in(Path::new("/dev/shm"))
            .into_iter()
            .filter(|name| name.contains("lockstep"))
            .collect();
        assert!(
            named.is_empty(),
            "{} leaves named memory: {named:?}",
            self.arguments
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            // Where a test fails over another process, the cause is often here.
            eprintln!("standard error of {}:", self.arguments);
            eprintln!("{}", fs::read_to_string(&self.err).unwrap_or_default());
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("a file of what it says")).into_owned()
}

fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Processes whose arguments say that they serve this supervisor, each with its role.
fn roles_under(supervisor: u32) -> Vec<(Pid, String)> {
    let supervisor = supervisor.to_string();
    let processes = names_in(Path::new("/proc"))
        .into_iter()
        .filter_map(|name| Pid::from_raw(name.parse().ok()?));
    processes
        .filter_map(|process| {
            let line = fs::read(format!("/proc/{}/cmdline", process.as_raw_nonzero())).ok()?;
            let words: Vec<String> = line
                .split(|byte| *byte == 0)
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect();
            let role = words.iter().find_map(|word| word.strip_prefix("role:"))?;
            words
                .contains(&supervisor)
                .then(|| (process, role.to_owned()))
        })
        .collect()
}

/// How a process ended and what it said.
#[derive(Clone, Debug)]
pub struct Said {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    arguments: String,
}

impl Said {
    /// The process must have ended with this exit code; none stands for a signal.
    pub fn with_code(self, code: impl Into<Option<i32>>) -> Said {
        assert_eq!(self.code, code.into(), "exit code of {self}");
        self
    }

    /// The one message on standard error must name all of these.
    pub fn naming(self, words: &[&str]) -> Said {
        for word in words {
            assert!(
                self.err.contains(word),
                "the message must name {word:?}: {self}"
            );
        }
        let messages = self
            .err
            .lines()
            .filter(|line| line.starts_with("error"))
            .count();
        assert_eq!(messages, 1, "one clear message: {self}");
        assert!(!self.err.contains("panicked"), "{self}");
        self
    }

    /// The last line of standard output, which is one JSON object.
    pub fn json(&self) -> serde_json::Value {
        let last = self.out.lines().next_back().unwrap_or_default();
        let json: serde_json::Value =
            serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self}"));
        assert!(json.is_object(), "{self}");
        json
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ended with {:?}\n{}{}",
            self.arguments, self.code, self.out, self.err
        )
    }
}
