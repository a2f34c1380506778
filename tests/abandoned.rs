//! A request that crashes the engine fails alone: whoever asked beside it is answered as if it had never been made, its
//! agent is told, and one that goes on asking so is quarantined. A host that is killed from outside is nobody's guilt.

use serde_json::Value;
use std::fs;
use test_support::{Place, agent, chain, fleet, model};

/// Agents that ask an LSTM in every tick, and one that asks it for no rows, which aborts the engine.
fn askers(with_guilty: bool, keys: &str) -> String {
    let asks = |name: &str, rows: u32| {
        let settings = format!("settings = {{ model = \"lstm\", rows = {rows}, emit_every = 1 }}");
        agent(name, "mlp", &settings)
    };
    let mut tables = vec![
        model("lstm", "arch_lstm", ""),
        asks("one", 1),
        asks("two", 2),
        asks("three", 1),
    ];
    // What an agent asks follows from its number, so the one that may be missing comes last.
    tables.extend(with_guilty.then(|| asks("guilty", 0)));
    fleet(&format!("ticks = 16\nhosts = 2\n{keys}"), &tables)
}

/// The lines that these agents have let out.
fn lines(place: &Place, run: &str) -> Vec<(String, u64, String)> {
    let outbox = fs::read_to_string(place.path(run).join("outbox.jsonl")).expect("an outbox");
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        (
            text("agent"),
            line["tick"].as_u64().expect("a number"),
            text("text"),
        )
    };
    let all = outbox.lines().map(line);
    all.filter(|(agent, ..)| agent != "guilty").collect()
}

#[test]
fn only_the_request_that_aborts_the_engine_fails() {
    let place = Place::new();
    place.write("without.toml", askers(false, ""));
    place.write("with.toml", askers(true, ""));
    place.fine(&["run", "without.toml", "--dir", "without"]);
    let said = place.fine(&["run", "with.toml", "--dir", "with", "--json"]);
    assert_eq!(lines(&place, "with"), lines(&place, "without"), "{said}");
    let json = said.json();
    let verdicts: Vec<String> = json["verdicts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|verdict| {
            format!(
                "{} {}",
                verdict["tick"],
                verdict["text"].as_str().unwrap_or("")
            )
        })
        .collect();
    let abandoned = |tick: u64, request: u64| {
        format!(
            "{tick} request {request} of agent guilty to model lstm, asked in tick {}, is abandoned: it crashes the inference host",
            tick - 1
        )
    };
    assert_eq!(
        verdicts,
        [
            abandoned(2, 0),
            abandoned(3, 1),
            abandoned(4, 2),
            "5 agent guilty is quarantined: 3 of its requests crashed the inference host"
                .to_owned(),
        ],
        "{said}"
    );
    // A replay that runs the models again never sends them what crashes them.
    assert_eq!(place.replays("with"), chain(&json));
    let again = place.fine(&["replay", "with", "--reinfer", "--json"]);
    for tick in [2, 3, 4] {
        let lost = format!("tick {tick}: host");
        assert!(!again.err.contains(&lost), "{again}");
    }
    // Another launch comes to the same, bit for bit, whatever else is lost meanwhile.
    let plan = "[[rules]]\npoint = \"before-batch\"\nkind = \"kill\"\ntick = 2\n\n[[rules]]\npoint = \"in-step\"\nkind = \"kill\"\nagent = \"two\"\ntick = 3\n";
    place.write("plan.toml", plan);
    let other = place.fine(&[
        "run",
        "with.toml",
        "--dir",
        "other",
        "--hosts",
        "1",
        "--faults",
        "plan.toml",
        "--json",
    ]);
    assert_eq!(chain(&other.json()), chain(&json), "{other}");
}

/// However many agents ask so, and however long before they are told: the run goes on, within the usual limits.
#[test]
fn many_guilty_requests_at_once_do_not_end_the_run() {
    for (count, latency) in [(7, 1), (1, 8)] {
        let place = Place::new();
        let asks = |name: &str, keys: &str, rows: u32| {
            let settings =
                format!("settings = {{ model = \"lstm\", rows = {rows}, emit_every = 1 }}");
            agent(name, "mlp", &format!("{keys}{settings}"))
        };
        let tables = [
            model("lstm", "arch_lstm", &format!("latency_ticks = {latency}")),
            asks("one", "", 1),
            asks("guilty", &format!("count = {count}\n"), 0),
        ];
        place.write("fleet.toml", fleet("ticks = 24\nhosts = 2", &tables));
        let said = place.fine(&["run", "fleet.toml", "--dir", "run", "--json"]);
        let quarantined = said.err.matches("is quarantined: ").count();
        assert_eq!(quarantined, count, "{said}");
        assert_eq!(place.replays("run"), chain(&said.json()));
    }
}

/// A run that stops at a limit says how to go on, and does so. The agent spins for seconds: the three deadlines are over
/// before it ends, however late a loaded machine lets the supervisor count them.
#[test]
fn a_limit_that_stopped_a_run_can_be_raised_to_resume_it() {
    let place = Place::new();
    let spins = "fuel = 20000000000\non_failure = \"restart\"\nsettings = { what = \"spin\", at = 2, emit_every = 1 }";
    let fleet_with = |keys: &str| {
        fleet(
            &format!("ticks = 3\n{keys}"),
            &[agent("spins", "trouble", spins)],
        )
    };
    place.write("fleet.toml", fleet_with("deadline_ms = 4"));
    place.write("patient.toml", fleet_with(""));
    let patient = place.fine(&["run", "patient.toml", "--dir", "patient", "--json"]);
    let stopped = place
        .lockstep(&["run", "fleet.toml", "--dir", "run"])
        .with_code(5);
    let stopped = stopped.naming(&["deadline_ms", "`lockstep resume DIR --deadline-ms N`"]);
    assert!(stopped.err.contains("lockstep resume"), "{stopped}");
    place.lockstep(&["resume", "run"]).with_code(5);
    let resumed = place.fine(&["resume", "run", "--deadline-ms", "60000", "--json"]);
    assert_eq!(chain(&resumed.json()), chain(&patient.json()), "{resumed}");
    place
        .lockstep(&["resume", "run", "--deadline-ms", "0"])
        .with_code(2);
}

/// Kills of whatever works on one tick, again and again, leave no trace, however few crashes make a verdict.
#[test]
fn a_host_that_is_killed_from_outside_is_nobodys_guilt() {
    for poison in 1..=3 {
        is_nobodys_guilt(poison);
    }
}

fn is_nobodys_guilt(crashes: u32) {
    let place = Place::new();
    let agents = agent("one", "counter", "count = 3\nsettings = { emit_every = 3 }");
    let asks = agent("asks", "mlp", "settings = { emit_every = 3 }");
    let models = model("mlp", "mlp", "");
    place.write(
        "fleet.toml",
        fleet(
            &format!("hosts = 1\nticks = 24\nrestarts_host = 1000\nrestarts_run = 1000\nquarantine_after = {crashes}"),
            &[agents, asks, models],
        ),
    );
    let whole = place.fine(&["run", "fleet.toml", "--dir", "whole", "--json"]);
    let rule = |point: &str, who: &str| {
        format!(
            "[[rules]]\npoint = \"{point}\"\nkind = \"kill\"\n{who}\ntick = 17\ntimes = 7\ncounts_as_restart = true\n\n"
        )
    };
    place.write(
        "plan.toml",
        rule("in-step", "agent = \"one-1\"") + &rule("before-batch", "inference_host = true"),
    );
    let said = place.fine(&[
        "run",
        "fleet.toml",
        "--dir",
        "killed",
        "--faults",
        "plan.toml",
        "--json",
    ]);
    let json = said.json();
    assert_eq!(json["verdicts"], Value::Array(Vec::new()), "{said}");
    assert!(json["restarts"].as_u64() >= Some(2), "{said}");
    let lost = fs::read_to_string(place.path("killed/events.jsonl")).expect("events");
    assert_eq!(lost.matches("host_lost").count(), 14, "{lost}");
    assert_eq!(chain(&json), chain(&whole.json()), "{said}");
}
