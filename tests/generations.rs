//! Texts of language models in a fleet: two agents talk, and whatever dies
//! meanwhile, they say the same. What is wrong with a request is said to the
//! agent that made it.

use serde_json::Value;
use std::fs;
use test_support::{Place, agent, chain, fleet, repository};

/// The plan by which something is killed in a tick.
fn kill(point: &str, who: &str, tick: u64) -> String {
    format!("[[rules]]\npoint = \"{point}\"\nkind = \"kill\"\n{who}\ntick = {tick}\n")
}

/// What has left a run under a topic.
fn said(place: &Place, run: &str, topic: &str) -> Vec<String> {
    let path = place.path(run).join("outbox.jsonl");
    let lines = fs::read_to_string(path).expect("an outbox");
    let lines = lines.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        (
            line["topic"].to_string(),
            line["text"].as_str().unwrap_or_default().to_owned(),
        )
    });
    let of_topic = lines.filter(|(found, _)| found.trim_matches('"') == topic);
    of_topic.map(|(_, text)| text).collect()
}

#[test]
fn two_agents_talk_and_the_run_replays() {
    let place = Place::new();
    let ran = place.fine(&["demo", "--llm", "--ticks", "120", "--dir", "run", "--json"]);
    let turns = said(&place, "run", "said");
    assert!(turns.len() >= 4, "{turns:?}");
    assert!(
        turns.iter().all(|turn| turn.len() > 5 && turn.is_ascii()),
        "{turns:?}"
    );
    // What was written piece by piece is what was said.
    let written = said(&place, "run", "text").concat();
    for turn in &turns {
        assert!(
            written.contains(turn.as_str()),
            "{turn} is not in {written}"
        );
    }
    assert!(ran.err.contains(&format!("Marla: {}", turns[0])), "{ran}");
    assert_eq!(place.replays("run"), chain(&ran.json()));
    // How the work is spread, and what the host remembers, changes no word.
    let little = fs::read_to_string(repository("examples/talk.toml")).expect("an example");
    let folder = repository("models/talk");
    let little = little
        .replace("../models/talk", &folder)
        .replace("tokens_per_tick", "cache_mib = 1\ntokens_per_tick");
    place.write("little.toml", little);
    let other = place.fine(&[
        "run",
        "little.toml",
        "--ticks",
        "120",
        "--dir",
        "other",
        "--hosts",
        "2",
        "--json",
    ]);
    assert_eq!(said(&place, "other", "said"), turns, "{other}");
}

#[test]
fn whoever_dies_meanwhile_they_say_the_same() {
    let place = Place::new();
    let run = |dir: &str, arguments: &[&str]| {
        let arguments = [
            &["demo", "--llm", "--ticks", "60", "--dir", dir, "--json"],
            arguments,
        ]
        .concat();
        chain(&place.fine(&arguments).json())
    };
    let whole = run("whole", &[]);
    for (name, point, who, tick) in [
        ("engine-asked", "before-batch", "inference_host = true", 20),
        ("engine-answers", "mid-answer", "inference_host = true", 33),
        ("keeper", "in-step", "agent = \"marla\"", 25),
    ] {
        let plan = place.write(&format!("{name}.toml"), kill(point, who, tick));
        let plan = plan.display().to_string();
        assert_eq!(run(name, &["--faults", &plan]), whole, "{name}");
    }
    let plan = place.write(
        "supervisor.toml",
        "[[rules]]\npoint = \"after-write-before-commit\"\nkind = \"supervisor-kill\"\ntick = 31\n",
    );
    let plan = plan.display().to_string();
    let killed = place.lockstep(&[
        "demo", "--llm", "--ticks", "60", "--dir", "killed", "--faults", &plan,
    ]);
    assert_ne!(killed.code, Some(0), "{killed}");
    let resumed = place.fine(&["resume", "killed", "--json"]).json();
    assert_eq!(chain(&resumed), whole);
    assert_eq!(place.replays("killed"), whole);
}

/// A fleet whose one agent makes one request to a folder.
fn asking(folder: &str, request: &str, keys: &str) -> String {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(request);
    let bytes = request.len();
    let settings =
        format!("settings = {{ model = \"m\", \"input request\" = \"uint8[{bytes}] {encoded}\" }}");
    let folder = repository(folder);
    fleet(
        "ticks = 12",
        &[
            agent("asks", "asker", &settings),
            format!("[[models]]\nname = \"m\"\nfolder = \"{folder}\"\n{keys}\n"),
        ],
    )
}

#[test]
fn a_request_that_cannot_be_met_is_answered_with_the_reason() {
    let long = format!("{{\"prompt\": \"{}\"}}", "many words ".repeat(60));
    for (request, keys, words) in [
        ("{\"prompt\": 7}", "", &["prompt"][..]),
        ("{\"promt\": \"a\"}", "", &["promt"]),
        ("tell me", "", &["JSON"]),
        (
            "{\"prompt\": \"a\", \"temperature\": -1}",
            "",
            &["temperature"],
        ),
        ("{\"input\": \"a\"}", "", &["embedding"]),
        (long.as_str(), "context_length = 50", &["50"]),
    ] {
        let place = Place::new();
        place.write("fleet.toml", asking("models/talk", request, keys));
        place.fine(&["run", "fleet.toml", "--dir", "run"]);
        let failed = said(&place, "run", "failed");
        assert_eq!(failed.len(), 1, "{request}: {failed:?}");
        for word in words {
            assert!(failed[0].contains(word), "{request}: {failed:?}");
        }
    }
}

#[test]
fn a_text_of_a_given_form_and_an_embedding_reach_the_agent() {
    let place = Place::new();
    let schema = r#"{"prompt": "Answer: ", "max_tokens": 40, "temperature": 0, "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object", "properties": {"crates": {"type": "integer", "maximum": 99, "minimum": 0}}, "required": ["crates"], "additionalProperties": false}}}}"#;
    place.write(
        "fleet.toml",
        asking("models/talk", schema, "tokens_per_tick = 8"),
    );
    place.fine(&["run", "fleet.toml", "--dir", "form"]);
    let pieces = said_beginning(&place, "form", "output text");
    let text: Value = serde_json::from_str(&pieces.concat()).expect("the form that was asked for");
    assert!(text["crates"].is_u64(), "{text}");
    place.write(
        "fleet.toml",
        asking("models/encoder", "{\"input\": \"a boat\"}", ""),
    );
    place.fine(&["run", "fleet.toml", "--dir", "embedding"]);
    let topics = topics(&place, "embedding");
    assert!(
        topics
            .iter()
            .any(|topic| topic.starts_with("output embedding float32[") && !topic.ends_with("[0]")),
        "{topics:?}"
    );
}

fn topics(place: &Place, run: &str) -> Vec<String> {
    let path = place.path(run).join("outbox.jsonl");
    let lines = fs::read_to_string(path).expect("an outbox");
    let topic = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["topic"].as_str().unwrap_or_default().to_owned()
    };
    lines.lines().map(topic).collect()
}

/// What has left a run under all topics that begin so.
fn said_beginning(place: &Place, run: &str, start: &str) -> Vec<String> {
    let mut all = topics(place, run);
    all.retain(|topic| topic.starts_with(start));
    all.dedup();
    all.iter()
        .flat_map(|topic| said(place, run, topic))
        .collect()
}

#[test]
fn a_folder_that_is_none_is_refused() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).expect("a folder");
    let with = |folder: &str| {
        let model = format!("[[models]]\nname = \"m\"\nfolder = \"{folder}\"\n");
        fleet("ticks = 3", &[agent("one", "counter", ""), model])
    };
    place.refuse(&with("empty"), 2, &["empty", "model.onnx"]);
    place.refuse(&with("nowhere"), 2, &["nowhere", "fleet.toml"]);
    let file = repository("models/policy.onnx");
    place.refuse(&with(&file), 2, &["policy.onnx", "folder"]);
}
