//! Models change while a run goes on: versions come in, take the place of others,
//! and go. What was asked before is answered as it would have been, whoever dies
//! meanwhile, and the run can be replayed and resumed like any other.

use serde_json::Value;
use std::fs;
use test_support::{Place, agent, chain, change, fleet, model, replace, repository};

/// Agents that ask for a later tick and some that wait within their steps, and a model that becomes another one, goes, and
/// comes back.
fn tables(latency: u64) -> Vec<String> {
    vec![
        agent("feeder", "mlp", "count = 3\nsettings = { emit_every = 1 }"),
        agent("seldom", "mlp", "every = 4\nsettings = { emit_every = 4 }"),
        agent("thinker", "ponder", "count = 2\nsettings = { turns = 2 }"),
        model("mlp", "mlp", &format!("latency_ticks = {latency}")),
        replace(8, "gated", "arch_gru"),
        change(14, "action = \"unload\""),
        change(18, "action = \"load\""),
        replace(22, "normed", "arch_norm"),
    ]
}

fn changing(keys: &str, latency: u64) -> String {
    fleet(&format!("ticks = 30\nhosts = 2\n{keys}"), &tables(latency))
}

/// What an agent let out, by tick.
fn outputs(place: &Place, run: &str, agent: &str) -> Vec<(u64, String)> {
    let outbox = fs::read_to_string(place.path(run).join("outbox.jsonl")).expect("an outbox");
    let lines = outbox.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let text = line["text"].as_str().unwrap_or_default().to_owned();
        (
            line["agent"].clone(),
            line["tick"].as_u64().expect("a tick"),
            text,
        )
    });
    let of_agent = lines.filter(|(who, _, _)| who == agent);
    of_agent.map(|(_, tick, text)| (tick, text)).collect()
}

#[test]
fn a_request_is_answered_by_the_version_of_its_tick() {
    let place = Place::new();
    place.write("changing.toml", changing("", 3));
    place.fine(&["run", "changing.toml", "--dir", "changing"]);
    place.replays("changing");
    // Up to the answers to what was asked in tick 7, everything is as with the first version alone; what was asked in
    // tick 8 is not.
    let alone = [
        agent("feeder", "mlp", "count = 3\nsettings = { emit_every = 1 }"),
        agent("seldom", "mlp", "every = 4\nsettings = { emit_every = 4 }"),
        agent("thinker", "ponder", "count = 2\nsettings = { turns = 2 }"),
        model("mlp", "mlp", "latency_ticks = 3"),
    ];
    place.write("alone.toml", fleet("ticks = 30\nhosts = 2", &alone));
    place.fine(&["run", "alone.toml", "--dir", "alone"]);
    let (changing, alone) = (
        outputs(&place, "changing", "feeder-1"),
        outputs(&place, "alone", "feeder-1"),
    );
    let first = changing
        .iter()
        .zip(&alone)
        .find(|(left, right)| left != right);
    let (left, _) = first.expect("another version says something else");
    assert_eq!(left.0, 8 + 3, "{left:?}");
    // Nobody answers from tick 14 on, and the agents are told.
    let said = place.fine(&["inspect", "changing", "--tick", "17", "--agent", "feeder-1"]);
    assert!(
        said.out.contains("model mlp is not loaded in tick 14"),
        "{said}"
    );
    let said = place.fine(&["inspect", "changing", "--tick", "16", "--agent", "feeder-1"]);
    assert!(!said.out.contains("not loaded"), "{said}");
    let said = place.fine(&["inspect", "changing", "--tick", "21", "--agent", "feeder-1"]);
    assert!(!said.out.contains("not loaded"), "{said}");
    let said = place.fine(&["inspect", "changing"]);
    for words in [
        "from_tick 8",
        "to.version \"gated\"",
        "from_tick 14",
        "to unloaded",
        "to.version \"normed\"",
    ] {
        assert!(said.out.contains(words), "{words}: {said}");
    }
}

#[test]
fn hosts_that_are_lost_around_a_change_leave_no_trace() {
    let place = Place::new();
    place.write("calm.toml", changing("", 2));
    place.fine(&["run", "calm.toml", "--dir", "calm"]);
    let rules: String = [7, 8, 9, 13, 14, 15, 19, 21, 22, 23]
        .map(|tick| {
            format!("[[faults.rules]]\npoint = \"before-batch\"\nkind = \"kill\"\ntick = {tick}\nmodel = \"mlp\"\n")
        })
        .concat();
    place.write(
        "struck.toml",
        changing("restarts_host = 100\nrestarts_run = 100", 2) + &rules,
    );
    let said = place.fine(&["run", "struck.toml", "--dir", "struck", "--json"]);
    assert!(said.json()["restarts"].as_u64() >= Some(5), "{said}");
    assert_eq!(
        place.verified("struck")["chain"],
        place.verified("calm")["chain"],
        "{said}"
    );
    place.replays("struck");
    for seed in ["3", "4"] {
        let arguments = [
            "chaos",
            "calm.toml",
            "--faults",
            "12",
            "--seed",
            seed,
            "--json",
        ];
        let said = place.fine(&arguments);
        assert_eq!(said.json()["diverged"], false, "{said}");
    }
}

#[test]
fn a_run_stopped_anywhere_resumes_with_the_right_version() {
    let place = Place::new();
    place.write(
        "fleet.toml",
        changing("checkpoint_ticks = 3\ncheckpoint_min_ms = 0", 3),
    );
    let whole = place.fine(&["run", "fleet.toml", "--dir", "whole", "--json"]);
    for ticks in ["6", "7", "8", "9", "13", "14", "16", "18", "20", "22", "25"] {
        let run = format!("run-{ticks}");
        place.fine(&["run", "fleet.toml", "--dir", &run, "--ticks", ticks]);
        let resumed = place.fine(&["resume", &run, "--ticks", "30", "--json"]);
        assert_eq!(
            chain(&resumed.json()),
            chain(&whole.json()),
            "from tick {ticks}: {resumed}"
        );
    }
    place.fine(&["run", "fleet.toml", "--dir", "genesis", "--ticks", "16"]);
    let resumed = place.fine(&[
        "resume",
        "genesis",
        "--ticks",
        "30",
        "--ignore-checkpoints",
        "--json",
    ]);
    assert_eq!(chain(&resumed.json()), chain(&whole.json()), "{resumed}");
}

/// The folder of the small language model, whose second version has its agents speak as somebody else.
fn copy_of_talk(place: &Place, name: &str, role: &str) {
    let copy = place.path(name);
    fs::create_dir(&copy).expect("a folder");
    for file in fs::read_dir(repository("models/talk")).expect("the model") {
        let file = file.expect("a file").path();
        let mut bytes = fs::read(&file).expect("a file");
        let file_name = file.file_name().expect("a name");
        if file_name == "tokenizer_config.json" {
            let text = String::from_utf8(bytes).expect("JSON");
            bytes = text
                .replace("'<|im_start|>assistant", &format!("'<|im_start|>{role}"))
                .into();
        }
        fs::write(copy.join(file_name), bytes).expect("it can be written");
    }
}

#[test]
fn generations_end_with_the_version_that_began_them() {
    let place = Place::new();
    copy_of_talk(&place, "first", "assistant");
    copy_of_talk(&place, "second", "user");
    let example = fs::read_to_string(repository("examples/talk.toml")).expect("an example");
    let alone = example.replace("../models/talk", "first");
    let text = format!(
        "{alone}\n[[changes]]\ntick = 22\nmodel = \"talk\"\nfolder = \"second\"\nversion = \"2\"\n"
    );
    place.write("alone.toml", alone);
    place.write("fleet.toml", text);
    place.fine(&["run", "alone.toml", "--ticks", "80", "--dir", "alone"]);
    let whole = place.fine(&[
        "run",
        "fleet.toml",
        "--ticks",
        "80",
        "--dir",
        "whole",
        "--json",
    ]);
    place.replays("whole");
    let words = |run: &str| {
        let outbox = fs::read_to_string(place.path(run).join("outbox.jsonl")).expect("an outbox");
        let lines = outbox.lines().map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let tick = line["tick"].as_u64().expect("a tick");
            (tick, line["topic"].to_string(), line["text"].to_string())
        });
        lines.collect::<Vec<_>>()
    };
    let (alone, changed) = (words("alone"), words("whole"));
    let first = alone
        .iter()
        .zip(&changed)
        .position(|(left, right)| left != right);
    let first = first.expect("the other version says something else");
    // What was being said when the version changed was said to its end as before.
    assert!(changed[first].0 > 30, "{:?}", changed[first]);
    let begun_before = changed[..first]
        .iter()
        .filter(|(tick, topic, _)| *tick > 22 && topic == "\"text\"");
    assert!(
        begun_before.count() > 0,
        "a text was under way: {changed:?}"
    );
    // A model that makes embeddings is no version of one that writes.
    let encoder = repository("models/encoder");
    let text = fs::read_to_string(place.path("fleet.toml")).expect("the fleet");
    place.write(
        "mixed.toml",
        text.replace("\"second\"", &format!("\"{encoder}\"")),
    );
    place
        .lockstep(&["check", "mixed.toml"])
        .with_code(2)
        .naming(&["model talk, version 2", "texts", "embeddings"]);
    for ticks in ["21", "24", "36"] {
        let run = format!("run-{ticks}");
        place.fine(&["run", "fleet.toml", "--dir", &run, "--ticks", ticks]);
        let resumed = place.fine(&["resume", &run, "--ticks", "80", "--json"]);
        assert_eq!(chain(&resumed.json()), chain(&whole.json()), "{resumed}");
    }
}

#[test]
fn every_result_tells_where_it_comes_from() {
    let place = Place::new();
    place.write("fleet.toml", changing("", 3));
    place.fine(&["run", "fleet.toml", "--dir", "run"]);
    let all = place
        .fine(&["inspect", "run", "--provenance", "--json"])
        .json();
    let results = all["results"].as_array().expect("a list");
    let versions = |result: &Value| (result["request_tick"].as_u64(), result["version"].clone());
    for result in results {
        let (asked, version) = versions(result);
        let expected: Value = match asked.expect("a tick") {
            ..8 => "1".into(),
            8..14 | 18..22 => "gated".into(),
            14..18 => Value::Null,
            22.. => "normed".into(),
        };
        assert_eq!(version, expected, "{result}");
        assert_eq!(result["error"].is_null(), !version.is_null(), "{result}");
        assert_eq!(
            result["output_digest"].is_null(),
            version.is_null(),
            "{result}"
        );
        if !version.is_null() {
            let file = match version.as_str() {
                Some("gated") => "arch_gru",
                Some("normed") => "arch_norm",
                _ => "mlp",
            };
            let bytes =
                fs::read(repository(&format!("models/testdata/{file}.onnx"))).expect("a model");
            assert_eq!(
                result["file_digest"],
                blake3::hash(&bytes).to_hex().as_str(),
                "{result}"
            );
        }
    }
    // Every version is among what verifies.
    let gru = fs::read(repository("models/testdata/arch_gru.onnx")).expect("a model");
    let object = place
        .path("run/objects")
        .join(blake3::hash(&gru).to_hex().as_str());
    let awaits = results
        .iter()
        .filter(|result| result["request"].is_null())
        .count();
    assert_eq!(awaits, 2 * 2 * 30, "two awaits of two agents in every tick");
    let of_one = place.fine(&[
        "inspect",
        "run",
        "--provenance",
        "--tick",
        "11",
        "--agent",
        "feeder-0",
    ]);
    let line = of_one.out.trim();
    assert!(
        line.starts_with("tick 11 feeder-0: request 7 of tick 8: model mlp, version gated on cpu"),
        "{line}"
    );
    place
        .lockstep(&["inspect", "run", "--provenance", "--tick", "31"])
        .with_code(2)
        .naming(&["tick 31", "30"]);
    fs::remove_file(object).expect("the object of a version");
    place
        .lockstep(&["verify", "run"])
        .with_code(1)
        .naming(&["is missing", "component or model"]);
}
