//! Ends of a run: an agent that finishes it, an exit code for failed agents, and a service that goes on where it was.

use rustix::process::Signal;
use serde_json::Value;
use test_support::{Place, agent, chain, fleet, model, repository};

fn finisher(name: &str, at: u64, keys: &str) -> String {
    let settings = format!("settings = {{ what = \"finish\", at = {at}, emit_every = 1 }}");
    agent(name, "trouble", &format!("{keys}{settings}"))
}

#[test]
fn an_agent_that_may_finishes_the_run_after_its_tick() {
    let place = Place::new();
    let tables = [
        finisher("late", 5, "may_finish = true\n"),
        finisher("early", 3, "may_finish = true\npriority = -1\n"),
        finisher("may-not", 2, ""),
    ];
    place.write("fleet.toml", fleet("ticks = 9", &tables));
    let said = place.fine(&["run", "fleet.toml", "--dir", "run", "--json"]);
    let json = said.json();
    assert_eq!(json["ticks"], 3, "{said}");
    assert_eq!(json["end"], "agent_finished");
    assert_eq!(json["finished_by"], "early");
    assert_eq!(json["finish_reason"], "asked to finish");
    assert!(
        said.out.contains("finished by early: asked to finish"),
        "{said}"
    );
    let outbox = std::fs::read_to_string(place.path("run/outbox.jsonl")).expect("an outbox");
    assert!(outbox.contains("NotGranted"), "{outbox}");
    assert_eq!(place.replays("run"), chain(&json));
    let verified = place.fine(&["verify", "run"]);
    assert!(verified.out.contains("ended     finished"), "{verified}");
    // It has ended: more ticks change nothing.
    let resumed = place
        .fine(&["resume", "run", "--ticks", "20", "--json"])
        .json();
    assert_eq!(
        (&resumed["ticks"], chain(&resumed)),
        (&Value::from(3), chain(&json))
    );
    // Lost hosts and another number of them do not either.
    let plan = "[[rules]]\npoint = \"after-step\"\nkind = \"kill\"\nagent = \"early\"\ntick = 3\n";
    place.write("plan.toml", plan);
    let killed = [
        "run",
        "fleet.toml",
        "--dir",
        "killed",
        "--hosts",
        "3",
        "--faults",
        "plan.toml",
        "--json",
    ];
    assert_eq!(chain(&place.fine(&killed).json()), chain(&json));
}

#[test]
fn failed_agents_are_an_exit_code_if_asked_for() {
    let place = Place::new();
    let traps = |keys: &str| {
        let settings = "settings = { what = \"unreachable\", at = 2, emit_every = 1 }";
        fleet(
            "ticks = 5",
            &[
                agent("traps", "trouble", &format!("{keys}{settings}")),
                agent("counts", "counter", ""),
            ],
        )
    };
    place.write("halts.toml", traps(""));
    place.write("restarts.toml", traps("on_failure = \"restart\"\n"));
    let fails = "--fail-on-agent-failure";
    let said = place.fine(&["run", "halts.toml", "--dir", "fine", "--json"]);
    assert_eq!(said.json()["halted_agents"], serde_json::json!(["traps"]));
    let failed = place.lockstep(&["run", "halts.toml", "--dir", "failed", "--json", fails]);
    let failed = failed.with_code(1).naming(&["traps", "lockstep inspect"]);
    assert_eq!(chain(&failed.json()), chain(&said.json()));
    place
        .lockstep(&["resume", "failed", "--ticks", "7", fails])
        .with_code(1);
    place.fine(&["resume", "failed", "--ticks", "9"]);
    place.fine(&["run", "restarts.toml", "--dir", "restarts", fails]);
}

#[test]
fn a_service_begins_or_goes_on_with_the_same_command() {
    let place = Place::new();
    let tables = [
        agent("feeder", "mlp", "settings = { emit_every = 1 }"),
        model("mlp", "mlp", ""),
    ];
    place.write("fleet.toml", fleet("durability = \"sync\"", &tables));
    let service = [
        "run",
        "fleet.toml",
        "--dir",
        "run",
        "--or-resume",
        "--durability",
        "sync",
    ];
    for _ in 0..2 {
        let before = place
            .path("run")
            .exists()
            .then(|| place.verified("run")["ticks"].as_u64());
        let running = place.start(place.command(&service));
        running.wait_until("it has gone on", || {
            let outbox = std::fs::read_to_string(place.path("run/outbox.jsonl"));
            outbox.is_ok_and(|outbox| {
                outbox.lines().count() as u64 > before.flatten().unwrap_or(0) + 3
            })
        });
        running.signal(Signal::KILL);
        running.end();
    }
    let ticks = place.verified("run")["ticks"].as_u64().expect("ticks");
    let whole = (ticks + 5).to_string();
    let last = [&service[..], &["--ticks", &whole, "--json"]].concat();
    let went_on = place.fine(&last).json();
    assert_eq!(went_on["ticks"], ticks + 5);
    // Nothing is left to do.
    let again = place.fine(&last).json();
    assert_eq!(
        (&again["ticks"], &again["steps"]),
        (&went_on["ticks"], &Value::from(0))
    );
    assert_eq!(chain(&again), chain(&went_on));
    assert_eq!(place.replays("run"), chain(&went_on));
    // A changed fleet is another one.
    let other = [
        agent(
            "feeder",
            "mlp",
            "fuel = 9000000\nsettings = { emit_every = 1 }",
        ),
        model("mlp", "mlp", ""),
    ];
    place.write("fleet.toml", fleet("durability = \"sync\"", &other));
    place
        .lockstep(&last)
        .with_code(2)
        .naming(&["another fleet", "agent `feeder`", "--dir"]);
    place.write("fleet.toml", fleet("seed = 77", &tables));
    place.lockstep(&last).with_code(2).naming(&["its `seed`"]);
    place
        .lockstep(&["run", "fleet.toml", "--or-resume"])
        .with_code(2)
        .naming(&["--dir"]);
}

/// Components that were built against version 0.1 of the agent interface do as those of today, also beside them.
#[test]
fn components_of_the_former_interface_keep_running() {
    let place = Place::new();
    let fleet_of = |folder: &str| {
        let component = |name: &str, component: &str, keys: &str| {
            let file = repository(&format!("agents/built/{folder}{component}.wasm"));
            format!("[[agents]]\nname = \"{name}\"\ncomponent = \"{file}\"\n{keys}\n")
        };
        let tables = [
            component("left", "pingpong", "settings = { peer = \"right\" }"),
            component("thinks", "ponder", "settings = { model = \"mlp\" }"),
            component("counts", "counter", "settings = { emit_every = 3 }"),
            agent("right", "pingpong", "settings = { peer = \"left\" }"),
            model("mlp", "mlp", ""),
        ];
        fleet("ticks = 12\nhosts = 2", &tables)
    };
    let outputs = |run: &str| -> Vec<(Value, Value)> {
        let outbox = std::fs::read_to_string(place.path(&format!("{run}/outbox.jsonl")));
        let outbox = outbox.expect("an outbox");
        let lines = outbox
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a line"));
        lines
            .map(|line| (line["agent"].clone(), line["text"].clone()))
            .collect()
    };
    place.write("former.toml", fleet_of("0.1/"));
    place.write("present.toml", fleet_of(""));
    let plan = "[[rules]]\npoint = \"in-step\"\nkind = \"kill\"\nagent = \"thinks\"\ntick = 7\n";
    place.write("plan.toml", plan);
    let former = place.fine(&[
        "run",
        "former.toml",
        "--dir",
        "former",
        "--faults",
        "plan.toml",
        "--json",
    ]);
    place.fine(&["run", "present.toml", "--dir", "present"]);
    assert!(!outputs("former").is_empty());
    assert_eq!(outputs("former"), outputs("present"));
    assert_eq!(place.replays("former"), chain(&former.json()));
}
