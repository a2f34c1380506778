//! The promise: a model is either loaded, with its signature, its execution provider and the reason of every refused
//! one; or refused with a message that names it and says who is to blame. Nothing crashes.

mod common;

use common::{engine, floats, load, model_file, try_load};
use inference_host::TensorViewMut;
use inference_host::backend::{InferenceBackend, LoadOptions, OutputLocation};
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::tensor::{DType, Port, Shape};

fn refused(file: &str, providers: &[&str], strict: bool) -> (Blame, String) {
    match try_load(file, providers, strict) {
        Ok(loaded) => panic!("{file} was loaded on {}", loaded.provider),
        Err(refused) => (refused.blame, refused.message),
    }
}

fn port(name: &str, dtype: DType, dims: &[Option<u64>]) -> Port {
    Port {
        name: name.to_owned(),
        dtype,
        dims: dims.to_vec(),
    }
}

#[test]
fn the_engine_tells_its_version_and_digest() {
    let ready = engine().engine();
    assert_eq!(ready.engine, "onnxruntime 1.31.1");
    let digest = inference_host::embedded_library().blake3;
    assert_eq!(
        ready
            .library_digest
            .map(|byte| format!("{byte:02x}"))
            .concat(),
        digest
    );
}

#[test]
fn signatures_are_those_of_the_files() {
    let policy = load("policy.onnx");
    assert_eq!(
        policy.signature().inputs,
        [port("observation", DType::F32, &[None, Some(4)])]
    );
    assert_eq!(
        policy.signature().outputs,
        [port("action", DType::F32, &[None, Some(1)])]
    );
    let two = load("testdata/two_inputs.onnx");
    assert_eq!(
        two.signature().inputs,
        [
            port("a", DType::F32, &[None, Some(3)]),
            port("b", DType::I64, &[None, Some(3)])
        ]
    );
    assert_eq!(
        two.signature().outputs,
        [
            port("sum", DType::F32, &[None, Some(3)]),
            port("count", DType::I64, &[None, Some(1)])
        ]
    );
    assert_eq!(
        load("testdata/fixed_batch.onnx").signature().inputs,
        [port("x", DType::F32, &[Some(1), Some(4)])]
    );
    assert_eq!(
        load("testdata/dynamic_output.onnx").signature().outputs,
        [port("y", DType::I64, &[Some(1), None])]
    );
}

#[test]
fn broken_files_are_refused_by_name() {
    for file in ["testdata/corrupt.onnx", "testdata/garbage.onnx"] {
        let (blame, message) = refused(file, &[], false);
        assert_eq!(blame, Blame::Input, "{message}");
        assert!(
            message.contains("model `tested` cannot be loaded"),
            "{message}"
        );
    }
}

#[test]
fn empty_and_cut_files_are_refused() {
    let whole = model_file("policy.onnx");
    for length in (0..whole.len()).step_by(97) {
        let options = LoadOptions {
            name: "cut",
            providers: &[],
            strict_providers: false,
            external_data: &[],
            max_ports: shm_protocol::limit::TENSORS,
        };
        let result = engine().load(&whole[..length], &options);
        assert!(
            result.is_err(),
            "{length} of {} bytes were loaded",
            whole.len()
        );
    }
}

#[test]
fn flipped_bytes_never_crash() {
    let whole = model_file("policy.onnx");
    for at in (0..whole.len()).step_by(31) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x55;
        // Many such files are valid models with other weights; what counts is that this process is still there.
        let _ = engine().load(
            &flipped,
            &LoadOptions {
                name: "flipped",
                providers: &[],
                strict_providers: false,
                external_data: &[],
                max_ports: shm_protocol::limit::TENSORS,
            },
        );
    }
}

#[test]
fn the_cpu_runs_a_model_without_a_list() {
    for providers in [&[][..], &["cpu"]] {
        for strict in [false, true] {
            let loaded = try_load("policy.onnx", providers, strict)
                .unwrap_or_else(|refused| panic!("{}", refused.message));
            assert_eq!(loaded.provider, "cpu");
            assert_eq!(loaded.refused, []);
        }
    }
}

#[test]
fn an_unknown_provider_is_named_with_the_valid_ones() {
    let (blame, message) = refused("policy.onnx", &["cpu", "gpu"], false);
    assert_eq!(blame, Blame::Input);
    assert!(
        message.contains("`gpu`") && message.contains("cpu, cuda, tensorrt, migraphx"),
        "{message}"
    );
}

// The embedded library has no other provider than the CPU, wherever these run.

#[test]
fn a_fallback_is_recorded_with_each_reason() {
    let loaded = try_load("policy.onnx", &["tensorrt", "cuda", "cpu"], false)
        .unwrap_or_else(|refused| panic!("{}", refused.message));
    assert_eq!(loaded.provider, "cpu");
    let names: Vec<&str> = loaded
        .refused
        .iter()
        .map(|refused| refused.provider.as_str())
        .collect();
    assert_eq!(names, ["tensorrt", "cuda"]);
    for refused in &loaded.refused {
        let (name, reason) = (&refused.provider, &refused.detail);
        assert!(
            reason.contains("not enabled in this build"),
            "{name}: {reason}"
        );
    }
}

#[test]
fn without_the_cpu_in_the_list_there_is_no_fallback() {
    let (blame, message) = refused("policy.onnx", &["cuda"], false);
    assert_eq!(blame, Blame::Demand);
    assert!(
        message.contains("cuda: ") && message.contains("not enabled in this build"),
        "{message}"
    );
}

#[test]
fn a_strict_demand_takes_only_the_first() {
    let (blame, message) = refused("policy.onnx", &["cuda", "cpu"], true);
    assert_eq!(blame, Blame::Demand);
    assert!(message.contains("allows only the first"), "{message}");
}

#[test]
fn a_broken_file_is_not_blamed_on_the_provider() {
    let (blame, message) = refused("testdata/garbage.onnx", &["cuda", "cpu"], false);
    assert_eq!(blame, Blame::Input, "{message}");
}

#[test]
fn output_memory_of_another_shape_is_not_written() {
    let mut model = load("testdata/mlp.onnx");
    let input = floats(&[3, 64], |n| if n % 2 == 0 { 0.5 } else { -0.25 });
    let view = inference_host::TensorView::of_slice(input.dtype, input.shape, &input.data)
        .expect("a whole tensor");
    assert_eq!(
        model.predict_shape(0, &[input.shape]),
        Some(Shape::new(&[3, 16]).expect("a shape"))
    );
    for rows in [1_u64, 2, 4] {
        let shape = Shape::new(&[rows, 16]).expect("a shape");
        // The output memory is the middle of a larger buffer, whose rest must stay as it is.
        let bytes = shape.bytes(DType::F32).expect("few elements");
        let mut buffer = vec![0xAB; bytes + 512];
        let output = TensorViewMut::of_slice(DType::F32, shape, &mut buffer[256..256 + bytes])
            .expect("it fits");
        let location = model
            .run(&[view], &mut [Some(output)])
            .expect("the model runs");
        assert_eq!(location, OutputLocation::Engine);
        assert!(
            buffer[..256]
                .iter()
                .chain(&buffer[256 + bytes..])
                .all(|byte| *byte == 0xAB)
        );
        assert_eq!(model.output(0).expect("the result").shape().dims(), [3, 16]);
    }
    assert_eq!(
        model.predict_shape(0, &[input.shape]),
        None,
        "a rule that failed is not used again"
    );
}
