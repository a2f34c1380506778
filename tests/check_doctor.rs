//! `lockstep check` finds nothing wrong with the examples, and runs nothing;
//! `lockstep doctor` says what the machine offers, by trying it.

use serde_json::Value;
use test_support::{Place, agent, fleet, model, repository};

#[test]
fn every_example_is_valid() {
    let place = Place::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(repository("examples")).expect("the examples") {
        let path = entry.expect("an example").path();
        let file = path.to_str().expect("a plain name");
        let said = place.fine(&["check", file, "--json"]);
        assert_eq!(said.json()["valid"], true, "{said}");
        assert!(said.out.contains(&format!("{file} is valid")), "{said}");
        seen += 1;
    }
    assert!(
        seen >= 3,
        "the demo as a file, one agent without a model, one model from a path"
    );
    assert!(!place.path("runs").exists(), "a check makes no run");
}

#[test]
fn check_says_what_was_found_out_about_models() {
    let place = Place::new();
    let tables = [
        agent("one", "counter", "count = 2"),
        model("joined", "mlp", ""),
        model("alone", "cross_row", ""),
        model("fixed", "fixed_batch", ""),
    ];
    place.write("fleet.toml", fleet("", &tables));
    let said = place.fine(&["check", "fleet.toml", "--json"]);
    let line = |model: &str| {
        said.out
            .lines()
            .find(|line| line.starts_with(&format!("model {model} ")))
            .unwrap_or_else(|| panic!("{said}"))
    };
    assert!(
        line("joined").contains("x f32[?,64] -> y f32[?,16]; requests are batched"),
        "{said}"
    );
    assert!(
        line("alone").contains("requests are not batched"),
        "rows that depend on each other are not joined: {said}"
    );
    assert!(line("fixed").contains("requests are not batched"), "{said}");
    let json = said.json();
    assert_eq!(json["agents"], Value::from(vec!["one-0", "one-1"]));
    assert_eq!(json["models"].as_array().map(Vec::len), Some(3));
}

#[test]
fn doctor_says_what_there_is() {
    let place = Place::new();
    let said = place.fine(&["doctor", "--json"]);
    let json = said.json();
    assert_eq!(json["lockstep"], env!("CARGO_PKG_VERSION"));
    // The version, the architecture and the beginning of a digest of the settings.
    let wasmtime: Vec<&str> = json["wasmtime"]
        .as_str()
        .unwrap_or_default()
        .split(' ')
        .collect();
    assert_eq!(
        wasmtime[..2],
        [agent_host::WASMTIME_VERSION, std::env::consts::ARCH]
    );
    assert_eq!(
        wasmtime.get(2).map(|digest| digest.len()),
        Some(8),
        "{said}"
    );
    assert!(
        json["engine"]
            .as_str()
            .is_some_and(|engine| engine.starts_with("onnxruntime 1.31.")),
        "{said}"
    );
    assert!(json["cores"].as_u64() > Some(0), "{said}");
    for host in ["agent_host", "inference_host"] {
        let layers = json[host].as_array().unwrap_or_else(|| panic!("{said}"));
        assert!(
            !layers.is_empty() && layers.iter().all(|layer| layer["layer"].is_string()),
            "{said}"
        );
    }
    for word in [
        "engine      onnxruntime 1.31.",
        "(embedded)",
        "agent host",
        "inference host",
        "cache",
    ] {
        assert!(said.out.contains(word), "{word:?}: {said}");
    }
}

#[test]
fn doctor_says_what_is_missing() {
    let place = Place::new();
    let mut command = place.command(&["doctor", "--json"]);
    command.env("LOCKSTEP_ORT_LIB", "/gone/libonnxruntime.so");
    let said = place.start(command).end().with_code(1);
    let json = said.json();
    assert!(
        json["engine"].is_null()
            && json["engine_missing"]
                .as_str()
                .is_some_and(|reason| reason.contains("/gone/libonnxruntime.so")),
        "{said}"
    );
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let place = Place::new();
    let said = place.fine(&["--help"]);
    for command in [
        "demo", "run", "resume", "model", "replay", "verify", "inspect", "diff", "chaos", "infer",
        "generate", "check", "doctor",
    ] {
        assert!(
            said.out.contains(&format!("  {command}")),
            "{command}: {said}"
        );
    }
    assert!(said.out.contains("Exit codes: 0"), "{said}");
    assert!(
        place
            .fine(&["--version"])
            .out
            .contains(env!("CARGO_PKG_VERSION"))
    );
}
