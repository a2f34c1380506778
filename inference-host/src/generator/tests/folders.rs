//! Folders of several kinds, and what is none.

use super::*;

#[test]
fn a_trained_model_with_a_prompt_of_several_pieces_writes_the_same_after_each_loss() {
    let bytes = talk();
    let load_new = || loaded(&bytes, &GENERATOR).expect("it loads");
    let Loaded {
        mut prepared,
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
    let whole = write_with(prepared.model.as_mut(), 8, &sequences);
    let pieces = ask(prepared.model.as_mut(), 1, &sequences);
    assert!(
        pieces[0]
            .as_ref()
            .is_ok_and(|piece| piece.prompt_tokens > 256),
        "{pieces:?}"
    );
    let lost = write(
        &mut |asked| ask(load_new().prepared.model.as_mut(), 8, asked),
        &sequences,
    );
    assert_eq!(lost, whole);
    for (one, whole) in sequences.iter().zip(&whole) {
        assert_eq!(
            write_with(prepared.model.as_mut(), 5, std::slice::from_ref(one))[0],
            *whole
        );
        assert!(whole.text.split_whitespace().count() > 3, "{whole:?}");
    }
}

#[test]
fn an_order_that_is_none_is_an_error_of_the_run() {
    let mut model = writer("model.onnx");
    let shape = Shape::new(&[3]).expect("one dimension");
    let view = TensorView::of_slice(DType::U8, shape, &[255; 3]).expect("bytes");
    let said = model.run(&[view], &mut []).expect_err("no order");
    assert!(said.0.contains("cannot be read"), "{said}");
}

#[test]
fn a_folder_that_is_no_language_model_says_what_is_missing() {
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
            "tokens up to 299, and the model has 200 words",
        ),
        (
            "model.onnx",
            vec![("chat_template.jinja", Some(&b"{% for %}"[..]))],
            "chat_template.jinja is broken: line 1",
        ),
        (
            "model.onnx",
            vec![("model.onnx", Some(plain.as_slice()))],
            "neither past_key_values",
        ),
        ("external.onnx", vec![], "weights.bin"),
        ("genai.onnx", vec![], "takes no past_key_values"),
    ] {
        let said = loaded(&packed(graph, &changes), &GENERATOR)
            .err()
            .expect(expected);
        assert!(
            said.contains("model `writer`") && said.contains(expected),
            "{expected}: {said}"
        );
    }
}

#[test]
fn an_encoder_gives_an_embedding_for_each_text() {
    let bytes = packed("encoder.onnx", &[]);
    let mut model = loaded(&bytes, &GENERATOR).expect("it loads").prepared.model;
    let embed = |text: &str| sequence(0, &json!({ "input": text }));
    let other = Sequence {
        agent: AgentId(1),
        ..embed("the lamp")
    };
    let both = ask(model.as_mut(), 1, &[embed("the keeper"), other]);
    let alone = ask(model.as_mut(), 1, &[embed("the keeper")]);
    assert_eq!(both[0], alone[0]);
    let piece = alone[0].as_ref().expect("an embedding");
    assert_eq!(
        (piece.embedding.len(), piece.finish),
        (16, Some(Finish::EndOfText))
    );
    assert_ne!(both[0], both[1]);
    let modules = br#"[{"type": "sentence_transformers.models.Normalize"}]"#;
    let bytes = packed("encoder.onnx", &[("modules.json", Some(modules))]);
    let mut model = loaded(&bytes, &GENERATOR).expect("it loads").prepared.model;
    let piece = ask(model.as_mut(), 1, &[embed("the keeper")])
        .remove(0)
        .expect("an embedding");
    let length: f32 = piece.embedding.iter().map(|number| number * number).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
    let said = ask(model.as_mut(), 1, &[greedy("x", 1)])
        .remove(0)
        .expect_err("it writes nothing");
    assert!(said.contains("makes embeddings"), "{said}");
}

#[test]
fn weights_beside_a_plain_model_are_found() {
    let file = |name: &str, from: &str| {
        (
            name.to_owned(),
            model_file(&format!("testdata/writer/{from}")),
        )
    };
    let packed = bundle(&[
        file("a/external.onnx", "external.onnx"),
        file("a/weights.bin", "weights.bin"),
    ]);
    let opened = shm_protocol::bundle::ModelBundle::open(&packed).expect("a pack");
    let beside = beside(&opened, "a/external.onnx");
    let wanted = Wanted {
        name: "w",
        providers: &[],
        strict_providers: false,
        beside: &beside,
        ports: limit::TENSORS,
    };
    assert!(engine().load(opened.main(), &wanted).is_ok());
    let bare = Wanted {
        beside: &[],
        ..wanted
    };
    assert!(engine().load(opened.main(), &bare).is_err());
}
