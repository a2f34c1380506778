//! An agent may wait for a model within its step. What it is answered does not
//! depend on who else waits, on the number of hosts, or on what becomes of them,
//! and the run can be replayed and resumed like any other.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use test_support::{Place, agent, chain, fleet, model, repository};

/// Agents that wait, beside some that ask for a later tick and some that ask nothing.
fn tables() -> Vec<String> {
    vec![
        agent("thinker", "ponder", "count = 5\nsettings = { turns = 3 }"),
        agent("brief", "ponder", "every = 2\nsettings = { turns = 1 }"),
        agent("feeder", "mlp", "count = 2\nsettings = { emit_every = 7 }"),
        agent("counter", "counter", "settings = { emit_every = 3 }"),
        model("mlp", "mlp", ""),
    ]
}

/// An await in the text of a tick.
const AWAIT: &str = ".await: model \"mlp\"";

fn waiting(keys: &str) -> String {
    fleet(keys, &tables())
}

/// What agents let out under `thought`, by agent, in its order.
fn thoughts(place: &Place, run: &str) -> BTreeMap<String, Vec<String>> {
    let outbox = fs::read_to_string(place.path(run).join("outbox.jsonl")).expect("an outbox");
    let mut thoughts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in outbox.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        if line["topic"] == "thought" {
            let agent = line["agent"].as_str().expect("a name").to_owned();
            thoughts.entry(agent).or_default().push(line.to_string());
        }
    }
    let content = |line: &String| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["text"].as_str().map(str::to_owned).expect("a text")
    };
    for lines in thoughts.values_mut() {
        *lines = lines.iter().map(content).collect();
    }
    thoughts
}

/// Runs the fleet with these rules, which must all fire and leave everything as it is without them.
fn unharmed(rules: &[&str], keys: &str) {
    let place = Place::new();
    let text = waiting(&format!("hosts = 2\nticks = 20\n{keys}"));
    place.write("calm.toml", &text);
    place.fine(&["run", "calm.toml", "--dir", "calm"]);
    let rules: Vec<String> = rules
        .iter()
        .map(|rule| format!("[[faults.rules]]\n{}\n", rule.replace("; ", "\n")))
        .collect();
    place.write("struck.toml", text + &rules.concat());
    let said = place.fine(&["run", "struck.toml", "--dir", "struck", "--json"]);
    let restarts = said.json()["restarts"].as_u64();
    assert!(restarts >= Some(rules.len() as u64), "{said}");
    for name in ["journal/00000001.lkj", "outbox.jsonl"] {
        let file = |run: &str| fs::read(place.path(run).join(name)).expect("a file of the run");
        assert!(file("struck") == file("calm"), "{name} differs: {said}");
    }
    place.replays("struck");
}

#[test]
fn waiting_comes_to_the_same_as_asking_for_a_later_tick() {
    let place = Place::new();
    for (how, ticks) in [("wait", 10), ("submit", 31)] {
        let settings = format!("count = 3\nsettings = {{ turns = 3, how = \"{how}\" }}");
        let tables = [
            agent("thinker", "ponder", &settings),
            model("mlp", "mlp", ""),
        ];
        place.write("fleet.toml", fleet(&format!("ticks = {ticks}"), &tables));
        place.fine(&["run", "fleet.toml", "--dir", how]);
    }
    let (waited, submitted) = (thoughts(&place, "wait"), thoughts(&place, "submit"));
    assert_eq!(waited.len(), 3);
    assert!(waited.values().all(|lines| lines.len() == 10));
    assert_eq!(waited, submitted);
}

#[test]
fn the_chain_does_not_depend_on_the_hosts_and_replays_agree() {
    let place = Place::new();
    let mut chains = Vec::new();
    for hosts in ["1", "3"] {
        place.write("fleet.toml", waiting("ticks = 30"));
        let run = format!("run-{hosts}");
        let arguments = [
            "run",
            "fleet.toml",
            "--dir",
            &run,
            "--hosts",
            hosts,
            "--json",
        ];
        let ran = place.fine(&arguments).json();
        // Five think three times in each tick, one once in each second; two ask once.
        assert_eq!(ran["inferences"], 30 * (15 + 2) + 15);
        assert_eq!(place.replays(&run), chain(&ran));
        chains.push(chain(&ran));
    }
    assert_eq!(chains[0], chains[1]);
    place.fine(&["diff", "run-1", "run-3"]);
    let said = place.fine(&["inspect", "run-1", "--tick", "3", "--agent", "thinker-0"]);
    assert_eq!(said.out.matches(AWAIT).count(), 3, "{said}");
    assert_eq!(said.out.matches("  awaited[").count(), 3, "{said}");
}

#[test]
fn an_agent_host_lost_while_agents_await_changes_nothing() {
    unharmed(
        &[
            "tick = 4; host = 0; point = \"await-sent\"; kind = \"kill\"",
            "tick = 8; host = 1; point = \"await-sent\"; kind = \"kill\"; times = 2",
            "tick = 12; agent = \"thinker-3\"; point = \"await-answered\"; kind = \"abort\"",
        ],
        "",
    );
}

#[test]
fn an_inference_host_that_is_lost_in_a_round_changes_nothing() {
    unharmed(
        &[
            "tick = 4; model = \"mlp\"; point = \"before-batch\"; kind = \"kill\"",
            "tick = 8; model = \"mlp\"; point = \"after-run\"; kind = \"abort\"",
            "tick = 12; model = \"mlp\"; point = \"mid-answer\"; kind = \"kill\"",
        ],
        "",
    );
}

#[test]
fn a_host_that_hangs_while_it_should_go_on_is_replaced() {
    unharmed(
        &["tick = 5; agent = \"thinker-1\"; point = \"await-answered\"; kind = \"stop\""],
        "deadline_ms = 300",
    );
}

#[test]
fn a_run_whose_agents_wait_is_resumed() {
    let place = Place::new();
    place.write("whole.toml", waiting("ticks = 40"));
    place.fine(&["run", "whole.toml", "--dir", "whole"]);
    // The supervisor dies with a round on its way.
    let rule =
        "[[faults.rules]]\ntick = 20\npoint = \"answer-received\"\nkind = \"supervisor-kill\"\n";
    place.write("fleet.toml", waiting("ticks = 40") + rule);
    place
        .lockstep(&["run", "fleet.toml", "--dir", "run"])
        .with_code(None);
    let said = place.fine(&["resume", "run", "--json"]);
    assert_eq!(said.json()["ticks"], 40, "{said}");
    place.fine(&["diff", "whole", "run"]);
    place.replays("run");
    // Once more, behind the end, with and without a checkpoint.
    for (ticks, more) in [("44", &[][..]), ("48", &["--ignore-checkpoints"])] {
        let arguments = [&["resume", "run", "--ticks", ticks], more].concat();
        place.fine(&arguments);
    }
    place.fine(&["run", "whole.toml", "--dir", "longer", "--ticks", "48"]);
    place.fine(&["diff", "longer", "run"]);
}

#[test]
fn refusals_and_failures_are_journaled_and_replayed() {
    let place = Place::new();
    let tables = [
        agent("often", "ponder", "settings = { turns = 18 }"),
        agent("shape", "ponder", "settings = { wrong = \"shape\" }"),
        agent("model", "ponder", "settings = { wrong = \"model\" }"),
        agent("halts", "ponder", "settings = { trap_at = 3 }"),
        agent(
            "falls",
            "ponder",
            "on_failure = \"restart\"\nsettings = { trap_at = 3 }",
        ),
        agent("sound", "ponder", ""),
        model("mlp", "mlp", "on_mismatch = \"reject\""),
    ];
    place.write("fleet.toml", fleet("ticks = 8\nhosts = 2", &tables));
    let ran = place
        .fine(&["run", "fleet.toml", "--dir", "run", "--json"])
        .json();
    assert_eq!(place.replays("run"), chain(&ran));
    let said = |agent: &str, tick: &str| {
        place
            .fine(&["inspect", "run", "--tick", tick, "--agent", agent])
            .out
    };
    let often = said("often", "2");
    assert_eq!(often.matches(AWAIT).count(), 16, "{often}");
    assert_eq!(often.matches("TooMany").count(), 2, "{often}");
    assert!(said("shape", "2").contains("input x takes f32[?,64], got f32[1,63]"));
    assert!(said("model", "2").contains("NoSuchModel"));
    for agent in ["halts", "falls"] {
        let fallen = said(agent, "3");
        assert!(fallen.contains("status.trapped "), "{fallen}");
        assert_eq!(fallen.matches(AWAIT).count(), 1, "{fallen}");
    }
    assert!(said("falls", "4").contains("status completed"));
    assert!(!said("halts", "4").contains(AWAIT));
    // A request that does not fit stops the run, unless the model says otherwise.
    let tables = [
        agent("shape", "ponder", "settings = { wrong = \"shape\" }"),
        model("mlp", "mlp", ""),
    ];
    place.write("strict.toml", fleet("ticks = 8", &tables));
    place
        .lockstep(&["run", "strict.toml", "--dir", "strict"])
        .with_code(2)
        .naming(&["input x takes f32[?,64], got f32[1,63]"]);
}

/// Of an agent that kills its host whenever it gets its answer, the others know nothing.
#[test]
fn who_kills_its_host_after_a_wait_is_given_up_alone() {
    let place = Place::new();
    let rule = "[[faults.rules]]\ntick = 5\nagent = \"thinker-2\"\npoint = \"await-answered\"\nkind = \"segfault\"\ntimes = 20\ncounts_as_restart = true\n";
    place.write("fleet.toml", waiting("hosts = 1\nticks = 12") + rule);
    let said = place.fine(&["run", "fleet.toml", "--dir", "run", "--json"]);
    let verdicts = said.json()["verdicts"].clone();
    assert!(
        said.err.contains("agent thinker-2 is quarantined"),
        "{said}"
    );
    assert!(
        !said.err.contains("agent thinker-1 is quarantined"),
        "{said}"
    );
    assert!(!verdicts.is_null(), "{said}");
    place.replays("run");
}

#[test]
fn the_example_replays() {
    let place = Place::new();
    let file = repository("examples/ponder.toml");
    let ran = place
        .fine(&["run", &file, "--ticks", "20", "--dir", "run", "--json"])
        .json();
    assert_eq!(ran["inferences"], 20 * 8 * 3);
    assert_eq!(place.replays("run"), chain(&ran));
}
