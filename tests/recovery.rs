//! A host that is killed or hangs comes back, and a supervisor that is killed is
//! resumed, and neither changes the journal or the outbox by one bit.

use rustix::process::{Signal, kill_process};
use std::fs;
use test_support::{Place, Running, agent, fleet, model};

const AGENT_HOST: &str = "agent-host";
const INFERENCE_HOST: &str = "inference-host";

/// Long enough that whoever kills finds a run that goes on.
const TICKS: u64 = 6_000;

/// A run of agents that ask a model, on two hosts.
fn place(keys: &str) -> Place {
    let place = Place::new();
    let tables = [
        agent("feeder", "mlp", "count = 4\nsettings = { emit_every = 7 }"),
        agent("one", "counter", "settings = { emit_every = 3 }"),
        model("mlp", "mlp", ""),
    ];
    let keys =
        format!("hosts = 2\nticks = {TICKS}\nrestarts_host = 1000\nrestarts_run = 1000\n{keys}");
    place.write("fleet.toml", fleet(&keys, &tables));
    place.fine(&["run", "fleet.toml", "--dir", "undisturbed"]);
    place
}

/// Journal and outbox are, byte for byte, those of the run that nobody disturbed.
fn is_as_undisturbed(place: &Place) {
    let file =
        |run: &str, name: &str| fs::read(place.path(run).join(name)).expect("a file of the run");
    for name in ["journal/00000001.lkj", "outbox.jsonl"] {
        assert!(
            file("run", name) == file("undisturbed", name),
            "{name} differs"
        );
    }
    assert_eq!(place.verified("run")["sealed"], "finished");
}

/// Signals hosts of a role, each time after the run has gone on.
fn disturb(place: &Place, running: &Running, role: &str, signal: Signal, times: u32) {
    for _ in 0..times {
        let before = place.journal_bytes("run");
        running.wait_until("the run goes on", || {
            place.journal_bytes("run") > before + 20_000
        });
        for host in running.children(role) {
            // It may just have been replaced.
            let _ = kill_process(host, signal);
        }
    }
}

#[test]
fn hosts_that_are_killed_come_back_and_the_journal_is_the_same() {
    for (role, what) in [(AGENT_HOST, "(agents, "), (INFERENCE_HOST, "(inference, ")] {
        let place = place("");
        let running = place.start_run("fleet.toml");
        disturb(&place, &running, role, Signal::KILL, 3);
        let said = running.end().with_code(0);
        assert!(
            said.err.contains(what) && said.err.contains("restarted in"),
            "{said}"
        );
        assert!(said.json()["restarts"].as_u64() >= Some(3), "{said}");
        is_as_undisturbed(&place);
    }
}

#[test]
fn hosts_that_hang_are_replaced_after_the_deadline() {
    for role in [AGENT_HOST, INFERENCE_HOST] {
        let place = place("deadline_ms = 300");
        let running = place.start_run("fleet.toml");
        disturb(&place, &running, role, Signal::STOP, 1);
        let said = running.end().with_code(0);
        assert!(
            said.err
                .contains("it has not answered or reported progress for 300 ms"),
            "{said}"
        );
        is_as_undisturbed(&place);
    }
}

#[test]
fn a_killed_supervisor_resumes_with_the_same_journal() {
    for durability in ["process", "batch", "sync"] {
        let place = place(&format!("durability = \"{durability}\""));
        let mut running = place.start_run("fleet.toml");
        for _ in 0..3 {
            let before = place.journal_bytes("run");
            running.wait_until("the run goes on", || {
                place.journal_bytes("run") > before + 20_000
            });
            running.signal(Signal::KILL);
            running.end().with_code(None);
            running = place.start(place.command(&["resume", "run", "--json"]));
        }
        let said = running.end().with_code(0);
        let json = said.json();
        assert_eq!(json["ticks"], TICKS);
        assert!(json["resumed_after"].as_u64() > Some(0), "{said}");
        is_as_undisturbed(&place);
    }
}

#[test]
fn a_stopped_run_resumes_and_a_finished_one_has_nothing_to_do() {
    let place = place("");
    let running = place.start_run("fleet.toml");
    running.signal(Signal::INT);
    let said = running.end().with_code(0);
    assert!(said.out.starts_with("stopped after"), "{said}");
    place.fine(&["resume", "run"]);
    is_as_undisturbed(&place);
    let said = place.fine(&["resume", "run", "--json"]);
    assert_eq!(
        (&said.json()["ticks"], &said.json()["resumed_after"]),
        (&TICKS.into(), &TICKS.into())
    );
    is_as_undisturbed(&place);
    // More ticks than it was launched with.
    place.fine(&["resume", "run", "--ticks", &(TICKS + 10).to_string()]);
    place.fine(&[
        "run",
        "fleet.toml",
        "--dir",
        "longer",
        "--ticks",
        &(TICKS + 10).to_string(),
    ]);
    place.fine(&["diff", "run", "longer"]);
    // Fewer are no question.
    place
        .lockstep(&["resume", "run", "--ticks", "5"])
        .with_code(2)
        .naming(&["already has 6010 ticks"]);
}

/// What was found out about a model is pinned in the run, also that its requests run alone and why.
/// Somebody cuts the outbox while nobody writes to it: in the midst of the run, and when it is over.
#[test]
fn an_outbox_that_was_cut_is_whole_again_after_a_resume() {
    for durability in ["process", "batch"] {
        let place = place(&format!("durability = \"{durability}\""));
        let outbox = place.path("run/outbox.jsonl");
        let running = place.start_run("fleet.toml");
        wait_for_checkpoint(&place, &running);
        running.signal(Signal::KILL);
        running.end().with_code(None);
        let whole = fs::read(&outbox).expect("the run has an outbox");
        // Within a line, or what is before it.
        fs::write(&outbox, &whole[..whole.len() / 20]).expect("it can be cut");
        let said = place.fine(&["resume", "run"]);
        assert!(
            said.err
                .contains(&format!("outbox.jsonl had {} bytes", whole.len() / 20)),
            "{said}"
        );
        is_as_undisturbed(&place);
        for emptied in [true, false] {
            match emptied {
                true => fs::write(&outbox, "").expect("it can be emptied"),
                false => fs::remove_file(&outbox).expect("it can be removed"),
            }
            let said = place.fine(&["resume", "run"]);
            assert!(said.err.contains("outbox.jsonl had 0 bytes"), "{said}");
            is_as_undisturbed(&place);
        }
        let events = fs::read_to_string(place.path("run/events.jsonl")).expect("there are events");
        assert_eq!(events.matches("outbox_repaired").count(), 3, "{events}");
    }
}

/// As a rotation does that copies the file and empties it.
#[test]
fn a_run_whose_outbox_is_emptied_stops_and_resumes() {
    let place = place("");
    let running = place.start_run("fleet.toml");
    wait_for_checkpoint(&place, &running);
    fs::write(place.path("run/outbox.jsonl"), "").expect("it can be emptied");
    let said = running.end().with_code(1);
    assert!(
        said.err.contains("outbox.jsonl") && said.err.contains("`lockstep resume` rewrites it"),
        "{said}"
    );
    place.fine(&["resume", "run"]);
    is_as_undisturbed(&place);
}

fn wait_for_checkpoint(place: &Place, running: &Running) {
    running.wait_until("there is a checkpoint", || {
        fs::read_dir(place.path("run/checkpoints")).is_ok_and(|entries| {
            let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names.any(|name| name.ends_with(".checkpoint"))
        })
    });
}

#[test]
fn an_unbatched_run_resumes_and_is_inferred_again() {
    let place = Place::new();
    for (name, keys) in [("fixed_batch", ""), ("mlp", "batch = false")] {
        let width = if name == "mlp" { 64 } else { 4 };
        let feeder =
            format!("settings = {{ model = \"{name}\", width = {width}, emit_every = 7 }}");
        place.write(
            "fleet.toml",
            fleet(
                "ticks = 40",
                &[agent("feeder", "mlp", &feeder), model(name, name, keys)],
            ),
        );
        place.fine(&["run", "fleet.toml", "--dir", name, "--ticks", "20"]);
        let said = place.fine(&["resume", name, "--ticks", "40", "--json"]);
        let reason = said.json()["models"][0]["batching"].clone();
        assert!(
            reason
                .as_str()
                .is_some_and(|why| why.starts_with("unbatched: ")),
            "{said}"
        );
        let whole = place.fine(&[
            "run",
            "fleet.toml",
            "--dir",
            &format!("{name}-whole"),
            "--json",
        ]);
        assert_eq!(place.replays(name), test_support::chain(&whole.json()));
    }
}

#[test]
fn two_resume_one_run_and_one_wins() {
    let place = place("");
    let running = place.start_run("fleet.toml");
    running.signal(Signal::KILL);
    running.end().with_code(None);
    let winner = place.start(place.command(&["resume", "run"]));
    let before = place.journal_bytes("run");
    winner.wait_until("it goes on", || place.journal_bytes("run") > before);
    place
        .lockstep(&["resume", "run"])
        .with_code(4)
        .naming(&["in use"]);
    winner.end().with_code(0);
    is_as_undisturbed(&place);
}
