//! How much of inference goes on while agents compute.
//!
//! A request of tick `t` is answered in tick `t + latency_ticks`. With 1, who asked waits for the answer before it
//! steps again, so a tick takes as long as the agents and the model one after the other. With 2, the model works on
//! one tick's requests while the agents take the next one's steps. One agent asks about 256 rows at once, and others,
//! more and more of them, only count: so what the agents take grows past what the model takes. What the agents take
//! alone is the time of a replay, which has no engine. Repeats are interleaved.
//!
//! `cargo bench -p lockstep-benches --bench overlap`

use lockstep_benches::Trouble;
use lockstep_benches::binary::{self, in_repository};
use lockstep_benches::fleets::{command, finish, model, number};
use lockstep_benches::report::Report;
use lockstep_benches::samples::Samples;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use supervisor::fleet::Durability;

/// How often each is measured. Odd, for the median.
const REPEATS: usize = 9;

/// Agents that only count.
const COUNTING: [usize; 4] = [0, 100, 200, 400];

/// Ticks of a repeat.
const TICKS: u64 = 500;

fn main() -> Result<(), Trouble> {
    let binary = binary::lockstep()?;
    let mut report = Report::new("overlap");
    report.say(&format!("measured: {}", binary.display()));
    let scratch = binary::scratch()?;
    let mut table = Vec::new();
    for counting in COUNTING {
        let [one, two] = [1, 2].map(|latency| fleet(scratch.path(), counting, latency));
        let (one, two) = (one?, two?);
        let [mut agents, mut engine, mut together, mut ratio] =
            [(); 4].map(|()| Samples::default());
        for _ in 0..REPEATS {
            let dir = scratch.path().join("run");
            let tick = |file: &Path| -> Result<f64, Trouble> {
                let said = finish(command(&binary, file, &dir, TICKS, Durability::Process))?;
                Ok(1.0 / number(&said, "ticks_per_s")?)
            };
            let in_turns = tick(&one)?;
            let mut replay = Command::new(&binary);
            replay.arg("replay").arg(&dir).arg("--json");
            let said = finish(replay)?;
            let alone = number(&said, "wall_s")? / number(&said, "ticks")?;
            fs::remove_dir_all(&dir)?;
            let overlapping = tick(&two)?;
            fs::remove_dir_all(&dir)?;
            agents.add(alone);
            engine.add((in_turns - alone).max(0.0));
            together.add(overlapping);
            ratio.add(in_turns / overlapping);
        }
        for (name, samples) in [
            ("agents_s", &agents),
            ("rest_s", &engine),
            ("overlapping_s", &together),
            ("ratio", &ratio),
        ] {
            report.keep(&format!("{counting} counting/{name}"), samples);
        }
        table.push(vec![
            counting.to_string(),
            agents.show(1e6, 0),
            engine.show(1e6, 0),
            together.show(1e6, 0),
            ratio.show(1.0, 2),
        ]);
    }
    report.table(
        "a tick in turns, and with the model at work beside the agents",
        &[
            "counting",
            "agents alone µs",
            "the rest in turns µs",
            "beside each other µs",
            "in turns / beside",
        ],
        &table,
    );
    report.finish()
}

fn fleet(folder: &Path, counting: usize, latency: u64) -> Result<PathBuf, Trouble> {
    let component = |name: &str| in_repository(&format!("agents/built/{name}.wasm")).canonicalize();
    let (feeder, counter, model) = (
        component("mlp")?,
        component("counter")?,
        model().canonicalize()?,
    );
    let mut text = format!(
        "[fleet]\nname = \"overlap\"\n\n\
         [[agents]]\nname = \"feeder\"\ncomponent = {feeder:?}\nsettings = {{ rows = 256 }}\n\n\
         [[models]]\nname = \"mlp\"\nfile = {model:?}\nlatency_ticks = {latency}\n"
    );
    if counting > 0 {
        text += &format!(
            "\n[[agents]]\nname = \"counter\"\ncount = {counting}\ncomponent = {counter:?}\n"
        );
    }
    let path = folder.join(format!("{counting}-{latency}.toml"));
    fs::write(&path, text)?;
    Ok(path)
}
