//! How much of inference goes on while agents compute.
//!
//! Four agents ask a model that takes a millisecond or more for each in every tick, and one computes for about half as long as the model takes
//! for them, as long, and twice as long. One after the other, a tick would take what the agents take (the time of a replay,
//! which has no engine) and what the model takes (a tick of the asking agents alone, less their replay). Beside
//! each other it takes less: with `latency_ticks = 1`, who asked waits for the answer before it steps again and the
//! rest go on; with 2, nobody waits. Repeats are interleaved.
//!
//! `cargo bench -p lockstep-benches --bench overlap`

use lockstep_benches::binary::{self, in_repository};
use lockstep_benches::fleets::{command, finish, number};
use lockstep_benches::report::Report;
use lockstep_benches::samples::Samples;
use lockstep_benches::{Trouble, state_agent};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use supervisor::fleet::Durability;

/// How often each is measured. Odd, for the median.
const REPEATS: usize = 9;

/// For how long the computing agent computes, in percent of what the model takes.
const PERCENT: [u64; 3] = [50, 100, 200];

/// Ticks of a repeat.
const TICKS: u64 = 300;

/// Turns of the computing agent while it is found out how long a turn takes.
const TRIED_TURNS: u64 = 1_000_000;

fn main() -> Result<(), Trouble> {
    let binary = binary::lockstep()?;
    let mut report = Report::new("overlap");
    report.say(&format!("measured: {}", binary.display()));
    let scratch = binary::scratch()?;
    let bench = Bench {
        binary: &binary,
        folder: scratch.path(),
    };
    let asking = bench.fleet(None, 1)?;
    let tried = bench.fleet(Some(TRIED_TURNS), 1)?;
    let (tick, alone) = bench.tick_and_replay(&asking)?;
    let (_, with_turns) = bench.tick_and_replay(&tried)?;
    let turns_each_second = to_float(TRIED_TURNS) / (with_turns - alone);
    let model_takes = tick - alone;
    let mut table = Vec::new();
    for percent in PERCENT {
        let turns = turns_each_second * model_takes * to_float(percent) / 100.0;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some millions"
        )]
        let turns = Some(turns as u64);
        let [one, two] = [1, 2].map(|latency| bench.fleet(turns, latency));
        let (one, two) = (one?, two?);
        let mut columns = [(); 6].map(|()| Samples::default());
        for _ in 0..REPEATS {
            let (asking_tick, asking_alone) = bench.tick_and_replay(&asking)?;
            let engine = asking_tick - asking_alone;
            let (waiting, agents) = bench.tick_and_replay(&one)?;
            let (nobody_waits, _) = bench.tick_and_replay(&two)?;
            let in_turns = agents + engine;
            let figures = [
                agents,
                engine,
                waiting,
                nobody_waits,
                in_turns / waiting,
                in_turns / nobody_waits,
            ];
            for (column, figure) in columns.iter_mut().zip(figures) {
                column.add(figure);
            }
        }
        let names = [
            "agents_s",
            "model_s",
            "latency_1_s",
            "latency_2_s",
            "ratio_latency_1",
            "ratio_latency_2",
        ];
        for (name, samples) in names.iter().zip(&columns) {
            report.keep(&format!("{percent}/{name}"), samples);
        }
        let mut row = vec![format!("{percent} %")];
        row.extend(columns[..4].iter().map(|column| column.show(1e6, 0)));
        row.extend(columns[4..].iter().map(|column| column.show(1.0, 2)));
        table.push(row);
    }
    report.table(
        "a tick with agents and model beside each other",
        &[
            "computing",
            "agents µs",
            "model µs",
            "latency 1 µs",
            "latency 2 µs",
            "both / latency 1",
            "both / latency 2",
        ],
        &table,
    );
    report.finish()
}

struct Bench<'a> {
    binary: &'a Path,
    folder: &'a Path,
}

impl Bench<'_> {
    /// Seconds of a tick of a run, and of its replay without models.
    fn tick_and_replay(&self, fleet: &Path) -> Result<(f64, f64), Trouble> {
        let dir = self.folder.join("run");
        let run = command(self.binary, fleet, &dir, TICKS, Durability::Process);
        let tick = 1.0 / number(&finish(run)?, "ticks_per_s")?;
        let mut replay = Command::new(self.binary);
        replay.arg("replay").arg(&dir).arg("--json");
        let said = finish(replay)?;
        fs::remove_dir_all(&dir)?;
        Ok((tick, number(&said, "wall_s")? / number(&said, "ticks")?))
    }

    /// Four agents that ask, and one that computes if it is to.
    fn fleet(&self, turns: Option<u64>, latency: u64) -> Result<PathBuf, Trouble> {
        let feeder = in_repository("agents/built/mlp.wasm").canonicalize()?;
        let model = in_repository("models/testdata/slow.onnx").canonicalize()?;
        let mut text = format!(
            "[fleet]\nname = \"overlap\"\n\n\
             [[agents]]\nname = \"feeder\"\ncount = 4\ncomponent = {feeder:?}\nsettings = {{ rows = 1 }}\n\n\
             [[models]]\nname = \"mlp\"\nfile = {model:?}\nlatency_ticks = {latency}\n"
        );
        if let Some(turns) = turns {
            let computing = state_agent::component(self.folder, 64, turns)?;
            text += &format!(
                "\n[[agents]]\nname = \"computing\"\ncomponent = {computing:?}\nfuel = 100_000_000_000\n"
            );
        }
        let path = self
            .folder
            .join(format!("{}-{latency}.toml", turns.unwrap_or(0)));
        fs::write(&path, text)?;
        Ok(path)
    }
}

#[allow(clippy::cast_precision_loss, reason = "some millions")]
fn to_float(count: u64) -> f64 {
    count as f64
}
