//! Who runs a model may be gone in the middle of a run. It is then decided by the
//! fleet whether the run goes on with the next provider or stops, and never is
//! anything done without a word.
//!
//! There is no such device on most machines, so an engine is made that says it
//! has one: the real ONNX Runtime behind a table of functions of which some fail.

use inference_host::library::embedded_library;
use serde_json::Value;
use std::fs;
use std::mem::{offset_of, size_of};
use test_support::{Place, Said, agent, chain, fleet, model};

/// Ticks of a run in which something is lost.
const TICKS: u64 = 60;

/// Runs of the engine that succeed: more than it takes to load a model, less than a run takes.
const LOSE_AT: &str = "60";

/// A place with such an engine. None without a C compiler.
fn place() -> Option<Place> {
    let place = Place::new();
    place.write("real.so", embedded_library().bytes);
    fs::create_dir(place.path("state")).expect("a folder for what goes wrong");
    let source = test_support::repository("tests/shared/failing_engine.c");
    macro_rules! at {
        ($name:literal, $field:ident) => {
            format!(
                "-D{}={}",
                $name,
                offset_of!(ort::sys::OrtApi, $field) / size_of::<usize>()
            )
        };
    }
    let text = |name: &str, path: &str| {
        let path = place.path(path);
        format!("-D{name}=\"{}\"", path.display())
    };
    let compiled = place
        .program("cc")
        .args([
            "-shared",
            "-fPIC",
            "-O1",
            "-o",
            "libonnxruntime.so",
            &source,
        ])
        .args([text("REAL", "real.so"), text("STATE", "state")])
        .args([
            at!("CREATE_STATUS", CreateStatus),
            at!("CREATE_SESSION_OPTIONS", CreateSessionOptions),
            at!("CREATE_CUDA", CreateCUDAProviderOptions),
            at!("UPDATE_CUDA", UpdateCUDAProviderOptions),
            at!("RELEASE_CUDA", ReleaseCUDAProviderOptions),
            at!("APPEND_CUDA", SessionOptionsAppendExecutionProvider_CUDA_V2),
            at!("ADD_ENTRY", AddSessionConfigEntry),
            at!("CREATE_SESSION", CreateSessionFromArray),
            at!("EP_NAME", EpAssignedSubgraph_GetEpName),
            at!("RUN", Run),
            at!("TENSOR_DATA", GetTensorMutableData),
            at!("TENSOR_INFO", GetTensorTypeAndShape),
            at!("ELEMENTS", GetTensorShapeElementCount),
            at!("RELEASE_INFO", ReleaseTensorTypeAndShapeInfo),
        ])
        .arg("-ldl")
        .status();
    if compiled.is_ok_and(|status| status.success()) {
        return Some(place);
    }
    eprintln!("skipped: a provider that is lost: there is no C compiler `cc`");
    None
}

fn said(place: &Place, arguments: &[&str]) -> Said {
    let mut command = place.command(arguments);
    command.env("LOCKSTEP_ORT_LIB", place.path("libonnxruntime.so"));
    place.start(command).end()
}

fn goes_wrong(place: &Place, what: &str, content: &str) {
    fs::write(place.path("state").join(what), content).expect("the folder can be written");
}

fn is_well_again(place: &Place) {
    for what in ["gone", "broken", "shifted", "lose_at"] {
        let _ = fs::remove_file(place.path("state").join(what));
    }
}

/// A fleet whose model asks for CUDA, and then for the processor.
fn write_fleet(place: &Place, keys: &str) {
    let tables = [
        agent("feeder", "mlp", "count = 2\nsettings = { emit_every = 7 }"),
        model("mlp", "mlp", "providers = [\"cuda\", \"cpu\"]"),
    ];
    place.write(
        "fleet.toml",
        fleet(&format!("ticks = {TICKS}\n{keys}"), &tables),
    );
}

/// What the run comes to where nothing is lost.
fn whole(place: &Place) -> String {
    let run = said(place, &["run", "fleet.toml", "--dir", "whole", "--json"]).with_code(0);
    assert_eq!(run.json()["provider"], "cuda", "{run}");
    chain(&run.json())
}

fn verdicts(json: &Value) -> Vec<String> {
    let verdicts = json["verdicts"].as_array().expect("a list");
    verdicts.iter().map(ToString::to_string).collect()
}

#[test]
fn a_run_goes_on_with_the_next_provider_if_it_may() {
    let Some(place) = place() else { return };
    write_fleet(&place, "on_provider_lost = \"fallback\"");
    goes_wrong(&place, "lose_at", LOSE_AT);
    let run = said(&place, &["run", "fleet.toml", "--dir", "run", "--json"]).with_code(0);
    let json = run.json();
    assert_eq!(json["provider"], "cpu", "who has run it at last: {run}");
    assert!(run.out.contains("on cpu (initially cuda)"), "{run}");
    let verdicts = verdicts(&json);
    assert_eq!(verdicts.len(), 1, "{run}");
    for word in ["mlp", "continues on cpu", "its self-test failed"] {
        assert!(verdicts[0].contains(word), "{word}: {run}");
    }
    // The words of the driver are told, and are not in the journal.
    for word in ["CUDA failure 999", "CUDA failure 100"] {
        assert!(run.err.contains(word), "{word}: {run}");
        assert!(!verdicts[0].contains(word), "{word}: {run}");
    }
    place.verified("run");
    let replay = place.fine(&["replay", "run", "--json"]).json();
    assert_eq!(
        (&replay["diverged"], chain(&replay)),
        (&false.into(), chain(&json))
    );
    // What is back is not taken up again: nothing would be bit for bit the same.
    is_well_again(&place);
    let further = (2 * TICKS).to_string();
    let resumed = said(&place, &["resume", "run", "--ticks", &further, "--json"]).with_code(0);
    let replay = place.fine(&["replay", "run", "--json"]).json();
    assert_eq!(chain(&replay), chain(&resumed.json()));
    assert_eq!(self::verdicts(&replay).len(), 1, "{resumed}");
}

#[test]
fn a_run_stops_and_goes_on_once_its_provider_is_back() {
    let Some(place) = place() else { return };
    write_fleet(&place, "");
    let expected = whole(&place);
    goes_wrong(&place, "lose_at", LOSE_AT);
    said(&place, &["run", "fleet.toml", "--dir", "run"])
        .with_code(3)
        .naming(&[
            "mlp",
            "cuda",
            "CUDA failure 100",
            "lockstep resume",
            "on_provider_lost",
        ]);
    // It is still gone.
    said(&place, &["resume", "run"])
        .with_code(3)
        .naming(&["mlp", "cuda", "lockstep resume"]);
    is_well_again(&place);
    let resumed = said(&place, &["resume", "run", "--json"]).with_code(0);
    assert_eq!(chain(&resumed.json()), expected, "{resumed}");
    assert_eq!(verdicts(&resumed.json()).len(), 0, "{resumed}");
}

#[test]
fn a_run_asks_and_goes_on_when_told_to() {
    let Some(place) = place() else { return };
    write_fleet(&place, "on_provider_lost = \"ask\"");
    goes_wrong(&place, "lose_at", LOSE_AT);
    said(&place, &["run", "fleet.toml", "--dir", "run"])
        .with_code(3)
        .naming(&["mlp", "cuda", "lockstep resume --allow-next-provider"]);
    let resumed = said(
        &place,
        &["resume", "run", "--allow-next-provider", "--json"],
    )
    .with_code(0);
    assert_eq!(verdicts(&resumed.json()).len(), 1, "{resumed}");
    let replay = place.fine(&["replay", "run", "--json"]).json();
    assert_eq!(chain(&replay), chain(&resumed.json()));
}

#[test]
fn a_provider_unavailable_at_start_is_refused_with_its_reason() {
    for (what, reason) in [("gone", "CUDA failure 100"), ("broken", "CUDA failure 2")] {
        let Some(place) = place() else { return };
        write_fleet(&place, "");
        goes_wrong(&place, what, "");
        let run = said(&place, &["run", "fleet.toml", "--dir", "run", "--json"]).with_code(0);
        assert_eq!(run.json()["provider"], "cpu", "{run}");
        assert!(run.err.contains(reason), "{run}");
        said(
            &place,
            &["run", "fleet.toml", "--dir", "strict", "--strict-providers"],
        )
        .with_code(3)
        .naming(&["mlp", "cuda", reason]);
    }
}

#[test]
fn a_device_lost_during_a_load_does_not_blame_the_version() {
    let Some(place) = place() else { return };
    write_fleet(
        &place,
        "on_provider_lost = \"fallback\"\ncheckpoint_ticks = 8\ncheckpoint_min_ms = 0",
    );
    let mut text = fs::read_to_string(place.path("fleet.toml")).expect("a fleet");
    for (tick, version, file) in [(20, "2", "arch_gru"), (40, "3", "arch_norm")] {
        let file = test_support::repository(&format!("models/testdata/{file}.onnx"));
        text += &format!(
            "[[changes]]\ntick = {tick}\nmodel = \"mlp\"\nversion = \"{version}\"\nfile = \"{file}\"\n"
        );
    }
    place.write("fleet.toml", text);
    let mut while_loading = 0;
    // Each version is tried some thirty times when it is loaded, and all three are before the first tick.
    for lose_at in (100..200).step_by(12) {
        is_well_again(&place);
        goes_wrong(&place, "lose_at", &lose_at.to_string());
        let dir = format!("run-{lose_at}");
        let run = said(&place, &["run", "fleet.toml", "--dir", &dir, "--json"]).with_code(0);
        let said_so = verdicts(&run.json());
        assert!(!said_so.is_empty(), "{run}");
        while_loading += usize::from(run.err.contains("could not run"));
        let replay = place.fine(&["replay", &dir, "--json"]).json();
        assert_eq!(
            (&replay["diverged"], chain(&replay)),
            (&false.into(), chain(&run.json()))
        );
        // Who goes on finds the same to be lost in the same ticks.
        let part = format!("part-{lose_at}");
        is_well_again(&place);
        goes_wrong(&place, "lose_at", &lose_at.to_string());
        said(
            &place,
            &["run", "fleet.toml", "--dir", &part, "--ticks", "50"],
        )
        .with_code(0);
        let resumed = said(&place, &["resume", &part, "--ticks", "60", "--json"]).with_code(0);
        let replay = place.fine(&["replay", &part, "--json"]).json();
        assert_eq!(verdicts(&replay), said_so, "{resumed}");
        assert_eq!(chain(&resumed.json()), chain(&run.json()), "{resumed}");
    }
    assert!(
        while_loading > 0,
        "none was lost while a version was loaded"
    );
}

#[test]
fn another_provider_is_compared_result_by_result_in_ulps() {
    let Some(place) = place() else { return };
    let gru = test_support::repository("models/testdata/arch_gru.onnx");
    let tables = [
        agent("feeder", "mlp", "count = 2"),
        agent(
            "thinker",
            "ponder",
            "settings = { turns = 1, emit_every = 0 }",
        ),
        model("mlp", "mlp", "providers = [\"cuda\", \"cpu\"]"),
        format!("[[changes]]\ntick = 20\nmodel = \"mlp\"\nversion = \"2\"\nfile = \"{gru}\"\n"),
    ];
    place.write(
        "fleet.toml",
        fleet("ticks = 40\non_provider_lost = \"fallback\"", &tables),
    );
    goes_wrong(&place, "shifted", "");
    said(&place, &["run", "fleet.toml", "--dir", "run"]).with_code(0);
    // In every tick but the first, two results; in every tick, one wait; 16 numbers each.
    let elements = 16 * (2 * 39 + 40);
    let replay = |run: &str, provider: &str| {
        let arguments = ["replay", run, "--reinfer", "--provider", provider, "--json"];
        let replay = said(&place, &arguments).with_code(0);
        let json = replay.json();
        assert_eq!(json["provider"], provider, "{replay}");
        assert_eq!(json["outputs"][0]["elements"], elements, "{replay}");
        let number = |name: &str| json["outputs"][0][name].as_u64().expect("a number");
        (number("differing_elements"), number("max_ulp"))
    };
    assert_eq!(replay("run", "cuda"), (0, 0));
    assert_eq!(replay("run", "cpu"), (elements, 3));
    // Of a run that has lost its device, what was run before is apart from the processor, and what came after from the
    // device; what was under way when it was lost is taken from the journal.
    goes_wrong(&place, "lose_at", "80");
    said(&place, &["run", "fleet.toml", "--dir", "lost"]).with_code(0);
    is_well_again(&place);
    goes_wrong(&place, "shifted", "");
    let ((on_cpu, most), (on_cuda, _)) = (replay("lost", "cpu"), replay("lost", "cuda"));
    assert_eq!(most, 3);
    assert!(on_cpu > 0 && on_cuda > 0, "{on_cpu} {on_cuda}");
    // Each of two versions was lost with four results and a wait under way.
    assert_eq!(on_cpu + on_cuda, elements - 2 * 5 * 16);
}
