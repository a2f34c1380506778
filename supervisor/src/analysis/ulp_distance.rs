//! Distance between the results of two engines, element by element, in units in the last place (ULP): the number of
//! steps from one floating-point number of the format to the other (Goldberg, "What every computer scientist should know
//! about floating-point arithmetic", 1991). The distance of integers is their difference.

use crate::record::{AwaitedRecord, ResultRecord, RunHeader};
use shm_protocol::id::{AgentId, ModelId, RequestId, Tick};
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::{DType, Tensor};
use std::collections::BTreeMap;

/// The distance between a number and a NaN.
pub const NOT_COMPARABLE: u64 = u64::MAX;

/// The distance between an output of a model and the same output in the journal, over a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UlpDistance {
    /// Name of the model.
    pub model: String,
    /// Name of the output.
    pub output: String,
    /// Elements that were compared.
    pub elements: u64,
    /// Elements that differ.
    pub differing_elements: u64,
    /// The largest distance in ULP; [`NOT_COMPARABLE`] when one side is a NaN and the other is not.
    pub max_ulp: u64,
    /// The first element with that distance; none if no element differs.
    pub max_ulp_at: Option<ElementPosition>,
}

/// An element of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementPosition {
    /// The tick in which the result reached its agent.
    pub tick: Tick,
    /// The agent that made the request.
    pub agent: AgentId,
    /// The agent's number for the request; none if its step awaited the result.
    pub request: Option<RequestId>,
    /// Position of the element, in row-major order.
    pub element: u64,
}

/// The agent, its number for the request (none if its step awaited the result) and the model.
type RequestKey = (AgentId, Option<RequestId>, ModelId);

/// The results of a tick: those of earlier requests, and those that steps awaited.
pub(crate) type TickResults<'a> = (&'a [ResultRecord], &'a [AwaitedRecord]);

/// The answer to one request.
struct RequestAnswer<'a> {
    request: RequestKey,
    answer: &'a RequestResult,
}

fn request_answers<'a>((results, awaited): TickResults<'a>) -> Vec<RequestAnswer<'a>> {
    let results = results.iter().map(|result| RequestAnswer {
        request: (result.agent, Some(result.request), result.model),
        answer: &result.outcome,
    });
    let awaited = awaited.iter().map(|awaited| RequestAnswer {
        request: (awaited.agent, None, awaited.model),
        answer: &awaited.outcome,
    });
    results.chain(awaited).collect()
}

/// Collects the distances of all outputs over a run.
#[derive(Debug, Default)]
pub(crate) struct UlpStatistics {
    outputs: BTreeMap<(ModelId, usize), UlpDistance>,
}

impl UlpStatistics {
    /// Adds the results of a tick; left is the journal. False, and nothing is added, if they cannot be compared: if the
    /// requests are not the same, or one of them has a result on one side only, or with another type or shape.
    pub(crate) fn add(
        &mut self,
        header: &RunHeader,
        tick: Tick,
        left: TickResults<'_>,
        right: TickResults<'_>,
    ) -> bool {
        let (left, right) = (request_answers(left), request_answers(right));
        let is_alike = |(left, right): (&RequestAnswer<'_>, &RequestAnswer<'_>)| {
            left.request == right.request
                && match (left.answer, right.answer) {
                    (Ok(left), Ok(right)) => {
                        left.len() == right.len()
                            && left.iter().zip(right).all(|(left, right)| {
                                left.dtype == right.dtype && left.shape == right.shape
                            })
                    }
                    (Err(left), Err(right)) => left == right,
                    _ => false,
                }
        };
        if left.len() != right.len() || !left.iter().zip(&right).all(is_alike) {
            return false;
        }
        for (left, right) in left.iter().zip(&right) {
            if let (Ok(lefts), Ok(rights)) = (left.answer, right.answer) {
                for (output, (one, other)) in lefts.iter().zip(rights).enumerate() {
                    self.add_output(header, tick, left.request, output, (one, other));
                }
            }
        }
        true
    }

    fn add_output(
        &mut self,
        header: &RunHeader,
        tick: Tick,
        (agent, request, model): RequestKey,
        output: usize,
        (one, other): (&Tensor, &Tensor),
    ) {
        let pin = &header.models[model.index()];
        let key = (model, output);
        let distance = self.outputs.entry(key).or_insert_with(|| UlpDistance {
            model: pin.name.clone(),
            output: pin.signature.outputs[output].name.clone(),
            elements: 0,
            differing_elements: 0,
            max_ulp: 0,
            max_ulp_at: None,
        });
        for (element, ulp) in ulp_distances(one, other).enumerate() {
            distance.elements += 1;
            distance.differing_elements += u64::from(ulp > 0);
            if ulp > distance.max_ulp {
                distance.max_ulp = ulp;
                distance.max_ulp_at = Some(ElementPosition {
                    tick,
                    agent,
                    request,
                    element: element as u64,
                });
            }
        }
    }

    /// The distance of each output, by model and output.
    pub(crate) fn finish(self) -> Vec<UlpDistance> {
        self.outputs.into_values().collect()
    }
}

/// The distances between the elements of two tensors of the same type and shape.
fn ulp_distances<'a>(one: &'a Tensor, other: &'a Tensor) -> impl Iterator<Item = u64> + 'a {
    // Elements of less than a byte are compared by the byte.
    let bytes = (one.dtype.bits() / 8).max(1);
    let (one_elements, other_elements) = (one.data.chunks(bytes), other.data.chunks(bytes));
    let dtype = one.dtype;
    one_elements
        .zip(other_elements)
        .map(move |(one, other)| ulp_distance(dtype, word(one), word(other)))
}

/// The bits of an element.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

fn ulp_distance(dtype: DType, one: u64, other: u64) -> u64 {
    let (bits, exponent) = match dtype {
        DType::F64 => (64, 11),
        DType::F32 => (32, 8),
        DType::F16 => (16, 5),
        DType::BF16 => (16, 8),
        DType::F8E5M2 => (8, 5),
        DType::I8 | DType::I16 | DType::I32 | DType::I64 => {
            let shift = 64 - u32::try_from(dtype.bits()).expect("at most 64");
            let signed = |word: u64| (word << shift).cast_signed() >> shift;
            return signed(one).abs_diff(signed(other));
        }
        // Formats without infinities are compared by their bits, which says enough for eight bits.
        _ => return one.abs_diff(other),
    };
    let fraction: u32 = bits - 1 - exponent;
    let infinity = ((1_u64 << exponent) - 1) << fraction;
    let sign = 1_u64 << (bits - 1);
    let is_nan = |word: u64| word & !sign > infinity;
    match (is_nan(one), is_nan(other)) {
        (true, true) => 0,
        (false, false) => {
            // Ranks in the order of the values, with the same rank for both zeros.
            let rank = |word: u64| {
                let size = i128::from(word & !sign);
                if word & sign == 0 { size } else { -size }
            };
            u64::try_from(rank(one).abs_diff(rank(other))).unwrap_or(NOT_COMPARABLE - 1)
        }
        _ => NOT_COMPARABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_f32(one: f32, other: f32) -> u64 {
        ulp_distance(DType::F32, one.to_bits().into(), other.to_bits().into())
    }

    #[test]
    fn neighbours_are_one_ulp_apart_across_zero_and_powers_of_two() {
        assert_eq!(of_f32(1.0, 1.0), 0);
        assert_eq!(of_f32(0.0, -0.0), 0);
        assert_eq!(of_f32(1.0, 1.0_f32.next_up()), 1);
        assert_eq!(of_f32(2.0, 2.0_f32.next_down()), 1);
        let least = f32::from_bits(1);
        assert_eq!(of_f32(least, -least), 2);
        assert_eq!(of_f32(f32::MAX, f32::INFINITY), 1);
        assert_eq!(
            ulp_distance(DType::F64, 1.0_f64.to_bits(), 1.0_f64.next_down().to_bits()),
            1
        );
        assert_eq!(
            ulp_distance(DType::F64, f64::MAX.to_bits(), f64::MIN.to_bits()),
            2 * 0x7fef_ffff_ffff_ffff
        );
        assert_eq!(ulp_distance(DType::F16, 0x3c00, 0x3c01), 1);
        assert_eq!(ulp_distance(DType::BF16, 0x8001, 0x0001), 2);
    }

    #[test]
    fn nan_equals_nan_and_is_not_comparable_with_numbers() {
        assert_eq!(of_f32(f32::NAN, -f32::NAN), 0);
        assert_eq!(of_f32(f32::NAN, 1.0), NOT_COMPARABLE);
        assert_eq!(of_f32(f32::INFINITY, f32::NAN), NOT_COMPARABLE);
    }

    #[test]
    fn integers_are_apart_by_their_difference() {
        assert_eq!(ulp_distance(DType::I8, 0xff, 0x01), 2);
        assert_eq!(ulp_distance(DType::I64, u64::MAX, 0), 1);
        assert_eq!(ulp_distance(DType::U32, 7, 3), 4);
    }
}
