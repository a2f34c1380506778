//! Faults of all classes, in real processes, at named points: the journal is the
//! one of the fault-free run, bit for bit, and a difference is found, explained
//! and made small.

use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use test_support::{Place, agent, fleet, model};

/// The fleets of the examples whose models and agents need nothing but this repository.
fn examples() -> Vec<std::path::PathBuf> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut fleets: Vec<_> = fs::read_dir(folder)
        .expect("the examples")
        .map(|entry| entry.expect("an example").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    fleets.sort();
    fleets
}

/// Runs a campaign that must find nothing, and gives how often each kind of fault was injected.
fn finds_nothing(place: &Place, arguments: &[&str]) -> BTreeMap<String, u64> {
    let said = place
        .lockstep(&[&["chaos"], arguments, &["--json"]].concat())
        .with_code(0);
    let json = said.json();
    assert_eq!(
        (&json["diverged"], &json["chain"]),
        (&false.into(), &json["reference_chain"]),
        "{said}"
    );
    assert_eq!(
        (&json["verdicts"], &json["findings"]),
        (&serde_json::json!([]), &serde_json::json!([])),
        "{said}"
    );
    let by_kind = json["faults_by_kind"].as_object().expect("an object");
    let by_kind: BTreeMap<String, u64> = by_kind
        .iter()
        .map(|(kind, count)| (kind.clone(), count.as_u64().expect("a number")))
        .collect();
    assert_eq!(
        json["faults_injected"].as_u64(),
        Some(by_kind.values().sum()),
        "{said}"
    );
    by_kind
}

#[test]
fn every_example_ends_with_the_fault_free_chain() {
    let place = Place::new();
    for example in examples() {
        let path = example.to_string_lossy().into_owned();
        let injected = finds_nothing(&place, &[&path, "--faults", "12", "--ticks", "60"]);
        let injected: u64 = injected.values().sum();
        assert!(injected >= 6, "{path}: {injected}");
    }
}

/// Five hundred faults over fleets with and without models, on one host, on several, and with agents of their own.
#[test]
fn five_hundred_faults_of_all_classes_change_nothing() {
    let place = Place::new();
    let feeders = agent("feeder", "mlp", "count = 3\nsettings = { emit_every = 7 }");
    let counters = agent("one", "counter", "count = 3\nsettings = { emit_every = 3 }");
    let alone = agent(
        "alone",
        "counter",
        "isolate = true\nsettings = { emit_every = 5 }",
    );
    let model = model("mlp", "mlp", "");
    place.write(
        "models.toml",
        fleet("hosts = 1", &[feeders.clone(), model.clone()]),
    );
    place.write(
        "many.toml",
        fleet("hosts = 3", std::slice::from_ref(&counters)),
    );
    place.write(
        "mixed.toml",
        fleet(
            "hosts = 2\ndurability = \"sync\"",
            &[feeders, counters, alone, model],
        ),
    );
    let mut injected: BTreeMap<String, u64> = BTreeMap::new();
    let mut inject = |arguments: &[&str]| {
        for (kind, count) in finds_nothing(&place, arguments) {
            *injected.entry(kind).or_default() += count;
        }
    };
    for (name, faults, seed) in [
        ("models.toml", "180", "1"),
        ("many.toml", "170", "2"),
        ("mixed.toml", "200", "3"),
    ] {
        inject(&[name, "--faults", faults, "--seed", seed, "--ticks", "150"]);
    }
    // Each of these costs a deadline, so that they are drawn rarely.
    for kind in [
        "stop",
        "stale-sequence",
        "index-out-of-range",
        "ring-stalled",
        "inference-timeout",
    ] {
        let campaign = "--faults 4 --seed 4 --ticks 60 --deadline-ms 300 --kinds";
        let campaign: Vec<&str> = campaign.split(' ').collect();
        inject(&[&["mixed.toml"], &campaign[..], &[kind]].concat());
    }
    // A rule whose point is not passed any more when its tick comes does not fire.
    let all: u64 = injected.values().sum();
    assert!(all >= 450, "{injected:?}");
    assert_eq!(injected.len(), 22, "every kind: {injected:?}");
}

#[test]
fn a_difference_is_found_and_explained() {
    let place = Place::new();
    let counter = |every: &str| {
        agent(
            "one",
            "counter",
            &format!("settings = {{ emit_every = {every} }}"),
        )
    };
    place.write("fleet.toml", fleet("", &[counter("3")]));
    place.write("other.toml", fleet("", &[counter("4")]));
    place.fine(&["run", "other.toml", "--dir", "other", "--ticks", "60"]);
    let said = place
        .lockstep(&[
            "chaos",
            "fleet.toml",
            "--faults",
            "8",
            "--ticks",
            "60",
            "--reference",
            "other",
            "--json",
        ])
        .with_code(1);
    assert_eq!(said.json()["diverged"], true, "{said}");
    assert!(
        // Without any rule there is no run with faults.
        said.out.contains("\n1 of 8 rules show it:\n[[rules]]\n")
            && said
                .out
                .contains("repeat with lockstep chaos fleet.toml --plan chaos-1.toml"),
        "{said}"
    );
    // What is said shows it again.
    let again = said
        .out
        .lines()
        .find_map(|line| line.strip_prefix("repeat with lockstep "))
        .expect("a command");
    let again: Vec<&str> = again.split(' ').chain(["--reference", "other"]).collect();
    let said = place.lockstep(&again).with_code(1);
    assert!(said.out.contains("1 of 1 rules show it"), "{said}");
}

#[test]
fn counted_faults_may_change_a_run_and_replay_agrees() {
    let place = Place::new();
    // What the fleet file wants to go wrong is left out: the reference would not be one.
    let own = "[[faults.rules]]\ntick = 5\npoint = \"tick-opened\"\nkind = \"supervisor-kill\"\n";
    let agents = agent("one", "counter", "count = 3\nsettings = { emit_every = 3 }");
    place.write("fleet.toml", fleet("hosts = 1", &[agents, own.to_owned()]));
    place.write(
        "plan.toml",
        "[[rules]]\ntick = 17\npoint = \"in-step\"\nkind = \"segfault\"\nagent = \"one-1\"\ntimes = 9\ncounts_as_restart = true\n",
    );
    let said = place.fine(&[
        "chaos",
        "fleet.toml",
        "--plan",
        "plan.toml",
        "--ticks",
        "40",
        "--json",
    ]);
    let json = said.json();
    assert_eq!(json["verdicts"].as_array().map(Vec::len), Some(1), "{said}");
    assert_eq!(json["diverged"], false, "{said}");
    assert_ne!(json["chain"], json["reference_chain"], "{said}");
    assert_eq!(
        (&json["faults_injected"], &json["faults_not_reached"]),
        (&3.into(), &6.into()),
        "{said}"
    );
    assert!(said.out.contains("to its replay"), "{said}");
}

#[test]
fn a_signal_ends_a_campaign_and_all_that_it_has_made() {
    let place = Place::new();
    let agents = agent("one", "counter", "count = 2\nsettings = { emit_every = 3 }");
    place.write("fleet.toml", fleet("hosts = 2", &[agents]));
    let arguments = ["chaos", "fleet.toml", "--faults", "5000", "--json"];
    let running = place.start(place.command(&arguments));
    let reference = || {
        let made = fs::read_dir(place.path("tmp")).expect("a folder");
        made.flatten()
            .any(|folder| folder.path().join("faults-1/run-1/journal").exists())
    };
    running.wait_until("a run with faults has begun", reference);
    running.signal(Signal::INT);
    // That nothing is left in the folder for temporary files is looked at for every process.
    let said = running.end().with_code(0);
    assert_eq!(said.json()["stopped"], true, "{said}");
    assert!(said.out.contains("stopped     "), "{said}");
}

#[test]
fn the_points_are_listed_and_bad_input_is_refused() {
    let place = Place::new();
    let said = place.fine(&["chaos", "--points"]);
    for point in [
        "after-write-before-commit",
        "in-step",
        "mid-answer",
        "ring-half-payload",
    ] {
        assert!(said.out.contains(point), "{point}: {said}");
    }
    assert!(
        said.out
            .contains("in agent-host, passed by the agent host: kill, stop"),
        "{said}"
    );
    place
        .lockstep(&["chaos"])
        .with_code(2)
        .naming(&["no fleet given"]);
    place.write("fleet.toml", fleet("", &[agent("one", "counter", "")]));
    place
        .lockstep(&["chaos", "fleet.toml", "--kinds", "kil"])
        .with_code(2)
        .naming(&["kil", "kill, stop"]);
    place
        .lockstep(&["chaos", "fleet.toml", "--kinds", "model-gone"])
        .with_code(2)
        .naming(&["no models"]);
    place
        .lockstep(&["chaos", "absent.toml"])
        .with_code(2)
        .naming(&["absent.toml"]);
    place.write(
        "plan.toml",
        "[[rules]]\npoint = \"befor-step\"\nkind = \"kill\"\n",
    );
    place
        .lockstep(&["chaos", "fleet.toml", "--plan", "plan.toml"])
        .with_code(2)
        .naming(&["befor-step", "before-step"]);
    place.write(
        "plan.toml",
        "[[rules]]\npoint = \"before-step\"\nkind = \"kill\"\nagent = \"two\"\n",
    );
    place
        .lockstep(&["run", "fleet.toml", "--faults", "plan.toml", "--ticks", "5"])
        .with_code(2)
        .naming(&["two", "one"]);
}

#[test]
fn an_agent_that_kills_its_host_is_quarantined_in_replay_too() {
    let place = Place::new();
    let agents = agent("one", "counter", "count = 3\nsettings = { emit_every = 3 }");
    place.write("fleet.toml", fleet("hosts = 1\nticks = 40", &[agents]));
    place.write(
        "plan.toml",
        "[[rules]]\ntick = 17\npoint = \"in-step\"\nkind = \"segfault\"\nagent = \"one-1\"\ntimes = 9\ncounts_as_restart = true\n",
    );
    let said = place.fine(&[
        "run",
        "fleet.toml",
        "--faults",
        "plan.toml",
        "--dir",
        "run",
        "--json",
    ]);
    let verdicts = &said.json()["verdicts"];
    assert_eq!(verdicts.as_array().map(Vec::len), Some(1), "{said}");
    assert_eq!(verdicts[0]["tick"], 17, "{said}");
    assert!(
        verdicts[0]["text"]
            .as_str()
            .is_some_and(|text| text.starts_with("agent one-1 is quarantined: ")),
        "{said}"
    );
    // Replaying injects nothing, and steps nobody in tick 17 who was given up in it.
    assert_eq!(
        place.replays("run"),
        test_support::chain(&place.verified("run"))
    );
    let said = place.fine(&["inspect", "run", "--tick", "17"]);
    assert!(
        said.out.contains("verdicts[0]: agent one-1 is quarantined")
            && said.out.contains("event: "),
        "{said}"
    );
}
