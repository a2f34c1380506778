//! How long the demo takes to its first tick, how large the binary is, and what
//! memory a fleet takes.
//!
//! The demo is started with an empty cache of compiled agents and with a full
//! one, in turns. Memory is private memory, clean and dirty, as the system
//! counts it for each process of a running fleet.
//!
//! `cargo bench -p lockstep-benches --bench footprint`

use lockstep_benches::clock::{now, rest};
use lockstep_benches::fleets::{self, Work};
use lockstep_benches::processes::{AGENT_HOST, INFERENCE_HOST, children};
use lockstep_benches::report::Report;
use lockstep_benches::samples::Samples;
use lockstep_benches::{Trouble, binary};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use supervisor::fleet::Durability;

/// How often each is measured. Odd, for the median.
const REPEATS: usize = 7;

/// Time that a fleet runs before its memory is counted, and limit of the time to its first ticks.
const SETTLED: Duration = Duration::from_millis(1500);
const STARTED: Duration = Duration::from_secs(120);

/// Agents of the fleets whose growth is looked at.
const GROWTH: [usize; 3] = [100, 1_000, 10_000];

/// Agents of the larger fleet.
const MANY: usize = 500;

const MIB: f64 = 1024.0 * 1024.0;

fn main() -> Result<(), Trouble> {
    let binary = binary::lockstep()?;
    let scratch = binary::scratch()?;
    let mut report = Report::new("footprint");
    report.say(&format!("measured: {}", binary.display()));
    tell_start(&mut report, &binary, scratch.path())?;
    tell_size(&mut report, &binary)?;
    tell_memory(&mut report, &binary, scratch.path())?;
    tell_growth(&mut report, &binary, scratch.path())?;
    report.finish()
}

/// From the start of the process to the first committed tick of the demo.
fn tell_start(report: &mut Report, binary: &Path, scratch: &Path) -> Result<(), Trouble> {
    let (mut cold, mut warm) = (Samples::default(), Samples::default());
    for _ in 0..REPEATS {
        // The first of both finds an empty cache and fills it for the second.
        let cache = tempfile::tempdir_in(scratch)?;
        for samples in [&mut cold, &mut warm] {
            let dir = scratch.join("demo");
            let mut command = Command::new(binary);
            command
                .args(["demo", "--json", "--ticks", "50", "--dir"])
                .arg(&dir)
                .env("XDG_CACHE_HOME", cache.path());
            samples.add(fleets::number(&fleets::finish(command)?, "first_tick_s")?);
            fs::remove_dir_all(&dir)?;
        }
    }
    report.keep("demo/first tick, empty cache_s", &cold);
    report.keep("demo/first tick, full cache_s", &warm);
    let row = |what: &str, samples: &Samples| vec![what.to_owned(), samples.show(1e3, 0)];
    let rows = [
        row("empty cache: agents are compiled", &cold),
        row("full cache", &warm),
    ];
    report.table(
        "demo, 64 agents: start to first committed tick",
        &["", "ms: median (least..most)"],
        &rows,
    );
    Ok(())
}

fn tell_size(report: &mut Report, binary: &Path) -> Result<(), Trouble> {
    let (all, library) = (
        fs::metadata(binary)?.len(),
        inference_host::embedded_library().bytes.len() as u64,
    );
    report.keep_once("binary/bytes", json!(all));
    report.keep_once("binary/library_bytes", json!(library));
    let row = |what: &str, bytes: u64| vec![what.to_owned(), format!("{:.1}", bytes as f64 / MIB)];
    let rows = [
        row("binary", all),
        row("  of it ONNX Runtime", library),
        row("  of it all else", all - library),
    ];
    report.table("size", &["", "MiB"], &rows);
    Ok(())
}

/// What the system says of the memory of one process, in bytes.
#[derive(Clone, Copy, Default)]
struct Memory {
    private: f64,
    proportional: f64,
}

/// The processes of a running fleet.
#[derive(Clone, Copy, Default)]
struct Processes {
    supervisor: Memory,
    agents: Memory,
    inference: Memory,
}

fn tell_memory(report: &mut Report, binary: &Path, scratch: &Path) -> Result<(), Trouble> {
    let mut rows = Vec::new();
    for work in Work::ALL {
        let few = look_at_fleet(binary, scratch, work, 1)?;
        let many = look_at_fleet(binary, scratch, work, MANY)?;
        let further = |few: f64, many: f64| (many - few) / (MANY - 1) as f64;
        let mut row = |what: &str, few: Memory, many: Memory| {
            let (private, proportional) = (
                further(few.private, many.private),
                further(few.proportional, many.proportional),
            );
            let name = format!("{}/{what}", work.name());
            report.keep_once(
                &name,
                json!({
                    "private_bytes": few.private, "proportional_bytes": few.proportional,
                    "private_bytes_of_each_further_agent": private,
                }),
            );
            let mib = |bytes: f64| format!("{:.2}", bytes / MIB);
            let kib = |bytes: f64| format!("{:.1}", bytes / 1024.0);
            rows.push(vec![
                name,
                mib(few.private),
                mib(few.proportional),
                mib(many.private),
                kib(private),
                kib(proportional),
            ]);
        };
        row("supervisor", few.supervisor, many.supervisor);
        row("agent host", few.agents, many.agents);
        if work == Work::Mlp {
            row("inference host", few.inference, many.inference);
        }
    }
    let columns = [
        "process",
        "1 agent: private MiB",
        "proportional MiB",
        "500 agents: private MiB",
        "each further agent: private KiB",
        "proportional KiB",
    ];
    report.table("memory of a running fleet, one agent host", &columns, &rows);
    report.say("Private: pages that no other process maps, clean and dirty. Proportional: those, and a share of the rest,");
    report.say("which is the binary and the rings.");
    Ok(())
}

/// The memory of each agent of fleets of very different sizes: the same, unless something is kept for every pair.
fn tell_growth(report: &mut Report, binary: &Path, scratch: &Path) -> Result<(), Trouble> {
    let one = look_at_fleet(binary, scratch, Work::Counter, 1)?;
    let mut rows = Vec::new();
    for agents in GROWTH {
        let many = look_at_fleet(binary, scratch, Work::Counter, agents)?;
        let further =
            |one: Memory, many: Memory| (many.private - one.private) / (agents - 1) as f64 / 1024.0;
        let host = further(one.agents, many.agents);
        let supervisor = further(one.supervisor, many.supervisor);
        report.keep_once(
            &format!("growth/{agents}"),
            json!({ "agent_host_kib": host, "supervisor_kib": supervisor }),
        );
        rows.push(vec![
            agents.to_string(),
            format!("{host:.1}"),
            format!("{supervisor:.1}"),
            format!("{:.1}", host + supervisor),
        ]);
    }
    report.table(
        "private KiB of each further agent (counters, one agent host)",
        &["agents", "agent host", "supervisor", "both"],
        &rows,
    );
    Ok(())
}

/// Waits until the journal of a fleet grows, which it does once all agents are loaded.
fn await_ticks(running: &mut Running, dir: &Path) -> Result<(), Trouble> {
    let journal = dir.join("journal/00000001.lkj");
    let bytes = || fs::metadata(&journal).map_or(0, |journal| journal.len());
    let began = now();
    while began.elapsed() < STARTED && running.0.try_wait()?.is_none() {
        let before = bytes();
        rest(Duration::from_millis(100));
        if before > 0 && bytes() > before {
            return Ok(());
        }
    }
    Err("a fleet has no ticks".into())
}

/// Runs a fleet for a while and looks at its processes.
fn look_at_fleet(
    binary: &Path,
    scratch: &Path,
    work: Work,
    agents: usize,
) -> Result<Processes, Trouble> {
    let fleet = work.fleet(scratch, agents)?;
    let dir = scratch.join("looked-at");
    // It is ended long before.
    let mut command = fleets::command(binary, &fleet, &dir, 1_000_000_000, Durability::Process);
    let mut running = Running(
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    await_ticks(&mut running, &dir)?;
    rest(SETTLED);
    if let Some(status) = running.0.try_wait()? {
        return Err(format!("a fleet of {agents} agents ended with {status}").into());
    }
    let pid = running.0.id();
    let mut processes = Processes {
        supervisor: memory(pid)?,
        ..Processes::default()
    };
    for child in children(pid)? {
        let arguments = fs::read_to_string(format!("/proc/{child}/cmdline"))?;
        match arguments.split('\0').nth(1) {
            // The hot standby is one too, and has no agents.
            Some(AGENT_HOST) => {
                let found = memory(child)?;
                if found.private > processes.agents.private {
                    processes.agents = found;
                }
            }
            Some(INFERENCE_HOST) => processes.inference = memory(child)?,
            _ => {}
        }
    }
    running.end()?;
    fs::remove_dir_all(&dir)?;
    if processes.agents.private == 0.0 || (work == Work::Mlp && processes.inference.private == 0.0)
    {
        return Err("a fleet has other hosts than it should have".into());
    }
    Ok(processes)
}

/// A fleet that is ended when nobody looks at it any more.
struct Running(Child);

impl Running {
    fn end(mut self) -> Result<(), Trouble> {
        kill(Pid::from_raw(i32::try_from(self.0.id())?), Signal::SIGTERM)?;
        let status = self.0.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("a fleet that was told to end did so with {status}").into())
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Too late for anybody to be told; after an orderly end there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn memory(pid: u32) -> Result<Memory, Trouble> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(|error| {
        format!(
            "{path} cannot be read: {error}; hosts are closed to other users, so run this as root"
        )
    })?;
    let kib = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or(0.0)
    };
    let private = kib("Private_Clean:") + kib("Private_Dirty:");
    Ok(Memory {
        private: private * 1024.0,
        proportional: kib("Pss:") * 1024.0,
    })
}
