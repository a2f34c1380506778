//! `lockstep demo` runs real agents and a real model, and the same seed gives
//! the same run: the same chain and the same journal, byte for byte, whatever
//! the number of hosts and the level of durability. Another seed gives another
//! run. The poles stand because of the policy, and fall without it.

use serde_json::Value;
use test_support::{Place, agent, chain, files, fleet};

const DEMO: [&str; 6] = ["demo", "--agents", "8", "--ticks", "120", "--json"];

fn demo(place: &Place, run: &str, more: &[&str]) -> Value {
    place
        .fine(&[&DEMO[..], &["--dir", run], more].concat())
        .json()
}

#[test]
fn the_json_has_what_the_contract_says() {
    let place = Place::new();
    let said = place.fine(&[
        "demo", "--agents", "8", "--ticks", "300", "--json", "--dir", "run",
    ]);
    let json = said.json();
    for (member, value) in [
        ("ticks", 300),
        ("agents", 9),
        ("steps", 2700),
        ("inferences", 2400),
        ("restarts", 0),
    ] {
        assert_eq!(json[member], value, "{member} in {json}");
    }
    assert_eq!(json["provider"], "cpu");
    assert_eq!(json["verdicts"], Value::Array(Vec::new()));
    assert_eq!(json["run_dir"], "run");
    assert!(
        json["engine"]
            .as_str()
            .is_some_and(|engine| engine.starts_with("onnxruntime 1.31.")),
        "{json}"
    );
    let number = |member: &str| {
        json[member]
            .as_f64()
            .unwrap_or_else(|| panic!("{member} in {json}"))
    };
    assert!(number("wall_s") > 0.0);
    assert!((number("ticks_per_s") * number("wall_s") - 300.0).abs() < 0.01);
    assert!((number("steps_per_s") * number("wall_s") - 2700.0).abs() < 0.1);
    assert!(
        said.out.contains(&format!("chain       {}", chain(&json))),
        "{said}"
    );
    assert!(said.out.contains("poles       8 of 8 stand"), "{said}");
    assert_eq!(
        said.out
            .lines()
            .filter(|line| line.starts_with('{'))
            .count(),
        1,
        "{said}"
    );
    let verified = place.verified("run");
    assert_eq!(
        (&verified["ticks"], &verified["sealed"]),
        (&300.into(), &"finished".into())
    );
    assert_eq!(chain(&verified), chain(&json));
}

#[test]
fn without_json_people_get_the_summary_alone() {
    let place = Place::new();
    let said = place.fine(&["demo", "--agents", "2", "--ticks", "10"]);
    assert!(
        said.out.contains("poles       2 of 2 stand") && !said.out.contains('{'),
        "{said}"
    );
    assert!(
        said.out.contains("run         runs/demo-1"),
        "a run without --dir has a place of its own: {said}"
    );
    let again = place.fine(&["demo", "--agents", "2", "--ticks", "10"]);
    assert!(again.out.contains("run         runs/demo-2"), "{again}");
}

#[test]
fn runs_that_begin_at_once_get_folders_of_their_own() {
    let place = Place::new();
    let start = || place.start(place.command(&["demo", "--agents", "2", "--ticks", "10"]));
    let running = [start(), start(), start()];
    for one in running {
        one.end().with_code(0);
    }
    for run in ["runs/demo-1", "runs/demo-2", "runs/demo-3"] {
        place.verified(run);
    }
}

#[test]
fn a_refused_run_without_a_folder_leaves_none() {
    let place = Place::new();
    let shy = "settings = { what = \"init-error\" }";
    place.write("shy.toml", fleet("", &[agent("shy", "trouble", shy)]));
    place.lockstep(&["run", "shy.toml"]).with_code(2);
    assert!(!place.path("runs").exists());
}

#[test]
fn the_referee_counts_as_many_poles_as_can_be_asked_for() {
    let place = Place::new();
    for agents in [1_000, 4_000] {
        let (run, number) = (format!("run-{agents}"), agents.to_string());
        let said = place.fine(&["demo", "--agents", &number, "--ticks", "3", "--dir", &run]);
        assert_eq!(poles(&place, &run, 3), (agents, 0), "{said}");
    }
    place.lockstep(&["demo", "--agents", "4001"]).with_code(2);
}

#[test]
fn one_seed_is_one_run_and_another_seed_another() {
    let place = Place::new();
    let (first, second) = (demo(&place, "first", &[]), demo(&place, "second", &[]));
    assert_eq!(chain(&first), chain(&second));
    for part in ["journal", "objects"] {
        let (first, second) = (
            files(&place.path("first").join(part)),
            files(&place.path("second").join(part)),
        );
        assert!(!first.is_empty() && first == second, "{part} differs");
    }
    let outbox =
        |run: &str| std::fs::read(place.path(run).join("outbox.jsonl")).expect("an outbox");
    assert!(outbox("first") == outbox("second"));
    let seed = demo(&place, "seed", &["--seed", "2"]);
    assert_ne!(chain(&first), chain(&seed));
    let named = demo(&place, "named", &["--seed", "1"]);
    assert_eq!(chain(&first), chain(&named), "1 is the seed of the demo");
}

#[test]
fn neither_hosts_nor_durability_change_the_run() {
    let place = Place::new();
    let launches: [&[&str]; 4] = [
        &["--hosts", "1"],
        &["--hosts", "3"],
        &["--durability", "process"],
        &["--durability", "sync"],
    ];
    let runs = ["one", "three", "process", "sync"];
    let chains: Vec<String> = runs
        .iter()
        .zip(launches)
        .map(|(run, more)| chain(&demo(&place, run, more)))
        .collect();
    assert!(chains.iter().all(|chain| *chain == chains[0]), "{chains:?}");
    let first = files(&place.path("one/journal"));
    assert!(
        runs.iter()
            .all(|run| files(&place.path(run).join("journal")) == first)
    );
}

#[test]
fn a_longer_run_begins_with_the_shorter_one() {
    let place = Place::new();
    demo(&place, "long", &[]);
    place.fine(&["demo", "--agents", "8", "--ticks", "40", "--dir", "short"]);
    let said = place
        .lockstep(&["diff", "short", "long", "--json"])
        .with_code(1);
    assert_eq!(said.json()["equal"], false);
    assert!(
        said.out
            .contains("the left one has 40 ticks, the right one 120"),
        "{said}"
    );
    assert!(said.out.contains("equal up to tick 40"), "{said}");
}

/// How many poles stand and how many have fallen, by what the referee emitted in a tick.
fn poles(place: &Place, run: &str, tick: u64) -> (u64, u64) {
    let outbox = std::fs::read_to_string(place.path(run).join("outbox.jsonl")).expect("an outbox");
    let lines = outbox
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    let line = lines
        .into_iter()
        .find(|line| line["tick"] == tick)
        .expect("a line for the tick");
    let report: Value =
        serde_json::from_str(line["text"].as_str().expect("a text")).expect("a report");
    (
        report["standing"].as_u64().expect("a number"),
        report["fallen"].as_u64().expect("a number"),
    )
}

#[test]
fn poles_stand_with_the_policy_and_fall_without_it() {
    let place = Place::new();
    let text = |policy: &str| {
        let poles = format!(
            "[[agents]]\nname = \"pole\"\ncount = 16\ncomponent = \"builtin:cartpole\"\nsettings = {{ {policy} }}\n"
        );
        let referee = "[[agents]]\nname = \"referee\"\ncomponent = \"builtin:referee\"\nsettings = { every = 1 }\npriority = -1\n";
        let model = "[[models]]\nname = \"policy\"\nfile = \"builtin:policy\"\n";
        fleet(
            "ticks = 150",
            &[poles, referee.to_owned(), model.to_owned()],
        )
    };
    place.write("with.toml", text(""));
    place.write("without.toml", text("policy = \"none\""));
    let with = place
        .fine(&["run", "with.toml", "--dir", "with", "--json"])
        .json();
    let without = place
        .fine(&["run", "without.toml", "--dir", "without", "--json"])
        .json();
    assert_eq!(
        (&with["inferences"], &without["inferences"]),
        (&(16 * 150).into(), &0.into())
    );
    assert_eq!(poles(&place, "with", 150), (16, 0));
    assert_eq!(poles(&place, "without", 10), (16, 0), "they begin upright");
    let (standing, _) = poles(&place, "without", 80);
    assert!(
        standing <= 8,
        "{standing} of 16 stand after 80 ticks that nobody steered"
    );
    assert_eq!(poles(&place, "without", 150), (0, 16));
}
