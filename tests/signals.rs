//! SIGINT and SIGTERM finish the tick, seal the journal and end with 0; a second
//! one ends at once. Hosts do not outlive the supervisor, and what it had written
//! is good when it is killed. (That no
//! process is left is looked at after every command, see `common`.)

use rustix::process::{Signal, kill_process};
use std::time::Duration;
use test_support::{Place, Running, agent, chain, fleet, model, wait_until};

const AGENT_HOST: &str = "agent-host";
const INFERENCE_HOST: &str = "inference-host";

/// A run without end, of agents that ask a model, on two hosts.
fn endless(keys: &str) -> Place {
    let place = Place::new();
    let feeders = agent("feeder", "mlp", "count = 4\nsettings = { emit_every = 7 }");
    let tables = [
        feeders,
        agent("one", "counter", "settings = { emit_every = 3 }"),
        model("mlp", "mlp", ""),
    ];
    place.write("fleet.toml", fleet(&format!("hosts = 2\n{keys}"), &tables));
    place
}

/// What can be told from outside about a run that was broken off: it verifies, is not sealed, and replays.
fn is_good_up_to_its_end(place: &Place, seal: Option<&str>) {
    let verified = place.verified("run");
    assert!(verified["ticks"].as_u64() > Some(0), "{verified}");
    assert_eq!(verified["sealed"].as_str(), seal, "{verified}");
    assert_eq!(place.replays("run"), chain(&verified));
}

#[test]
fn one_signal_finishes_the_tick_and_seals() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let place = endless("");
        let running = place.start_run("fleet.toml");
        running.signal(signal);
        let said = running.end().with_code(0);
        let json = said.json();
        assert!(said.out.starts_with("stopped after"), "{said}");
        let verified = place.verified("run");
        assert_eq!(
            (&verified["sealed"], &verified["ticks"]),
            (&"stopped".into(), &json["ticks"])
        );
        assert_eq!(chain(&verified), chain(&json));
        is_good_up_to_its_end(&place, Some("stopped"));
    }
}

/// A run whose first tick after now never ends, because a host stands still.
#[allow(
    clippy::disallowed_methods,
    reason = "that nothing happens can only be seen by waiting"
)]
fn stuck(place: &Place) -> Running {
    let running = place.start_run("fleet.toml");
    kill_process(running.children(AGENT_HOST)[0], Signal::STOP).expect("a host");
    let bytes = || place.journal_bytes("run");
    wait_until("the run stands still", Duration::from_secs(60), || {
        let before = bytes();
        std::thread::sleep(Duration::from_millis(100));
        bytes() == before
    });
    running
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "that nothing happens can only be seen by waiting"
)]
fn a_second_signal_ends_at_once() {
    let place = endless("deadline_ms = 600_000");
    let mut running = stuck(&place);
    running.signal(Signal::INT);
    // The tick cannot be finished, so the first one alone does not end the run.
    std::thread::sleep(Duration::from_millis(300));
    assert!(running.lives(), "the first signal waits for the tick");
    running.signal(Signal::INT);
    running.end().with_code(130);
    is_good_up_to_its_end(&place, None);
}

#[test]
fn a_signal_during_the_start_leaves_nothing() {
    let place = Place::with_own_cache();
    place.write(
        "fleet.toml",
        fleet(
            "",
            &[
                agent("one", "trouble", ""),
                agent("two", "mlp", ""),
                model("mlp", "mlp", ""),
            ],
        ),
    );
    for (signal, folder) in [(Signal::INT, "interrupted"), (Signal::TERM, "terminated")] {
        let running = place.start(place.command(&["run", "fleet.toml", "--dir", folder, "--json"]));
        running.wait_until("an agent is being compiled", || {
            !running.children("compiler").is_empty()
        });
        running.signal(signal);
        let said = running.end().with_code(0);
        assert!(said.err.contains("stopped before the first tick"), "{said}");
        assert!(!said.err.contains("error"), "it was asked for: {said}");
        let json = said.json();
        assert_eq!(json["ticks"], 0);
        assert_eq!(json["stopped"], true);
        assert!(!place.path(folder).exists(), "{said}");
        std::fs::remove_dir_all(place.path("cache")).expect("what was compiled");
    }
}

#[test]
fn hosts_go_with_a_supervisor_that_is_killed() {
    for durability in ["process", "batch", "sync"] {
        let place = endless(&format!(
            "durability = \"{durability}\"\nhot_standby = false"
        ));
        let running = place.start_run("fleet.toml");
        assert_eq!(
            (
                running.children(AGENT_HOST).len(),
                running.children(INFERENCE_HOST).len()
            ),
            (2, 1)
        );
        running.signal(Signal::KILL);
        running.end().with_code(None);
        is_good_up_to_its_end(&place, None);
        // The directory is a run, and nobody holds it.
        place
            .lockstep(&["run", "fleet.toml", "--dir", "run"])
            .with_code(2)
            .naming(&["already holds a run"]);
    }
}

#[test]
fn hosts_that_stand_still_go_with_a_supervisor_that_is_killed() {
    let place = endless("deadline_ms = 600_000");
    let running = stuck(&place);
    running.signal(Signal::KILL);
    running.end().with_code(None);
    is_good_up_to_its_end(&place, None);
}

#[test]
fn a_start_that_was_killed_is_no_obstacle() {
    let place = Place::with_own_cache();
    place.write(
        "fleet.toml",
        fleet("ticks = 5", &[agent("one", "trouble", "")]),
    );
    let running = place.start(place.command(&["run", "fleet.toml", "--dir", "run"]));
    running.wait_until("an agent is being compiled", || {
        !running.children("compiler").is_empty()
    });
    running.signal(Signal::KILL);
    running.end().with_code(None);
    place.fine(&["run", "fleet.toml", "--dir", "run"]);
    assert_eq!(place.verified("run")["sealed"], "finished");
}
