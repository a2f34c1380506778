//! What people read: the help of every command, and the main refusals of the binary, each by a real run. Whoever changes
//! a text reads it in its snapshot. The messages of all error types are in `supervisor/src/error/snapshots`.

use rustix::process::Signal;
use test_support::{Place, Said, agent, fed, fleet, repository, sound_model};

/// Compares a text with its snapshot.
fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The text without what differs between machines and runs: folders, process numbers and versions.
fn redacted(place: &Place, text: &str) -> String {
    let folder = place.path("").display().to_string();
    let mut text = text
        .replace(folder.trim_end_matches('/'), "[FOLDER]")
        .replace(&repository(""), "[REPOSITORY]/")
        .replace(env!("CARGO_PKG_VERSION"), "[VERSION]");
    if let Some((before, after)) = text.clone().split_once("pid ") {
        let after = after.trim_start_matches(|letter: char| letter.is_ascii_digit());
        text = format!("{before}pid [PID]{after}");
    }
    text
}

#[test]
fn the_help_of_every_command() {
    let place = Place::new();
    let commands: [&[&str]; 18] = [
        &[],
        &["demo"],
        &["run"],
        &["resume"],
        &["model"],
        &["model", "replace"],
        &["model", "unload"],
        &["model", "load"],
        &["replay"],
        &["verify"],
        &["inspect"],
        &["diff"],
        &["chaos"],
        &["infer"],
        &["generate"],
        &["check"],
        &["doctor"],
        &["help"],
    ];
    let listed = place.fine(&["--help"]).out;
    let listed = listed
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|word| word.bytes().all(|letter| letter.is_ascii_lowercase()));
    for command in listed {
        assert!(
            commands.iter().any(|words| words.first() == Some(&command)),
            "`{command}` has no snapshot of its help"
        );
    }
    for words in &commands[..commands.len() - 1] {
        let said = place.fine(&[words, &["--help"][..]].concat());
        let name = [&["help"], *words].concat().join("_");
        snapshot(&name, &said.out);
    }
}

/// One refusal: what was run, its exit code and its message.
fn refusal(place: &Place, arguments: &[&str], code: i32) -> String {
    shown(place, arguments, place.lockstep(arguments).with_code(code))
}

fn shown(place: &Place, arguments: &[&str], said: Said) -> String {
    let said = said.naming(&[]);
    let code = said.code.expect("an exit code");
    let command = arguments.join(" ");
    redacted(
        place,
        &format!("$ lockstep {command}\n{}exit code {code}\n\n", said.err),
    )
}

fn refusals(place: &Place, all: &[(&[&str], i32)]) -> String {
    all.iter()
        .map(|(arguments, code)| refusal(place, arguments, *code))
        .collect()
}

#[test]
fn refusals_of_the_command_line() {
    let place = Place::new();
    let text = refusals(
        &place,
        &[
            (&["fly"], 2),
            (&["run"], 2),
            (&["run", "fleet.toml", "--tick", "5"], 2),
            (&["run", "fleet.toml", "--ticks", "0"], 2),
            (&["run", "fleet.toml", "--seed", "x"], 2),
            (&["run", "fleet.toml", "--durability", "eventually"], 2),
            (&["demo", "--agents", "4001"], 2),
            (&["change", "run", "mlp", "unload"], 2),
            (&["chaos"], 2),
            (&["chaos", "demo", "--kinds", "kil"], 2),
            (&["replay", "run", "--provider", "cuda"], 2),
            (&["replay", "run", "--reinfer", "--provider", "gpu"], 2),
            (&["infer", "model.onnx", "--input", "x"], 2),
            (&["generate", "builtin:talk"], 2),
            (&["generate", "builtin:tlak", "--prompt", "a"], 2),
            (
                &[
                    "generate",
                    "builtin:talk",
                    "--prompt",
                    "a",
                    "--temperature",
                    "nan",
                ],
                2,
            ),
        ],
    );
    snapshot("refusals_of_the_command_line", &text);
}

#[test]
fn refusals_of_files() {
    let place = Place::new();
    place.write("notes.txt", "no run");
    place.write("not-text.toml", b"\xff");
    place.write("fleet.toml", fed("", sound_model("")));
    let mlp = repository("models/testdata/mlp.onnx");
    let corrupt = repository("models/testdata/corrupt.onnx");
    std::fs::create_dir(place.path("empty")).expect("a folder");
    let mut text = refusals(
        &place,
        &[
            (&["run", "missing.toml"], 2),
            (&["run", "empty"], 2),
            (&["run", "not-text.toml"], 2),
            (&["run", "fleet.toml", "--faults", "missing.toml"], 2),
            (&["run", "fleet.toml", "--dir", "notes.txt"], 2),
            (&["run", "fleet.toml", "--dir", "."], 2),
            (&["resume", "missing"], 2),
            (&["resume", "empty"], 2),
            (&["verify", "empty"], 2),
            (&["inspect", "notes.txt"], 2),
            (&["model", "load", "missing", "mlp"], 2),
            (&["infer", "missing.onnx"], 2),
            (&["infer", "empty"], 2),
            (&["infer", &mlp, "--input", "x=missing.npy"], 2),
            (&["infer", &mlp, "--input", "x=notes.txt"], 2),
            (&["infer", &corrupt], 2),
            (&["generate", "empty", "--prompt", "a"], 2),
            (
                &[
                    "generate",
                    "builtin:talk",
                    "--prompt",
                    "a",
                    "--schema",
                    "missing.json",
                ],
                2,
            ),
        ],
    );
    let arguments = ["infer", &mlp];
    let mut command = place.command(&arguments);
    command.env("LOCKSTEP_ORT_LIB", "/missing/libonnxruntime.so");
    let said = place.start(command).end().with_code(2);
    text += &shown(&place, &arguments, said);
    snapshot("refusals_of_files", &text);
}

#[test]
fn refusals_of_a_run() {
    let place = Place::new();
    let agents = agent("one", "counter", "count = 2");
    place.write(
        "fleet.toml",
        fleet("ticks = 20", &[agents, sound_model("")]),
    );
    place.fine(&["run", "fleet.toml", "--dir", "done"]);
    let mut text = refusals(
        &place,
        &[
            (&["run", "fleet.toml", "--dir", "done"], 2),
            (&["resume", "done", "--ticks", "5"], 2),
            (&["inspect", "done", "--agent", "two"], 2),
            (&["inspect", "done", "--tick", "21"], 2),
            (&["model", "load", "done", "mlp"], 2),
            (
                &[
                    "chaos",
                    "fleet.toml",
                    "--reference",
                    "missing",
                    "--faults",
                    "1",
                ],
                2,
            ),
        ],
    );
    let without_end = ["run", "fleet.toml", "--ticks", "1000000000", "--dir", "run"];
    let running = place.start(place.command(&without_end));
    running.wait_until("ticks are in the journal", || {
        place.journal_bytes("run") > 20_000
    });
    let mlp = repository("models/testdata/two_inputs.onnx");
    text += &refusals(
        &place,
        &[
            (&["resume", "run"], 4),
            (&["run", "fleet.toml", "--dir", "run"], 4),
            (&["model", "unload", "run", "mpl"], 2),
            (&["model", "load", "run", "mlp"], 2),
            (
                &[
                    "model",
                    "replace",
                    "run",
                    "mlp",
                    "missing.onnx",
                    "--version",
                    "second",
                ],
                2,
            ),
            (
                &[
                    "model",
                    "replace",
                    "run",
                    "mlp",
                    &mlp,
                    "--version",
                    "second",
                ],
                2,
            ),
        ],
    );
    running.signal(Signal::INT);
    running.end().with_code(0);
    std::fs::write(place.path("done/journal/notes.txt"), "no segment").expect("a file");
    text += &refusal(&place, &["verify", "done"], 1);
    snapshot("refusals_of_a_run", &text);
}
