//! Generated inputs: the same in every run, and different for every agent.

use lockstep_agent::{AgentId, Dtype, NamedTensor, Tensor, tensors};
use std::str::FromStr;

/// The property that does not fit the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    Shape,
    Dtype,
    Name,
}

impl FromStr for Wrong {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "shape" => Ok(Self::Shape),
            "dtype" => Ok(Self::Dtype),
            "name" => Ok(Self::Name),
            _ => Err(format!(
                "setting `wrong` is \"{text}\": it must be \"shape\", \"dtype\" or \"name\""
            )),
        }
    }
}

/// Knuth's 64-bit linear congruential generator (MMIX), of which only the
/// upper bits are used.
pub struct Generator(u64);

impl Generator {
    pub fn new(id: AgentId) -> Self {
        Self(u64::from(id) + 1)
    }

    /// The next number, in -1..1 and exact in float32.
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }

    /// The next input: one column more than asked for, float64 or misnamed if
    /// it is to be wrong.
    pub fn input(
        &mut self,
        name: &str,
        [rows, width]: [u64; 2],
        wrong: Option<Wrong>,
    ) -> NamedTensor {
        let shape = [rows, width + u64::from(wrong == Some(Wrong::Shape))];
        let count = shape[0] * shape[1];
        let values: Vec<f32> = (0..count).map(|_| self.next()).collect();
        let tensor = match wrong {
            Some(Wrong::Dtype) => as_f64(&shape, &values),
            _ => tensors::from_f32(&shape, &values),
        };
        match wrong {
            Some(Wrong::Name) => tensors::named(&format!("not-{name}"), tensor),
            _ => tensors::named(name, tensor),
        }
    }
}

fn as_f64(shape: &[u64], values: &[f32]) -> Tensor {
    Tensor {
        dtype: Dtype::Float64,
        shape: shape.to_vec(),
        data: values
            .iter()
            .flat_map(|value| f64::from(*value).to_le_bytes())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_repeat_by_agent_and_stay_in_range() {
        let values = |id| {
            let input = Generator::new(id).input("x", [4, 64], None);
            assert_eq!(
                (input.name.as_str(), &input.value.shape[..]),
                ("x", &[4, 64][..])
            );
            tensors::to_f32(&input.value).unwrap()
        };
        assert_eq!(values(0), values(0));
        assert_ne!(values(0), values(1));
        assert!(values(2).iter().all(|value| (-1.0..1.0).contains(value)));
    }

    #[test]
    fn each_way_of_being_wrong_spoils_one_thing() {
        let input = |wrong| Generator::new(0).input("x", [1, 2], Some(wrong));
        assert_eq!(input(Wrong::Shape).value.shape, [1, 3]);
        assert_eq!(input(Wrong::Dtype).value.dtype, Dtype::Float64);
        assert_eq!(input(Wrong::Dtype).value.data.len(), 16);
        assert_eq!(input(Wrong::Name).name, "not-x");
    }
}
