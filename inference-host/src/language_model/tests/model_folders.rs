//! Folders of several kinds, and invalid ones.

use super::*;

#[test]
fn a_prompt_of_several_chunks_gives_the_same_after_each_restart() {
    let bytes = talk_bundle();
    let load_new = || loaded(&bytes, &GENERATOR).expect("it loads");
    let LoadedLanguageModel {
        loaded: mut prepared,
        batching,
        ..
    } = load_new();
    assert_eq!(batching, Batching::Joined);
    let long = "The keeper looks at the sea and the ship comes in. ".repeat(40);
    let chat =
        |text: &str| json!({ "messages": [{ "role": "user", "content": text }], "max_tokens": 24 });
    let sequences = [
        sequence(0, &chat(&long)),
        sequence(1, &chat("Hello, who are you?")),
        sequence(2, &chat("Hello.")),
    ];
    let expected = generate(prepared.model.as_mut(), 8, &sequences);
    let deltas = ask(prepared.model.as_mut(), 1, &sequences);
    assert!(
        deltas[0]
            .as_ref()
            .is_ok_and(|delta| delta.prompt_tokens > 256),
        "{deltas:?}"
    );
    let restarted = generate_by(
        &mut |asked| ask(load_new().loaded.model.as_mut(), 8, asked),
        &sequences,
    );
    assert_eq!(restarted, expected);
    for (one, expected) in sequences.iter().zip(&expected) {
        assert_eq!(
            generate(prepared.model.as_mut(), 5, std::slice::from_ref(one))[0],
            *expected
        );
        assert!(expected.text.split_whitespace().count() > 3, "{expected:?}");
    }
}

#[test]
fn an_invalid_decode_request_is_an_error_of_the_run() {
    let mut model = decoder("model.onnx");
    let shape = Shape::new(&[3]).expect("one dimension");
    let view = TensorView::of_slice(DType::U8, shape, &[255; 3]).expect("bytes");
    let message = model.run(&[view], &mut []).expect_err("no order");
    assert!(message.0.contains("cannot be decoded"), "{message}");
}

#[test]
fn an_invalid_folder_is_refused_with_what_is_missing() {
    let plain = model_file("testdata/mlp.onnx");
    for (graph, changes, expected) in [
        (
            "model.onnx",
            vec![("tokenizer.json", None)],
            "has no tokenizer.json",
        ),
        (
            "model.onnx",
            vec![("config.json", None)],
            "max_position_embeddings",
        ),
        (
            "model.onnx",
            vec![("config.json", Some(&b"{"[..]))],
            "config.json is not JSON",
        ),
        (
            "model.onnx",
            vec![("config.json", Some(&b"{\"vocab_size\": 200}"[..]))],
            "tokens up to 299, and the vocabulary of the model has 200",
        ),
        (
            "model.onnx",
            vec![("chat_template.jinja", Some(&b"{% for %}"[..]))],
            "chat_template.jinja is invalid: line 1",
        ),
        (
            "model.onnx",
            vec![("model.onnx", Some(plain.as_slice()))],
            "neither a decoder",
        ),
        ("external.onnx", vec![], "weights.bin"),
        ("genai.onnx", vec![], "no input past_key_values"),
    ] {
        let message = loaded(&bundle_with(graph, &changes), &GENERATOR)
            .err()
            .expect(expected);
        assert!(
            message.contains("model `writer`") && message.contains(expected),
            "{expected}: {message}"
        );
    }
}

#[test]
fn an_encoder_makes_an_embedding_of_each_text() {
    let bytes = bundle_with("encoder.onnx", &[]);
    let mut model = loaded(&bytes, &GENERATOR).expect("it loads").loaded.model;
    let embed = |text: &str| sequence(0, &json!({ "input": text }));
    let other = Sequence {
        agent: AgentId(1),
        ..embed("the lamp")
    };
    let both = ask(model.as_mut(), 1, &[embed("the keeper"), other]);
    let alone = ask(model.as_mut(), 1, &[embed("the keeper")]);
    assert_eq!(both[0], alone[0]);
    let delta = alone[0].as_ref().expect("an embedding");
    assert_eq!(
        (delta.embedding.len(), delta.finish),
        (16, Some(Finish::EndOfText))
    );
    assert_ne!(both[0], both[1]);
    let modules = br#"[{"type": "sentence_transformers.models.Normalize"}]"#;
    let bytes = bundle_with("encoder.onnx", &[("modules.json", Some(modules))]);
    let mut model = loaded(&bytes, &GENERATOR).expect("it loads").loaded.model;
    let delta = ask(model.as_mut(), 1, &[embed("the keeper")])
        .remove(0)
        .expect("an embedding");
    let length: f32 = delta.embedding.iter().map(|number| number * number).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
    let message = ask(model.as_mut(), 1, &[greedy("x", 1)])
        .remove(0)
        .expect_err("it writes nothing");
    assert!(message.contains("makes embeddings"), "{message}");
}

#[test]
fn external_data_of_a_plain_model_is_found() {
    let file = |name: &str, from: &str| {
        (
            name.to_owned(),
            model_file(&format!("testdata/writer/{from}")),
        )
    };
    let bundled = bundle(&[
        file("a/external.onnx", "external.onnx"),
        file("a/weights.bin", "weights.bin"),
    ]);
    let opened = shm_protocol::bundle::ModelBundle::open(&bundled).expect("a bundle");
    let external_data = external_data_files(&opened, "a/external.onnx");
    let options = LoadOptions {
        name: "w",
        providers: &[],
        strict_providers: false,
        external_data: &external_data,
        max_ports: limit::TENSORS,
    };
    assert!(engine().load(opened.main(), &options).is_ok());
    let bare = LoadOptions {
        external_data: &[],
        ..options
    };
    assert!(engine().load(opened.main(), &bare).is_err());
}
