//! How far the results of two engines lie apart, element by element, in units in
//! the last place: the number of floating-point numbers of the format between the
//! two (Goldberg, "What every computer scientist should know about floating-point
//! arithmetic", 1991). Whole numbers are as far apart as their difference says.

use crate::record::{AwaitedRecord, ResultRecord, RunHeader};
use shm_protocol::id::{AgentId, ModelId, RequestId, Tick};
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::{DType, Tensor};
use std::collections::BTreeMap;

/// A number on one side, and none on the other.
pub const NOT_COMPARABLE: u64 = u64::MAX;

/// How far one output of a model is from what the journal has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// Name of the model.
    pub model: String,
    /// Name of the output.
    pub output: String,
    /// Elements that were compared.
    pub elements: u64,
    /// Those of them that differ.
    pub differing: u64,
    /// The largest difference, in units in the last place; [`NOT_COMPARABLE`] when one side is not a number.
    pub most: u64,
    /// Where it was.
    pub at: Option<Place>,
}

/// An element of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The tick in which the result reached its agent.
    pub tick: Tick,
    /// Who asked.
    pub agent: AgentId,
    /// The number of the request; none if the agent's step has waited for it.
    pub request: Option<RequestId>,
    /// Position of the element, in row-major order.
    pub element: u64,
}

/// Who asked which model, and with which request; with none if a step has waited.
type From = (AgentId, Option<RequestId>, ModelId);

/// The answers of a tick: results, and what was awaited.
pub(crate) type Answers<'a> = (&'a [ResultRecord], &'a [AwaitedRecord]);

/// One answer.
struct Answered<'a> {
    from: From,
    answer: &'a RequestResult,
}

fn answered<'a>((results, awaited): Answers<'a>) -> Vec<Answered<'a>> {
    let results = results.iter().map(|result| Answered {
        from: (result.agent, Some(result.request), result.model),
        answer: &result.outcome,
    });
    let awaited = awaited.iter().map(|awaited| Answered {
        from: (awaited.agent, None, awaited.model),
        answer: &awaited.outcome,
    });
    results.chain(awaited).collect()
}

/// Sums up over a run.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    outputs: BTreeMap<(ModelId, usize), Apart>,
}

impl Measure {
    /// Takes in the answers of a tick: results, and what steps have waited for; left is the journal. Whether they can be
    /// compared: the same requests, all of them answered on both sides or on none, with outputs of the same types and
    /// shapes.
    pub(crate) fn take(
        &mut self,
        header: &RunHeader,
        tick: Tick,
        left: Answers<'_>,
        right: Answers<'_>,
    ) -> bool {
        let (left, right) = (answered(left), answered(right));
        let is_alike = |(left, right): (&Answered<'_>, &Answered<'_>)| {
            left.from == right.from
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
                    self.take_output(header, tick, left.from, output, (one, other));
                }
            }
        }
        true
    }

    fn take_output(
        &mut self,
        header: &RunHeader,
        tick: Tick,
        (agent, request, model): From,
        output: usize,
        (one, other): (&Tensor, &Tensor),
    ) {
        let pin = &header.models[model.index()];
        let key = (model, output);
        let held = self.outputs.entry(key).or_insert_with(|| Apart {
            model: pin.name.clone(),
            output: pin.signature.outputs[output].name.clone(),
            elements: 0,
            differing: 0,
            most: 0,
            at: None,
        });
        for (element, apart) in differences(one, other).enumerate() {
            held.elements += 1;
            held.differing += u64::from(apart > 0);
            if apart > held.most {
                held.most = apart;
                held.at = Some(Place {
                    tick,
                    agent,
                    request,
                    element: element as u64,
                });
            }
        }
    }

    /// What came of it, by model and output.
    pub(crate) fn finish(self) -> Vec<Apart> {
        self.outputs.into_values().collect()
    }
}

/// How far each element of one tensor is from that of another of the same type and shape.
fn differences<'a>(one: &'a Tensor, other: &'a Tensor) -> impl Iterator<Item = u64> + 'a {
    // Elements of less than a byte are compared by the byte.
    let bytes = (one.dtype.bits() / 8).max(1);
    let (one_elements, other_elements) = (one.data.chunks(bytes), other.data.chunks(bytes));
    let dtype = one.dtype;
    one_elements
        .zip(other_elements)
        .map(move |(one, other)| apart(dtype, word(one), word(other)))
}

/// The bits of an element.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

fn apart(dtype: DType, one: u64, other: u64) -> u64 {
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
        // What has no infinity is told as far apart as its bits are, which for a format of eight bits says enough.
        _ => return one.abs_diff(other),
    };
    let fraction: u32 = bits - 1 - exponent;
    let infinity = ((1_u64 << exponent) - 1) << fraction;
    let sign = 1_u64 << (bits - 1);
    let is_nan = |word: u64| word & !sign > infinity;
    match (is_nan(one), is_nan(other)) {
        (true, true) => 0,
        (false, false) => {
            // Numbers in the order of their values, with both zeros in one place.
            let place = |word: u64| {
                let size = i128::from(word & !sign);
                if word & sign == 0 { size } else { -size }
            };
            u64::try_from(place(one).abs_diff(place(other))).unwrap_or(NOT_COMPARABLE - 1)
        }
        _ => NOT_COMPARABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_f32(one: f32, other: f32) -> u64 {
        apart(DType::F32, one.to_bits().into(), other.to_bits().into())
    }

    #[test]
    fn neighbours_are_one_apart_across_zero_and_powers_of_two() {
        assert_eq!(of_f32(1.0, 1.0), 0);
        assert_eq!(of_f32(0.0, -0.0), 0);
        assert_eq!(of_f32(1.0, 1.0_f32.next_up()), 1);
        assert_eq!(of_f32(2.0, 2.0_f32.next_down()), 1);
        let least = f32::from_bits(1);
        assert_eq!(of_f32(least, -least), 2);
        assert_eq!(of_f32(f32::MAX, f32::INFINITY), 1);
        assert_eq!(
            apart(DType::F64, 1.0_f64.to_bits(), 1.0_f64.next_down().to_bits()),
            1
        );
        assert_eq!(
            apart(DType::F64, f64::MAX.to_bits(), f64::MIN.to_bits()),
            2 * 0x7fef_ffff_ffff_ffff
        );
        assert_eq!(apart(DType::F16, 0x3c00, 0x3c01), 1);
        assert_eq!(apart(DType::BF16, 0x8001, 0x0001), 2);
    }

    #[test]
    fn what_is_no_number_is_far_from_every_number_and_near_its_like() {
        assert_eq!(of_f32(f32::NAN, -f32::NAN), 0);
        assert_eq!(of_f32(f32::NAN, 1.0), NOT_COMPARABLE);
        assert_eq!(of_f32(f32::INFINITY, f32::NAN), NOT_COMPARABLE);
    }

    #[test]
    fn whole_numbers_are_apart_by_their_difference() {
        assert_eq!(apart(DType::I8, 0xff, 0x01), 2);
        assert_eq!(apart(DType::I64, u64::MAX, 0), 1);
        assert_eq!(apart(DType::U32, 7, 3), 4);
    }
}
