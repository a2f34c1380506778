//! The work, the same for every transport.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Names the transport in the environment of a child.
pub(crate) const ROLE: &str = "LOCKSTEP_RING_BENCH_ROLE";
/// Names the task in the environment of a child.
const TASK: &str = "LOCKSTEP_RING_BENCH_TASK";

/// Bytes that one repeat of a stream of blocks moves.
const STREAM_BYTES: usize = 256 << 20;
/// Messages of one repeat of a stream of small ones.
const STREAM_MESSAGES: usize = 400_000;
/// Round trips of one repeat, and before it, while the child wakes up.
const ROUND_TRIPS: usize = 40_000;
const WARM_UP: usize = 1_000;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// 64 bytes there and back.
    RoundTrip {
        /// Whether each end asks after each message if the other sleeps.
        rings: bool,
    },
    /// Messages of so many words one way, shown to the reader in groups.
    Stream { words: usize, group: usize },
}

impl Task {
    pub(crate) fn words(&self) -> usize {
        match self {
            Task::RoundTrip { .. } => 8,
            Task::Stream { words, .. } => *words,
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn bytes(&self) -> f64 {
        (8 * self.words()) as f64
    }

    fn count(&self) -> usize {
        match self {
            Task::RoundTrip { .. } => ROUND_TRIPS,
            Task::Stream { words: 8, .. } => STREAM_MESSAGES,
            Task::Stream { words, .. } => STREAM_BYTES / 8 / words,
        }
    }
}

/// One end of a transport. Every call polls until it is done.
pub(crate) trait End {
    /// Sends one message, filled in place from this number on.
    fn send(&mut self, words: usize, first: u64);
    /// Leaves a message to [`End::flush`], where the transport can.
    fn stage(&mut self, words: usize, first: u64) {
        self.send(words, first);
    }
    /// Shows the reader what is staged.
    fn flush(&mut self) {}
    /// Wakes the reader if it sleeps, where the transport can.
    fn ring(&mut self) {}
    /// Receives one message and sums its words, in place where the transport can.
    fn receive(&mut self) -> u64;
}

/// Fills memory that nobody else sees yet.
///
/// # Safety
/// There must be room for so many words, aligned.
#[inline]
pub(crate) unsafe fn fill(memory: *mut u64, words: usize, first: u64) {
    for at in 0..words {
        // SAFETY: within the words.
        unsafe { memory.add(at).write(first.wrapping_add(at as u64)) };
    }
}

/// Sums words in place.
#[inline]
pub(crate) fn sum(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

/// What [`sum`] finds in a message that [`fill`] wrote.
fn expected(words: usize, first: u64) -> u64 {
    let words = words as u64;
    words
        .wrapping_mul(first)
        .wrapping_add(words * words.saturating_sub(1) / 2)
}

/// The child's side: one repeat for each line on standard input.
pub(crate) fn serve(end: &mut impl End) -> io::Result<()> {
    let task = task_of_child();
    for line in io::stdin().lines() {
        line?;
        match task {
            Task::RoundTrip { rings } => {
                for _ in 0..WARM_UP + ROUND_TRIPS {
                    let sum = end.receive();
                    end.send(8, sum);
                    if rings {
                        end.ring();
                    }
                }
            }
            Task::Stream { .. } => {
                // Awake: the clock of the parent starts now.
                end.send(8, 0);
                let sum = (0..task.count()).fold(0_u64, |sum, _| sum.wrapping_add(end.receive()));
                end.send(8, sum);
            }
        }
    }
    Ok(())
}

/// The parent's side of one repeat. Seconds per message or round trip.
#[allow(clippy::disallowed_methods, reason = "this is where time is measured")]
pub(crate) fn run(end: &mut impl End, task: &Task) -> f64 {
    let count = task.count();
    let started;
    match *task {
        Task::RoundTrip { rings } => {
            let mut round_trip = |first| {
                end.send(8, first);
                if rings {
                    end.ring();
                }
                assert_eq!(
                    end.receive(),
                    expected(8, expected(8, first)),
                    "a message has changed"
                );
            };
            (0..WARM_UP as u64).for_each(&mut round_trip);
            started = Instant::now();
            (0..ROUND_TRIPS as u64).for_each(&mut round_trip);
        }
        Task::Stream { words, group } => {
            end.receive();
            started = Instant::now();
            for at in 0..count {
                end.stage(words, at as u64);
                if (at + 1) % group == 0 {
                    end.flush();
                }
            }
            end.flush();
            let all = (0..count as u64)
                .fold(0_u64, |sum, first| sum.wrapping_add(expected(words, first)));
            assert_eq!(
                end.receive(),
                expected(8, all),
                "a message is missing or has changed"
            );
        }
    }
    per(started.elapsed(), count)
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per(elapsed: Duration, count: usize) -> f64 {
    elapsed.as_secs_f64() / count as f64
}

/// A transport whose child is running.
pub(crate) trait Child {
    fn run(&mut self, task: &Task) -> io::Result<f64>;
}

/// The pipe on which a child sleeps.
pub(crate) struct Pipe {
    child: std::process::Child,
    input: Option<ChildStdin>,
    /// What the child says once it can be used.
    output: BufReader<ChildStdout>,
}

impl Pipe {
    /// Starts this program again in a role.
    pub(crate) fn start(
        role: &str,
        task: &Task,
        prepare: impl FnOnce(&mut Command),
    ) -> io::Result<Pipe> {
        let mut command = Command::new(std::env::current_exe()?);
        let (words, group, rings) = match *task {
            Task::RoundTrip { rings } => (0, 0, rings),
            Task::Stream { words, group } => (words, group, false),
        };
        command
            .env(ROLE, role)
            .env(TASK, format!("{words} {group} {rings}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        Ok(Pipe {
            child,
            input,
            output,
        })
    }

    /// Waits until the child has said that it can be used.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        self.output.read_line(&mut String::new()).map(drop)
    }

    /// Lets the child do one repeat.
    pub(crate) fn go(&mut self) -> io::Result<()> {
        self.input
            .as_mut()
            .ok_or(io::ErrorKind::BrokenPipe)?
            .write_all(b"go\n")
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// Tells the parent that this child can be used.
pub(crate) fn say_ready() -> io::Result<()> {
    io::stdout().write_all(b"ready\n")
}

/// The task that this child was started for.
pub(crate) fn task_of_child() -> Task {
    let text = std::env::var(TASK).expect("set by the parent");
    let mut fields = text.split(' ');
    let mut next = || fields.next().expect("three fields");
    let (words, group, rings) = (next(), next(), next() == "true");
    match words.parse().expect("a number") {
        0 => Task::RoundTrip { rings },
        words => Task::Stream {
            words,
            group: group.parse().expect("a number"),
        },
    }
}

/// The repeats of one task, in seconds.
#[derive(Default)]
pub(crate) struct Measured(Vec<f64>);

impl Measured {
    pub(crate) fn add(&mut self, seconds: f64) {
        self.0.push(seconds);
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    pub(crate) fn median(&self) -> f64 {
        self.sorted()[self.0.len() / 2]
    }

    pub(crate) fn best(&self) -> f64 {
        self.sorted()[0]
    }
}
