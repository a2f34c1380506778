//! The promise: a batch that goes through the rings comes back with the very
//! bits of a direct run of the model, in order, wherever its bytes lay; and
//! whatever is wrong with a batch is answered by one failure that names it, after
//! which the next batch is served.

mod common;

use common::{SIZES, floats, integers, load, onnx, run_alone, serving, serving_bytes};
use shm_protocol::link::LinkSizes;
use shm_protocol::tensor::{DType, Shape, Tensor};

fn sine(n: usize) -> f32 {
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let n = n as f32;
    (n * 0.37).sin() * 1.5
}

#[test]
fn outputs_have_the_bits_of_a_direct_run() {
    let mut direct = load("testdata/mlp.onnx");
    serving(SIZES, &["policy.onnx", "testdata/mlp.onnx"], |served| {
        for rows in [1, 2, 32, 100, 255] {
            let input = floats(&[rows, 64], |n| sine(n + 7));
            let batch = served.send(1, std::slice::from_ref(&input));
            assert_eq!(
                served.answer(batch, 1),
                Ok(run_alone(direct.as_mut(), &[input]))
            );
        }
    });
}

#[test]
fn many_batches_wait_in_the_ring_and_are_answered_in_order() {
    let mut direct = load("policy.onnx");
    let sizes = LinkSizes {
        down_bytes: 64 << 10,
        up_bytes: 64 << 10,
    };
    serving(sizes, &["policy.onnx"], |served| {
        let inputs: Vec<Tensor> = (0..2000_usize)
            .map(|n| floats(&[1 + n as u64 % 7, 4], |m| sine(m + n)))
            .collect();
        for group in inputs.chunks(50) {
            let batches: Vec<_> = group
                .iter()
                .map(|input| served.send(0, std::slice::from_ref(input)))
                .collect();
            for (batch, input) in batches.into_iter().zip(group) {
                assert_eq!(
                    served.answer(batch, 1),
                    Ok(run_alone(direct.as_mut(), std::slice::from_ref(input)))
                );
            }
        }
    });
}

#[test]
fn several_inputs_and_outputs_keep_their_places() {
    let mut direct = load("testdata/two_inputs.onnx");
    serving(SIZES, &["testdata/two_inputs.onnx"], |served| {
        for rows in [1, 5, 64] {
            let inputs = [
                floats(&[rows, 3], sine),
                integers(&[rows, 3], |n| n as i64 % 3 - 1),
            ];
            let batch = served.send(0, &inputs);
            let answer = served.answer(batch, 2).expect("it runs");
            assert_eq!(answer, run_alone(direct.as_mut(), &inputs));
            assert_eq!((answer[0].dtype, answer[1].dtype), (DType::F32, DType::I64));
            assert_eq!(answer[1].shape.dims(), [rows, 1]);
        }
    });
}

#[test]
fn an_output_shape_known_only_after_the_run_is_kept() {
    serving(SIZES, &["testdata/dynamic_output.onnx"], |served| {
        for (values, found) in [([0.0, 1.0, 0.0, 2.0], 2), ([0.0; 4], 0), ([1.0; 4], 4)] {
            let batch = served.send(0, &[floats(&[4], |n| values[n])]);
            let answer = served.answer(batch, 1).expect("it runs");
            assert_eq!(answer[0].shape.dims(), [1, found]);
            assert_eq!(answer[0].data.len() as u64, 8 * found);
        }
    });
}

#[test]
fn no_rows_give_no_rows() {
    serving(SIZES, &["testdata/mlp.onnx"], |served| {
        let batch = served.send(0, &[floats(&[0, 64], sine)]);
        let answer = served.answer(batch, 1).expect("it runs");
        assert_eq!(
            (answer[0].shape.dims(), answer[0].data.len()),
            (&[0, 16][..], 0)
        );
    });
}

#[test]
fn what_does_not_fit_the_model_is_refused_with_both_shapes() {
    let policy = "policy.onnx";
    serving(SIZES, &[policy], |served| {
        for (inputs, got) in [
            (vec![floats(&[2, 5], sine)], "not f32[2,5]"),
            (vec![floats(&[8], sine)], "not f32[8]"),
            (vec![integers(&[2, 4], |_| 1)], "not i64[2,4]"),
            (vec![], "takes 1 inputs, not 0"),
            (
                vec![floats(&[1, 4], sine), floats(&[1, 4], sine)],
                "takes 1 inputs, not 2",
            ),
        ] {
            let batch = served.send(0, &inputs);
            let message = served.answer(batch, 1).expect_err("it does not fit");
            assert!(
                message.contains("model `policy.onnx`") && message.contains(got),
                "{message}"
            );
        }
        let batch = served.send(9, &[floats(&[1, 4], sine)]);
        assert_eq!(
            served.answer(batch, 1),
            Err("model 9 is not loaded".to_owned())
        );
        let batch = served.send(0, &[floats(&[1, 4], sine)]);
        assert!(served.answer(batch, 1).is_ok(), "the next batch is served");
    });
}

#[test]
fn what_the_engine_refuses_is_told_in_its_words() {
    serving(SIZES, &["testdata/two_inputs.onnx"], |served| {
        let inputs = [floats(&[2, 3], sine), integers(&[3, 3], |_| 1)];
        let batch = served.send(0, &inputs);
        let message = served
            .answer(batch, 2)
            .expect_err("two rows and three do not add up");
        assert!(message.contains('2') && message.contains('3'), "{message}");
        let batch = served.send(0, &[floats(&[3, 3], sine), integers(&[3, 3], |_| 1)]);
        assert!(served.answer(batch, 2).is_ok(), "the next batch is served");
    });
}

#[test]
fn a_batch_larger_than_the_ring_is_read_in_parts() {
    // Six inputs of 16 000 bytes each pass a ring of 65 536.
    let sum = onnx::model(
        "Sum",
        &["a", "b", "c", "d", "e", "f"],
        &["y"],
        &[Err("rows"), Ok(4)],
    );
    let mut direct = common::load_bytes(&sum);
    let sizes = LinkSizes {
        down_bytes: 64 << 10,
        up_bytes: 64 << 10,
    };
    serving_bytes(sizes, &[("sum", sum)], |served| {
        for turn in 0..5 {
            let large: Vec<Tensor> = (0..6)
                .map(|input| floats(&[1000, 4], |n| sine(n + input + turn)))
                .collect();
            let batch = served.send(0, &large);
            assert_eq!(
                served.answer(batch, 1),
                Ok(run_alone(direct.as_mut(), &large))
            );
            let small: Vec<Tensor> = (0..6)
                .map(|input| floats(&[3, 4], |n| sine(n + input + turn)))
                .collect();
            let batch = served.send(0, &small);
            assert_eq!(
                served.answer(batch, 1),
                Ok(run_alone(direct.as_mut(), &small))
            );
        }
    });
}

#[test]
fn a_nameless_dimension_is_foretold_and_checked() {
    // The first output dimension has no name, so it is taken for the batch.
    let identity = onnx::model("Abs", &["x"], &["y"], &[Err(""), Ok(2)]);
    let mut direct = common::load_bytes(&identity);
    let input = floats(&[5, 2], sine);
    assert_eq!(direct.predict_shape(0, &[input.shape]), Some(input.shape));
    serving_bytes(SIZES, &[("abs", identity)], |served| {
        let batch = served.send(0, std::slice::from_ref(&input));
        assert_eq!(
            served.answer(batch, 1),
            Ok(run_alone(direct.as_mut(), &[input]))
        );
    });
}

#[test]
fn an_output_that_is_the_input_itself_is_a_copy_of_it() {
    let identity = onnx::model("Identity", &["x"], &["y"], &[Err("n"), Ok(2)]);
    serving_bytes(SIZES, &[("identity", identity)], |served| {
        for rows in [1, 3, 500] {
            let input = floats(&[rows, 2], sine);
            let batch = served.send(0, std::slice::from_ref(&input));
            assert_eq!(served.answer(batch, 1), Ok(vec![input]));
        }
    });
}

#[test]
fn an_output_that_can_never_fit_is_refused_with_both_sizes() {
    let sizes = LinkSizes {
        down_bytes: 1 << 20,
        up_bytes: 64 << 10,
    };
    serving(
        sizes,
        &["testdata/mlp.onnx", "testdata/two_inputs.onnx"],
        |served| {
            let batch = served.send(0, &[floats(&[300, 64], sine)]);
            let message = served
                .answer(batch, 1)
                .expect_err("19 200 bytes are over 16 384");
            assert!(
                message.contains("f32[300,16]")
                    && message.contains("19200")
                    && message.contains("16384"),
                "{message}"
            );
            let batch = served.send(0, &[floats(&[200, 64], sine)]);
            assert!(served.answer(batch, 1).is_ok(), "the next batch is served");
            // The second output is the one that does not fit; nothing of the first may have been published.
            let batch = served.send(1, &[floats(&[2500, 3], sine), integers(&[2500, 3], |_| 1)]);
            served
                .answer(batch, 2)
                .expect_err("30 000 bytes are over 16 384");
        },
    );
}

#[test]
fn answers_that_fill_the_ring_wait_for_the_supervisor() {
    let mut direct = load("testdata/mlp.onnx");
    let sizes = LinkSizes {
        down_bytes: 8 << 20,
        up_bytes: 64 << 10,
    };
    serving(sizes, &["testdata/mlp.onnx"], |served| {
        let inputs: Vec<Tensor> = (0..40)
            .map(|n| floats(&[200, 64], |m| sine(m + n)))
            .collect();
        let batches: Vec<_> = inputs
            .iter()
            .map(|input| served.send(0, std::slice::from_ref(input)))
            .collect();
        for (batch, input) in batches.into_iter().zip(inputs) {
            assert_eq!(
                served.answer(batch, 1),
                Ok(run_alone(direct.as_mut(), &[input]))
            );
        }
    });
}

#[test]
fn a_tensor_of_no_dimensions_is_no_row() {
    serving(SIZES, &["policy.onnx"], |served| {
        let scalar = Tensor {
            dtype: DType::F32,
            shape: Shape::default(),
            data: vec![0; 4],
        };
        let batch = served.send(0, &[scalar]);
        let message = served
            .answer(batch, 1)
            .expect_err("a scalar is no observation");
        assert!(message.contains("not f32[]"), "{message}");
    });
}
