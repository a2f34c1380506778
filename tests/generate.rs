//! `lockstep generate` writes with a model from a folder, through a confined host
//! and the rings: the same text for the same seed, in the form that is asked for,
//! and a message that names file and next step where a folder is no model.

use rustix::process::{Signal, kill_process};
use std::fs;
use test_support::{Place, files, repository};

const INFERENCE_HOST: &str = "inference-host";

fn talk() -> String {
    repository("models/talk")
}

/// A copy of the tiny model's folder with one graph, and with these changes; `None` takes a file away.
fn writer(place: &Place, name: &str, graph: &str, changes: &[(&str, Option<&str>)]) -> String {
    let folder = place.path(name);
    fs::create_dir_all(&folder).expect("a folder");
    let source = repository("models/testdata/writer");
    for (path, bytes) in files(source.as_ref()) {
        let name = path.to_string_lossy().into_owned();
        if !name.ends_with(".onnx") && name != "genai_config.json" {
            fs::write(folder.join(name), bytes).expect("it is copied");
        }
    }
    fs::copy(format!("{source}/{graph}"), folder.join("model.onnx")).expect("it is copied");
    for (file, text) in changes {
        let path = folder.join(file);
        match text {
            Some(text) => fs::write(path, text).expect("it is written"),
            None => fs::remove_file(path).expect("it was there"),
        }
    }
    folder.display().to_string()
}

#[test]
fn the_same_seed_gives_the_same_text() {
    let place = Place::new();
    let write = |seed: &str| {
        let said = place.fine(&[
            "generate",
            &talk(),
            "--chat",
            "Hello, who are you?",
            "--max-tokens",
            "20",
            "--seed",
            seed,
            "--json",
        ]);
        let json = said.json();
        let text = json["text"].as_str().expect("a text").to_owned();
        assert!(
            said.out.starts_with(&text),
            "it is streamed before it is told: {said}"
        );
        assert!(
            json["tokens"]
                .as_u64()
                .is_some_and(|tokens| (1..=20).contains(&tokens)),
            "{json}"
        );
        assert!(json["prompt_tokens"].as_u64() > Some(4), "{json}");
        assert!(
            ["end", "length"].contains(&json["finish"].as_str().expect("a finish")),
            "{json}"
        );
        assert!(
            json["engine"]
                .as_str()
                .is_some_and(|engine| engine.starts_with("onnxruntime")),
            "{json}"
        );
        assert_eq!(json["provider"], "cpu");
        assert!(
            json["wall_s"].as_f64() > Some(0.0) && json["tokens_per_s"].as_f64() > Some(0.0),
            "{json}"
        );
        text
    };
    let first = write("1");
    assert!(first.split_whitespace().count() > 2, "{first}");
    assert_eq!(write("1"), first);
    assert!((2..6).any(|seed| write(&seed.to_string()) != first));
}

#[test]
fn the_most_likely_tokens_are_those_of_a_plain_loop() {
    let place = Place::new();
    let expected = fs::read(repository("models/testdata/writer/expected.json")).expect("it reads");
    let expected: serde_json::Value = serde_json::from_slice(&expected).expect("JSON");
    let external = writer(&place, "external", "external.onnx", &[]);
    let folders = [
        repository("models/testdata/writer"),
        writer(&place, "plain", "model.onnx", &[]),
        writer(&place, "merged", "merged.onnx", &[]),
        format!("{external}/model.onnx"),
    ];
    let mut texts = Vec::new();
    for folder in &folders {
        let said = place.fine(&[
            "generate",
            folder,
            "--prompt",
            expected[0]["prompt"].as_str().expect("a prompt"),
            "--temperature",
            "0",
            "--max-tokens",
            "48",
            "--json",
        ]);
        let json = said.json();
        assert_eq!(json["tokens"], 48, "{folder}");
        assert_eq!(json["finish"], "length");
        texts.push(json["text"].as_str().expect("a text").to_owned());
    }
    assert!(
        texts
            .iter()
            .all(|text| *text == texts[0] && text.len() > 40),
        "{texts:?}"
    );
}

#[test]
fn a_schema_and_stop_strings_are_kept_to() {
    let place = Place::new();
    let folder = writer(&place, "model", "model.onnx", &[]);
    let schema = r#"{"type": "array", "items": {"enum": [1, 22]}, "minItems": 2, "maxItems": 3}"#;
    fs::write(place.path("schema.json"), schema).expect("it is written");
    let said = place.fine(&[
        "generate",
        &folder,
        "--prompt",
        "the keeper",
        "--temperature",
        "1",
        "--schema",
        "schema.json",
        "--json",
    ]);
    let text = said.json()["text"].as_str().expect("a text").to_owned();
    let list: Vec<u8> = serde_json::from_str(&text).expect(&text);
    assert!(
        (2..=3).contains(&list.len()) && list.iter().all(|item| [1, 22].contains(item)),
        "{text}"
    );
    let stopped = place.fine(&[
        "generate",
        &folder,
        "--prompt",
        "the keeper",
        "--temperature",
        "1",
        "--schema",
        "schema.json",
        "--stop",
        ",",
        "--json",
    ]);
    assert_eq!(stopped.json()["finish"], "stop");
    assert!(text.starts_with(stopped.json()["text"].as_str().expect("a text")));
}

#[test]
fn what_is_wrong_is_named_with_file_and_next_step() {
    let place = Place::new();
    let refused = |folder: &str, task: [&str; 2], words: &[&str]| {
        let said = place.lockstep(&["generate", folder, task[0], task[1]]);
        said.with_code(2).naming(words);
    };
    let prompt = ["--prompt", "x"];
    refused("nowhere", prompt, &["nowhere", "cannot be read"]);
    let made =
        |name: &str, changes: &[(&str, Option<&str>)]| writer(&place, name, "model.onnx", changes);
    refused(
        &made("wordless", &[("tokenizer.json", None)]),
        prompt,
        &["wordless", "tokenizer.json", "save_pretrained"],
    );
    refused(
        &made("graphless", &[("model.onnx", None)]),
        prompt,
        &["graphless", "no .onnx file", "model.onnx"],
    );
    refused(
        &made("broken", &[("chat_template.jinja", Some("{% if %}"))]),
        prompt,
        &["chat_template.jinja", "line 1"],
    );
    let loops = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
    refused(
        &made("loops", &[("chat_template.jinja", Some(loops))]),
        ["--chat", "x"],
        &["does not end within"],
    );
    let mute = [("tokenizer_config.json", Some("{}"))];
    refused(
        &made("mute", &mute),
        ["--chat", "x"],
        &["no chat template", "prompt instead of messages"],
    );
    let few = r#"{"max_position_embeddings": 9, "vocab_size": 300}"#;
    let short = made("short", &[("config.json", Some(few))]);
    refused(
        &short,
        ["--prompt", "xxxxxxxxxxxx"],
        &["12 tokens", "has 9"],
    );
    refused(
        &made("garbage", &[("model.onnx", Some("no graph"))]),
        prompt,
        &["garbage", "complete ONNX model"],
    );
    refused("builtin:nothing", prompt, &["builtin:nothing"]);
    place
        .lockstep(&["generate", &talk()])
        .with_code(2)
        .naming(&["--prompt"]);
    place
        .lockstep(&["generate", &talk(), "--prompt", "x", "--temperature", "-3"])
        .with_code(2)
        .naming(&["temperature"]);
}

/// A text that takes long: its form has no end.
fn endless(place: &Place) -> test_support::Running {
    fs::write(
        place.path("long.json"),
        r#"{"type": "string", "minLength": 5000}"#,
    )
    .expect("it is written");
    let arguments = [
        "generate",
        &talk(),
        "--prompt",
        "x",
        "--schema",
        "long.json",
        "--max-tokens",
        "1000",
        "--json",
    ];
    let running = place.start(place.command(&arguments));
    running.wait_until("text flows", || running.words().len() > 8);
    running
}

#[test]
fn a_signal_ends_the_text_cleanly() {
    let place = Place::new();
    let running = endless(&place);
    running.signal(Signal::INT);
    let said = running.end().with_code(0);
    let json = said.json();
    assert_eq!(json["finish"], "stopped", "{said}");
    assert!(
        json["tokens"]
            .as_u64()
            .is_some_and(|tokens| (1..1000).contains(&tokens)),
        "{json}"
    );
}

#[test]
fn a_host_that_is_lost_is_named_with_its_model() {
    let place = Place::new();
    let running = endless(&place);
    kill_process(running.child(INFERENCE_HOST), Signal::KILL).expect("it is there");
    running
        .end()
        .with_code(5)
        .naming(&["models/talk", "inference host", "failed"]);
}

#[test]
fn weights_beside_a_model_that_is_run_once_are_found() {
    let place = Place::new();
    let external = repository("models/testdata/writer/external.onnx");
    let said = place.fine(&["infer", &external, "--json"]);
    assert_eq!(said.json()["outputs"][0]["name"], "logits");
    fs::copy(&external, place.path("alone.onnx")).expect("it is copied");
    place
        .lockstep(&["infer", "alone.onnx"])
        .with_code(2)
        .naming(&["alone.onnx", "weights.bin"]);
}

#[test]
fn a_foreign_tokenizer_and_an_endless_template_are_refused() {
    let place = Place::new();
    let copied = |name: &str| {
        let copy = place.path(name);
        fs::create_dir(&copy).expect("a folder");
        for file in fs::read_dir(repository("models/talk")).expect("the model") {
            let file = file.expect("a file").path();
            fs::copy(&file, copy.join(file.file_name().expect("a name"))).expect("it is copied");
        }
        copy
    };
    let strange = copied("strange").join("tokenizer.json");
    fs::copy(repository("models/encoder/tokenizer.json"), strange).expect("it is copied");
    place
        .lockstep(&["generate", "strange", "--prompt", "hi"])
        .with_code(2)
        .naming(&["strange", "<|bos|>", "tokenizer.json"]);
    let settings = copied("doubling").join("tokenizer_config.json");
    let text = fs::read_to_string(&settings).expect("JSON");
    let mut settings_json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    settings_json["chat_template"] =
        "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(60) %}\
        {% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}"
            .into();
    fs::write(settings, settings_json.to_string()).expect("it is written");
    let said = place.lockstep(&["generate", "doubling", "--chat", "hi"]);
    said.naming(&["memory allocation", "chat template was rendered"]);
    place
        .lockstep(&[
            "generate",
            "strange",
            "--prompt",
            "hi",
            "--temperature",
            "nan",
        ])
        .with_code(2)
        .naming(&["--temperature", "finite"]);
}
