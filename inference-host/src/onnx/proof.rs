//! Whether a provider really computes: a built-in graph runs on it alone, the
//! numbers are checked, and who ran the node is read back. A library that has a
//! provider may still find no device, or a device with a driver of another age.

use super::OnnxRuntime;
use super::provider::{engine_name, register, shown};
use crate::sys::session::RawSession;
use crate::sys::tensor::TensorView;
use shm_protocol::provider::Provider;
use shm_protocol::tensor::{DType, Shape};

/// `y = x w`, `x` f32[2,4] and `y` f32[2,3]; the constant `w` holds the numbers 1 to 12 row by row. Small whole numbers
/// come out exactly in every precision that a provider may take.
const GRAPH: &[u8] = include_bytes!("../../../models/proof.onnx");

const INPUT: [f32; 8] = [1.0, 0.0, 2.0, -1.0, 0.0, 3.0, -2.0, 1.0];

/// Tries a provider.
///
/// # Errors
/// Why it is no good, in the engine's words where it has some.
pub(super) fn prove(engine: &OnnxRuntime, provider: Provider) -> Result<(), String> {
    let said = |error: ort::Error| error.to_string();
    let mut builder = engine.builder().map_err(said)?;
    register(provider, &mut builder).map_err(said)?;
    if provider != Provider::Cpu {
        builder = builder
            .with_disable_cpu_fallback()
            .map_err(|error| error.to_string())?;
    }
    let session = builder.commit_from_memory(GRAPH).map_err(said)?;
    let mut session = RawSession::new(session).map_err(said)?;
    let placement = session.placement().map_err(said)?;
    if !placement.contains_key(engine_name(provider)) {
        return Err(format!("its node was placed on {}", shown(&placement)));
    }
    let input: Vec<u8> = INPUT.iter().flat_map(|value| value.to_le_bytes()).collect();
    let shape = Shape::new(&[2, 4]).map_err(|error| error.to_string())?;
    let view =
        TensorView::of_slice(DType::F32, shape, &input).map_err(|error| error.to_string())?;
    session.run(&[view], &mut []).map_err(said)?;
    let output = session.given(0).map_err(said)?;
    let (mut bytes, expected) = (Vec::new(), product());
    output.copy_to(&mut bytes);
    if bytes == expected {
        Ok(())
    } else {
        Err(format!(
            "it computes wrongly: {} instead of {}",
            numbers(&bytes),
            numbers(&expected)
        ))
    }
}

/// What the graph must give.
fn product() -> Vec<u8> {
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

fn numbers(bytes: &[u8]) -> String {
    let values = bytes
        .as_chunks()
        .0
        .iter()
        .map(|four| f32::from_le_bytes(*four).to_string());
    values.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::engine;

    #[test]
    fn the_processor_computes_and_what_is_not_in_the_library_is_refused_with_a_reason() {
        assert_eq!(prove(engine(), Provider::Cpu), Ok(()));
        for provider in Provider::ALL.into_iter().skip(1) {
            let reason = prove(engine(), provider).expect_err("a library for processors");
            assert!(!reason.is_empty(), "{provider:?}");
        }
    }

    #[test]
    fn the_numbers_are_those_of_the_graph() {
        assert_eq!(numbers(&product()), "5 7 9 8 10 12");
    }
}
