//! One model is run on arrays from files, by a confined host and through the
//! rings, and gives what the same model gives in a fleet. What does not fit is
//! named with both sides, before anything is written.

use std::fs;
use test_support::{Place, repository};

/// An array as `numpy.save` writes it.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let length = u16::try_from(header.len()).expect("a short header");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(length.to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

fn floats(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn longs(values: &[i64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A file of the model that adds rows and counts.
fn two_inputs() -> String {
    repository("models/testdata/two_inputs.onnx")
}

fn place_with_inputs() -> Place {
    let place = Place::new();
    let floats = npy("<f4", "(2, 3)", &floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let longs = npy("<i8", "(2, 3)", &longs(&[1, 1, 1, 2, 2, 2]));
    fs::write(place.path("a.npy"), floats).expect("a file");
    fs::write(place.path("b.npy"), longs).expect("a file");
    place
}

#[test]
fn outputs_are_files_that_json_lists() {
    let place = place_with_inputs();
    let said = place.fine(&[
        "infer",
        &two_inputs(),
        "--input",
        "a=a.npy",
        "--input",
        "b=b.npy",
        "--out",
        "out",
        "--json",
    ]);
    let json = said.json();
    assert_eq!(json["engine"], "onnxruntime 1.31.1", "{said}");
    assert_eq!(json["provider"], "cpu", "{said}");
    assert!(
        json["wall_s"].as_f64().is_some_and(|wall| wall > 0.0),
        "{said}"
    );
    let outputs = json["outputs"].as_array().expect("a list");
    assert_eq!(
        (
            &outputs[0]["name"],
            &outputs[0]["dtype"],
            &outputs[0]["shape"]
        ),
        (&"sum".into(), &"f32".into(), &serde_json::json!([2, 3])),
        "{said}"
    );
    assert_eq!(outputs[1]["shape"], serde_json::json!([2, 1]), "{said}");
    for output in outputs {
        let file = place.path(output["file"].as_str().expect("a path"));
        let bytes = fs::read(&file).expect("a file");
        assert!(bytes.starts_with(b"\x93NUMPY"), "{}", file.display());
    }
    let sum = fs::read(place.path("out/sum.npy")).expect("an output");
    // What is added is in the model; the second row has other inputs than the first.
    assert_eq!(sum.len() % 64, 24);
    assert_ne!(sum[sum.len() - 24..sum.len() - 12], sum[sum.len() - 12..]);
    // Without a folder, the numbers are said.
    let said = place.fine(&[
        "infer",
        &two_inputs(),
        "--input",
        "a=a.npy",
        "--input",
        "b=b.npy",
    ]);
    assert!(said.out.contains("output      sum f32[2,3]: "), "{said}");
}

#[test]
fn the_same_bits_as_in_a_fleet() {
    let place = Place::new();
    let model = repository("models/testdata/mlp.onnx");
    let values: Vec<f32> = (0_u8..64)
        .map(|number| f32::from(number) / 32.0 - 1.0)
        .collect();
    let data = floats(&values);
    fs::write(place.path("x.npy"), npy("<f4", "(1, 64)", &data)).expect("a file");
    place.fine(&["infer", &model, "--input", "x=x.npy", "--out", "out"]);
    let alone = fs::read(place.path("out/y.npy")).expect("an output");
    let settings = format!(
        "model = \"mlp\", \"input x\" = \"float32[1,64] {}\"",
        base64(&data)
    );
    place.write(
        "fleet.toml",
        test_support::fleet(
            "ticks = 2",
            &[
                test_support::agent("asker", "asker", &format!("settings = {{ {settings} }}")),
                test_support::model("mlp", "mlp", ""),
            ],
        ),
    );
    place.fine(&["run", "fleet.toml", "--dir", "run"]);
    let outbox = fs::read_to_string(place.path("run/outbox.jsonl")).expect("an outbox");
    let line: serde_json::Value =
        serde_json::from_str(outbox.lines().next().expect("a line")).expect("JSON");
    assert_eq!(line["topic"], "output y float32[1,16]");
    assert_eq!(line["base64"], base64(&alone[alone.len() - 64..]));
    place.replays("run");
}

/// Base64 with padding, for settings.
fn base64(data: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    data.chunks(3)
        .flat_map(|three| {
            let word = three
                .iter()
                .fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
            let word = word << (8 * (3 - three.len()));
            (0..4).map(move |position| {
                if position > three.len() {
                    '='
                } else {
                    char::from(LETTERS[(word >> (18 - 6 * position)) as usize & 63])
                }
            })
        })
        .collect()
}

#[test]
fn without_inputs_the_ports_are_shown() {
    let place = Place::new();
    let said = place.fine(&["infer", &two_inputs(), "--json"]);
    assert!(
        said.out.contains("input       b i64[?,3]")
            && said.out.contains("output      sum f32[?,3]"),
        "{said}"
    );
    assert_eq!(
        said.json()["inputs"][1]["shape"],
        serde_json::json!([null, 3])
    );
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let place = place_with_inputs();
    let model = two_inputs();
    fs::write(
        place.path("wide.npy"),
        npy("<f4", "(2, 4)", &floats(&[0.0; 8])),
    )
    .expect("a file");
    fs::write(place.path("text.npy"), npy("<U4", "(1,)", &[0; 16])).expect("a file");
    fs::write(place.path("cut.npy"), npy("<f4", "(2, 3)", &[0; 23])).expect("a file");
    let refused = |inputs: &[&str], words: &[&str]| {
        let mut arguments = vec!["infer", &model, "--out", "out"];
        inputs
            .iter()
            .for_each(|input| arguments.extend(["--input", input]));
        place.lockstep(&arguments).with_code(2).naming(words);
    };
    refused(&["a=a.npy"], &["input b of model", "b i64[?,3]"]);
    refused(
        &["a=a.npy", "b=b.npy", "c=a.npy"],
        &["no input c", "a f32[?,3]"],
    );
    refused(&["a=b.npy", "b=b.npy"], &["a f32[?,3]", "i64[2, 3]"]);
    refused(&["a=wide.npy", "b=b.npy"], &["a f32[?,3]", "f32[2, 4]"]);
    refused(&["a=none.npy"], &["input a", "none.npy"]);
    refused(&["a=text.npy"], &["text.npy", "`<U4`"]);
    refused(&["a=cut.npy"], &["cut.npy", "23 bytes", "24"]);
    refused(&["a=a.npy", "a=b.npy"], &["input a", "twice"]);
    refused(&["a"], &["NAME=FILE.npy"]);
    // Rows that differ in number are for the engine to refuse.
    fs::write(
        place.path("one.npy"),
        npy("<i8", "(4, 3)", &longs(&[0; 12])),
    )
    .expect("a file");
    refused(&["a=a.npy", "b=one.npy"], &["did not run"]);
    let folder = place.path("out");
    assert_eq!(
        fs::read_dir(folder).map_or(0, Iterator::count),
        0,
        "nothing was written"
    );
    for (model, words) in [
        ("nowhere.onnx", &["nowhere.onnx", "No such file"][..]),
        (
            &*repository("models/testdata/corrupt.onnx"),
            &["corrupt.onnx", "cannot be loaded"],
        ),
    ] {
        place.lockstep(&["infer", model]).with_code(2).naming(words);
    }
    place
        .lockstep(&["infer", &model, "--provider", "cuda"])
        .with_code(3)
        .naming(&["cuda"]);
    place
        .lockstep(&["infer", &model, "--provider", "abacus"])
        .with_code(2)
        .naming(&["`abacus`", "cpu"]);
}

#[test]
fn an_output_over_the_limit_is_refused_with_the_limit() {
    let place = Place::new();
    let model = repository("models/testdata/mlp.onnx");
    // 20,000 rows of 64 make 5 MB.
    fs::write(
        place.path("x.npy"),
        npy("<f4", "(20000, 64)", &vec![0; 20_000 * 256]),
    )
    .expect("a file");
    place
        .lockstep(&["infer", &model, "--input", "x=x.npy", "--tensor-mib", "1"])
        .with_code(2)
        .naming(&["mlp.onnx"]);
    place.fine(&["infer", &model, "--input", "x=x.npy", "--tensor-mib", "8"]);
}

#[test]
fn what_is_no_file_is_no_array() {
    let place = Place::new();
    let model = repository("models/testdata/mlp.onnx");
    for strange in ["x=/dev/zero", "x=."] {
        place
            .lockstep(&["infer", &model, "--input", strange])
            .with_code(2)
            .naming(&["input x", "not a regular file"]);
    }
}
