//! Models that somebody changes by command while a run goes on. What was said to
//! be done stays done, whoever is killed then.

use rustix::process::{Signal, kill_process};
use test_support::{Place, Running, Said, agent, change, fleet, model, repository};

/// A run without an end whose agents ask one model, and whose ticks are on the disk at once.
fn asking(tables: &[String]) -> String {
    let mut all = vec![
        agent("feeder", "mlp", "count = 2\nsettings = { emit_every = 1 }"),
        agent("thinker", "ponder", "settings = { turns = 2 }"),
        model("mlp", "mlp", "version = \"first\""),
    ];
    all.extend_from_slice(tables);
    fleet("durability = \"sync\"", &all)
}

fn testdata(name: &str) -> String {
    repository(&format!("models/testdata/{name}.onnx"))
}

/// Asks for another version of the model.
fn replacing(place: &Place, file: &str, version: &str) -> Running {
    let file = testdata(file);
    let start = ["model", "replace", "run", "mlp", &file];
    place.start(place.command(&[&start[..], &["--version", version, "--json"]].concat()))
}

/// Makes the model another version. Gives the first tick in which it holds.
fn replaced(place: &Place, file: &str, version: &str) -> u64 {
    from(&replacing(place, file, version).end().with_code(0))
}

fn from(said: &Said) -> u64 {
    said.json()["from"].as_u64().expect("a tick")
}

#[test]
fn what_was_changed_stays_changed_when_the_supervisor_is_killed() {
    let place = Place::new();
    place.write("fleet.toml", asking(&[]));
    let running = place.start_run("fleet.toml");
    let second = replaced(&place, "arch_gru", "second");
    let unloaded = from(&place.fine(&["model", "unload", "run", "mlp", "--json"]));
    let loaded = from(&place.fine(&["model", "load", "run", "mlp", "--json"]));
    let third = replaced(&place, "arch_norm", "third");
    running.signal(Signal::KILL);
    running.end();
    assert!(second < unloaded && unloaded < loaded && loaded < third);
    let verified = place.verified("run");
    let ticks = verified["ticks"].as_u64().expect("ticks");
    assert!(
        ticks + 1 >= third,
        "what was said to be done is journaled: {verified}"
    );
    let whole = (ticks.max(third) + 20).to_string();
    let resumed = place
        .fine(&["resume", "run", "--ticks", &whole, "--json"])
        .json();
    assert_eq!(resumed["verdicts"], serde_json::json!([]), "{resumed}");
    place.replays("run");
    let of = |tick: u64| {
        let tick = tick.to_string();
        place
            .fine(&[
                "inspect",
                "run",
                "--tick",
                &tick,
                "--agent",
                "feeder-0",
                "--provenance",
            ])
            .out
    };
    // What reaches an agent was asked for in the tick before.
    assert!(of(second).contains("version first"), "{}", of(second));
    assert!(
        of(second + 1).contains("version second"),
        "{}",
        of(second + 1)
    );
    assert!(
        of(loaded + 1).contains("version second"),
        "{}",
        of(loaded + 1)
    );
    assert!(of(third + 1).contains("version third"), "{}", of(third + 1));
    let said = place.fine(&["inspect", "run", "--tick", &(unloaded + 1).to_string()]);
    assert!(
        said.out.contains("model mlp is not loaded in tick"),
        "{said}"
    );
    let said = place.fine(&["inspect", "run", "--tick", &(third - 1).to_string()]);
    assert!(
        said.out
            .contains("verdicts[0]: model mlp becomes version third"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_is_refused_and_the_run_goes_on() {
    let place = Place::new();
    place.write("fleet.toml", asking(&[]));
    let ask = |action: &str, arguments: &[&str]| {
        let all = [&["model", action, "run"][..], arguments].concat();
        place.lockstep(&all).with_code(2)
    };
    ask("load", &["mlp"]).naming(&["no active run in run", "lockstep resume run"]);
    let running = place.start_run("fleet.toml");
    ask("unload", &["mpl"]).naming(&["`mpl`", "mlp"]);
    ask("load", &["mlp"]).naming(&["`mlp`", "is already loaded"]);
    let replace =
        |file: &str, version: &str| ask("replace", &["mlp", &testdata(file), "--version", version]);
    replace("two_inputs", "second").naming(&["version second", "x f32[?,64]", "a f32[?,3]"]);
    replace("corrupt", "second").naming(&["mlp, version second", "cannot be loaded"]);
    replace("nowhere", "second").naming(&["nowhere.onnx"]);
    replace("arch_gru", "first").naming(&["already has a version `first`"]);
    replace("arch_gru", "").naming(&["no name of a version"]);
    ask("replace", &["mlp", &testdata("arch_gru")]).naming(&["--version"]);
    running.signal(Signal::INT);
    running.end().with_code(0);
    place.replays("run");
}

#[test]
fn a_model_that_the_fleet_changes_later_is_left_to_it() {
    let place = Place::new();
    place.write(
        "fleet.toml",
        asking(&[change(1_000_000_000, "action = \"unload\"")]),
    );
    let running = place.start_run("fleet.toml");
    place
        .lockstep(&["model", "unload", "run", "mlp"])
        .with_code(2)
        .naming(&["tick 1000000000", "`mlp`"]);
    running.signal(Signal::INT);
    running.end().with_code(0);
}

#[test]
fn two_model_changes_at_once_survive_a_lost_host() {
    let place = Place::new();
    place.write("fleet.toml", asking(&[]));
    let running = place.start_run("fleet.toml");
    let both = [
        replacing(&place, "arch_gru", "gated"),
        replacing(&place, "arch_norm", "normed"),
    ];
    // The host that serves the run; the one in which a version is looked at is another.
    let host = running.children("inference-host")[0];
    kill_process(host, Signal::KILL).expect("it is there");
    let ticks = both.map(|asking| from(&asking.end().with_code(0)));
    assert_ne!(ticks[0], ticks[1]);
    let journaled = place.journal_bytes("run");
    running.wait_until("it goes on", || {
        place.journal_bytes("run") > journaled + 20_000
    });
    running.signal(Signal::INT);
    running.end().with_code(0);
    place.replays("run");
}

#[test]
fn who_waits_when_the_run_ends_is_told_so() {
    let place = Place::new();
    place.write("fleet.toml", asking(&[]));
    let running = place.start_run("fleet.toml");
    let asking = replacing(&place, "arch_gru", "second");
    running.wait_until("it is looked at", || {
        running.children("inference-host").len() > 1
    });
    running.signal(Signal::INT);
    running.end().with_code(0);
    // It was granted just before the end, or never was.
    let said = asking.end();
    let code = if said.out.contains("is version second") {
        0
    } else {
        1
    };
    said.with_code(code);
    place.replays("run");
}

#[test]
fn a_language_model_takes_the_place_of_another() {
    let place = Place::new();
    let talker = |name: &str, partner: &str, begins: bool| {
        let settings = format!("model = \"writer\", partner = \"{partner}\", begins = {begins}");
        agent(name, "talker", &format!("settings = {{ {settings} }}"))
    };
    let writer = "[[models]]\nname = \"writer\"\nfolder = \"builtin:talk\"\n";
    let tables = [
        talker("ann", "ben", true),
        talker("ben", "ann", false),
        writer.to_owned(),
    ];
    place.write(
        "fleet.toml",
        fleet("durability = \"sync\"\nticks = 100000", &tables),
    );
    let run = place.start(place.command(&["run", "fleet.toml", "--dir", "run", "--json"]));
    run.wait_until("it ticks", || place.journal_bytes("run") > 4_000);
    let folder = repository("models/talk");
    let said = place.fine(&[
        "model",
        "replace",
        "run",
        "writer",
        &folder,
        "--version",
        "again",
        "--json",
    ]);
    assert!(from(&said) > 1);
    let journaled = place.journal_bytes("run");
    run.wait_until("texts go on", || {
        place.journal_bytes("run") > journaled + 4_000
    });
    run.signal(Signal::INT);
    run.end().with_code(0);
    place.replays("run");
}

/// What a probe finds of a model that hardly fits follows from what else the host has had in memory, and is no reason to
/// take the model for another one.
#[test]
fn a_model_that_hardly_fits_is_the_same_after_a_loss() {
    let place = Place::new();
    let feeder = agent("feeder", "mlp", "count = 4\nsettings = { emit_every = 1 }");
    let tables = [feeder, model("mlp", "mlp", "memory_mib = 100")];
    place.write("fleet.toml", fleet("durability = \"sync\"", &tables));
    let running = place.start_run("fleet.toml");
    replaced(&place, "hungry", "hungry");
    kill_process(running.child("inference-host"), Signal::KILL).expect("it is there");
    replaced(&place, "arch_gru", "gated");
    let last = replaced(&place, "hungry", "hungry again");
    running.signal(Signal::KILL);
    running.end();
    let whole = (last + 50).to_string();
    place.fine(&["resume", "run", "--ticks", &whole]);
    place.replays("run");
}

#[test]
fn a_host_in_which_a_version_is_looked_at_may_be_lost() {
    let place = Place::new();
    place.write("fleet.toml", asking(&[]));
    let running = place.start_run("fleet.toml");
    let serving = running.child("inference-host");
    let asking = replacing(&place, "arch_gru", "second");
    let hosts = || running.children("inference-host");
    running.wait_until("it is looked at", || hosts().len() > 1);
    let other = hosts().into_iter().find(|host| *host != serving);
    let _ = kill_process(other.expect("another"), Signal::KILL);
    let said = asking.end();
    if said.code != Some(0) {
        // It may have been looked at by then.
        said.with_code(5)
            .naming(&["mlp, version second", "try again"]);
    }
    running.signal(Signal::INT);
    running.end().with_code(0);
    place.replays("run");
}

#[test]
fn the_former_command_is_refused_with_the_new_one() {
    let place = Place::new();
    for former in [
        &["change"][..],
        &["change", "--help"],
        &[
            "change",
            "run",
            "mlp",
            "replace",
            "mlp.onnx",
            "--version",
            "second",
        ],
    ] {
        place
            .lockstep(former)
            .with_code(2)
            .naming(&["lockstep model replace RUN MODEL FILE --version NAME"]);
    }
}
