//! Self-test of an execution provider: a built-in graph runs on it alone, the numbers are checked, and the provider of
//! its node is read back. A library with a provider may still find no device, or a device with a driver that does not
//! fit.

use super::execution_provider::{engine_name, format_placement, register};
use crate::floats::floats;
use crate::sys::session::RawSession;
use crate::sys::tensor::TensorView;
use ort::session::builder::SessionBuilder;
use shm_protocol::provider::Provider;
use shm_protocol::tensor::{DType, Shape};

/// `y = x w`, `x` f32[2,4] and `y` f32[2,3]; the constant `w` holds the numbers 1 to 12 row by row. Small whole numbers
/// come out exactly in every precision that a provider may take.
const GRAPH: &[u8] = include_bytes!("../../../models/self_test.onnx");

const INPUT: [f32; 8] = [1.0, 0.0, 2.0, -1.0, 0.0, 3.0, -2.0, 1.0];

/// Tests a provider in a session with these options.
///
/// # Errors
/// The reason why it cannot be used, with the engine's message if there is one.
pub(super) fn run_self_test(
    builder: ort::Result<SessionBuilder>,
    provider: Provider,
) -> Result<(), String> {
    let message = |error: ort::Error| error.to_string();
    let mut builder = builder.map_err(message)?;
    register(provider, &mut builder).map_err(message)?;
    if provider != Provider::Cpu {
        builder = builder
            .with_disable_cpu_fallback()
            .map_err(|error| error.to_string())?;
    }
    let session = builder.commit_from_memory(GRAPH).map_err(message)?;
    let mut session = RawSession::new(session).map_err(message)?;
    let placement = session.placement().map_err(message)?;
    if !placement.contains_key(engine_name(provider)) {
        return Err(format!(
            "the self-test ran on {} instead",
            format_placement(&placement)
        ));
    }
    let input: Vec<u8> = INPUT.iter().flat_map(|value| value.to_le_bytes()).collect();
    let shape = Shape::new(&[2, 4]).map_err(|error| error.to_string())?;
    let view =
        TensorView::of_slice(DType::F32, shape, &input).map_err(|error| error.to_string())?;
    session.run(&[view], &mut []).map_err(message)?;
    let output = session.output(0).map_err(message)?;
    let (mut bytes, expected) = (Vec::new(), expected_output());
    output.copy_to(&mut bytes);
    if bytes == expected {
        Ok(())
    } else {
        Err(format!(
            "its self-test computed {} instead of {}; check the driver of the device",
            format_floats(&bytes),
            format_floats(&expected)
        ))
    }
}

/// The output that the graph must have.
fn expected_output() -> Vec<u8> {
    let row_of_weights = |row: u8| [1, 2, 3].map(|column| f32::from(3 * row + column));
    let rows = INPUT.chunks_exact(4).flat_map(|row| {
        let weighted = (0_u8..).zip(row).map(|(number, value)| {
            let weights = row_of_weights(number);
            weights.map(|weight| value * weight)
        });
        weighted.fold([0.0; 3], |[a, b, c], [x, y, z]| [a + x, b + y, c + z])
    });
    rows.flat_map(f32::to_le_bytes).collect()
}

fn format_floats(bytes: &[u8]) -> String {
    let values = floats(DType::F32, bytes);
    let values: Vec<String> = values.iter().map(f32::to_string).collect();
    values.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::engine;

    #[test]
    fn only_the_cpu_of_the_embedded_library_passes() {
        assert_eq!(run_self_test(engine().builder(), Provider::Cpu), Ok(()));
        for provider in Provider::ALL.into_iter().skip(1) {
            let reason = run_self_test(engine().builder(), provider)
                .expect_err("the library has no other provider");
            assert!(!reason.is_empty(), "{provider:?}");
        }
    }

    #[test]
    fn the_expected_output_is_that_of_the_graph() {
        assert_eq!(format_floats(&expected_output()), "5 7 9 8 10 12");
    }
}
