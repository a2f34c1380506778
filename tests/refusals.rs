//! Bad input is refused with the exit code of the contract and one clear
//! message that names the thing, the place and the next step. Nothing is left of
//! a run that did not begin: no process, no file, no folder (see `common`, which
//! looks for processes, named memory and temporary files after every command).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use test_support::{Place, agent, fed, fleet, model, repository, skipped, sound_model};

/// Refuses a fleet for what `check` finds too.
fn refuse_and_check(place: &Place, text: &str, words: &[&str]) {
    place.refuse(text, 2, words);
    place
        .lockstep(&["check", "fleet.toml"])
        .with_code(2)
        .naming(words);
}

fn one(component: &str) -> String {
    fleet(
        "ticks = 10",
        &[format!(
            "[[agents]]\nname = \"one\"\ncomponent = \"{component}\"\n"
        )],
    )
}

#[test]
fn a_missing_file_is_named_with_its_line() {
    let place = Place::new();
    refuse_and_check(
        &place,
        &one("gone.wasm"),
        &["fleet.toml:6", "component", "gone.wasm"],
    );
    let model = "[[models]]\nname = \"mlp\"\nfile = \"gone.onnx\"\n".to_owned();
    refuse_and_check(
        &place,
        &fed("", model),
        &["fleet.toml", "file", "gone.onnx"],
    );
    place
        .lockstep(&["run", "gone.toml"])
        .with_code(2)
        .naming(&["gone.toml"]);
    refuse_and_check(
        &place,
        &one("builtin:countr"),
        &[
            "fleet.toml:6",
            "component",
            "did you mean `builtin:counter`?",
        ],
    );
    refuse_and_check(&place, &one("builtin:zebra"), &["fleet.toml:6", "`policy`"]);
}

#[test]
fn check_says_in_json_what_is_wrong() {
    let place = Place::new();
    place.write("fleet.toml", one("builtin:countr"));
    let said = place
        .lockstep(&["check", "fleet.toml", "--json"])
        .with_code(2);
    let json = said.json();
    assert_eq!(json["valid"], false);
    let problem = json["problems"][0].as_str().expect("a problem");
    assert!(problem.starts_with("fleet.toml:6:"), "{problem}");
}

#[test]
fn a_fleet_in_which_everything_fails_is_not_listed_tick_by_tick() {
    let place = Place::new();
    let failing = agent(
        "one",
        "counter",
        "count = 3\nfuel = 1\non_failure = \"restart\"",
    );
    place.write("fleet.toml", fleet("ticks = 200", &[failing]));
    let said = place.fine(&["run", "fleet.toml"]);
    let warnings = said.err.lines().filter(|line| line.contains("failed"));
    // One for each agent, and one that counts the others; more only where the run takes seconds.
    assert!((4..100).contains(&warnings.count()), "{said}");
    assert!(said.err.contains("since then"), "{said}");
}

#[test]
fn an_unreadable_file_is_named() {
    let place = Place::new();
    let path = place.write(
        "closed.wasm",
        fs::read(repository("agents/built/counter.wasm")).expect("a component"),
    );
    fs::create_dir(place.path("folder.wasm")).expect("a folder");
    refuse_and_check(&place, &one("folder.wasm"), &["folder.wasm"]);
    if rustix::process::geteuid().is_root() {
        return skipped(
            "an unreadable component",
            "permissions are no obstacle to root",
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("a file of ours");
    refuse_and_check(
        &place,
        &one("closed.wasm"),
        &["closed.wasm", "Permission denied"],
    );
}

#[test]
fn what_is_no_component_is_refused() {
    let place = Place::new();
    place.write("text.wasm", "hello, I am a text\n");
    refuse_and_check(
        &place,
        &one("text.wasm"),
        &["agent one", "not a WebAssembly component"],
    );
    place.write("module.wasm", b"\0asm\x01\0\0\0");
    refuse_and_check(
        &place,
        &one("module.wasm"),
        &["agent one", "core WebAssembly module", "component new"],
    );
    let whole = fs::read(repository("agents/built/counter.wasm")).expect("a component");
    place.write("half.wasm", &whole[..whole.len() / 2]);
    refuse_and_check(&place, &one("half.wasm"), &["agent one"]);
    place.write("empty.wasm", "");
    refuse_and_check(&place, &one("empty.wasm"), &["one"]);
}

#[test]
fn a_component_that_wants_a_clock_is_refused_by_name() {
    let place = Place::new();
    let text = fleet("", &[agent("watch", "clock", "")]);
    refuse_and_check(
        &place,
        &text,
        &["agent watch", "wasi:clocks/monotonic-clock", "`tick`"],
    );
}

#[test]
fn a_model_that_is_none_is_refused() {
    let place = Place::new();
    for file in ["corrupt", "garbage"] {
        refuse_and_check(
            &place,
            &fed("", model("mlp", file, "")),
            &["model `mlp`", "complete ONNX model"],
        );
    }
    place.write("empty.onnx", "");
    refuse_and_check(
        &place,
        &fed(
            "",
            "[[models]]\nname = \"mlp\"\nfile = \"empty.onnx\"\n".to_owned(),
        ),
        &["mlp"],
    );
}

#[test]
fn a_signature_that_differs_is_refused_with_both() {
    let place = Place::new();
    let cases = [
        (
            "inputs = { x = \"f32[?,32]\" }",
            ["inputs", "x f32[?,32]", "x f32[?,64]"],
        ),
        (
            "inputs = { x = \"f64[?,64]\" }",
            ["inputs", "x f64[?,64]", "x f32[?,64]"],
        ),
        (
            "inputs = { z = \"f32[?,64]\" }",
            ["inputs", "z f32[?,64]", "x f32[?,64]"],
        ),
        (
            "outputs = { y = \"f32[?,17]\" }",
            ["outputs", "y f32[?,17]", "y f32[?,16]"],
        ),
    ];
    for (keys, words) in cases {
        refuse_and_check(
            &place,
            &fed("", sound_model(keys)),
            &[&["model mlp"], &words[..]].concat(),
        );
    }
}

#[test]
fn a_request_that_does_not_fit_ends_the_run_with_both() {
    let place = Place::new();
    let cases = [
        ("shape", "f32[1,65]"),
        ("dtype", "f64[1,64]"),
        ("name", "\"not-x\""),
    ];
    for (wrong, got) in cases {
        place.write(
            "fleet.toml",
            fed(&format!("wrong = \"{wrong}\""), sound_model("")),
        );
        let words = [
            "agent feeder",
            "tick 3",
            "model mlp",
            "x f32[?,64]",
            got,
            "on_mismatch",
        ];
        // In two words, because the message puts a verb between them.
        let words: Vec<&str> = words.iter().flat_map(|word| word.split(' ')).collect();
        place
            .lockstep(&["run", "fleet.toml", "--dir", wrong])
            .with_code(2)
            .naming(&words);
        let verified = place.verified(wrong);
        assert_eq!(
            (&verified["ticks"], &verified["sealed"]),
            (&3.into(), &"failed".into())
        );
        place.replays(wrong);
        // The agent may be told instead, and the run goes on.
        place.write(
            "fleet.toml",
            fed(
                &format!("wrong = \"{wrong}\""),
                sound_model("on_mismatch = \"reject\""),
            ),
        );
        let told = format!("{wrong}-told");
        assert_eq!(
            place
                .fine(&["run", "fleet.toml", "--dir", &told, "--json"])
                .json()["ticks"],
            10
        );
        place.replays(&told);
    }
}

#[test]
fn a_fleet_file_that_says_nonsense_is_refused_at_its_place() {
    let place = Place::new();
    let counter = |keys: &str| agent("one", "counter", keys);
    let cases = [
        (
            fleet("tick = 10", &[counter("")]),
            &["fleet.toml:3", "`tick`", "`ticks`"][..],
        ),
        (
            fleet("", &[counter("setings = {}")]),
            &["fleet.toml", "`setings`", "`settings`"],
        ),
        (
            fleet("", &[counter(""), "[[model]]\nname = \"m\"\n".to_owned()]),
            &["fleet.toml", "`model`", "`models`"],
        ),
        (
            fleet("ticks = 10", &[]),
            &["fleet.toml", "no agents", "[[agents]]"],
        ),
        (
            fleet("", &[counter("count = 0")]),
            &["fleet.toml", "`count`", "0"],
        ),
        (
            fleet("ticks = -5", &[counter("")]),
            &["fleet.toml:3", "`ticks`", "-5"],
        ),
        (
            fleet("ticks = 0", &[counter("")]),
            &["fleet.toml:3", "`ticks`"],
        ),
        (
            fleet("ticks = \"ten\"", &[counter("")]),
            &["fleet.toml:3", "`ticks`"],
        ),
        (
            fleet("", &[counter(""), counter("")]),
            &["fleet.toml", "two agents", "`one`"],
        ),
        (
            fleet(
                "",
                &[
                    agent("a-0", "counter", ""),
                    agent("a", "counter", "count = 2"),
                ],
            ),
            &["fleet.toml", "`a-0`"],
        ),
        (
            fed("", [sound_model(""), sound_model("")].concat()),
            &["fleet.toml", "two models", "`mlp`"],
        ),
        (
            fleet("schedule = \"dag\"", &[counter("")]),
            &["fleet.toml:3", "dag"],
        ),
        (
            fleet("", &["this is no TOML\n".to_owned()]),
            &["fleet.toml:4"],
        ),
        (
            fed("", sound_model("providers = [\"cudda\"]")),
            &["fleet.toml", "`providers[0]`", "cudda", "\"cuda\"?"],
        ),
    ];
    for (text, words) in cases {
        refuse_and_check(&place, &text, words);
    }
}

#[test]
fn a_command_line_that_says_nonsense_is_refused() {
    let place = Place::new();
    place.write("fleet.toml", fleet("", &[agent("one", "counter", "")]));
    let cases: [&[&str]; 8] = [
        &["run", "fleet.toml", "--ticks", "-5"],
        &["run", "fleet.toml", "--ticks", "0"],
        &["run", "fleet.toml", "--hosts", "0"],
        &["run", "fleet.toml", "--durability", "eventually"],
        &["run"],
        &["demo", "--agents", "0"],
        &["demo", "--agents", "-1"],
        &["fly"],
    ];
    for arguments in cases {
        let said = place.lockstep(arguments).with_code(2);
        assert!(said.err.starts_with("error:"), "{said}");
        assert!(!place.path("runs").exists(), "{said}");
    }
}

#[test]
fn an_agent_that_refuses_to_begin_ends_the_start() {
    let place = Place::new();
    let shy = agent("shy", "trouble", "settings = { what = \"init-error\" }");
    refuse_and_check(
        &place,
        &fleet("", &[agent("one", "counter", ""), shy]),
        &["agent shy", "asked to refuse"],
    );
    let lost = agent("lost", "pingpong", "settings = { peer = \"nobody\" }");
    refuse_and_check(&place, &fleet("", &[lost]), &["agent lost", "nobody"]);
}
