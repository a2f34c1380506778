//! Matching of a request's inputs to the inputs of its model.

use shm_protocol::tensor::{DType, Port, Shape, Tensor};
use std::borrow::Cow;

/// An input in the memory of an agent.
pub(super) struct InputView<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) dtype: DType,
    pub(super) dims: &'a [u64],
    pub(super) data: &'a [u8],
}

/// Maximum number of characters of a name that a message repeats.
const MAX_NAME_CHARACTERS: usize = 64;

impl InputView<'_> {
    /// A copy of an input that was matched.
    pub(super) fn to_tensor(&self) -> Tensor {
        let shape = Shape::new(self.dims).expect("what fits a model has few enough dimensions");
        Tensor {
            dtype: self.dtype,
            shape,
            data: self.data.to_vec(),
        }
    }

    /// The type of the input as in `f32[1,5]`, in the spelling of [`Port`].
    fn describe(&self) -> String {
        match Shape::new(self.dims) {
            Ok(shape) => format!("{}{shape:?}", self.dtype),
            Err(error) => format!("{} with {error}", self.dtype),
        }
    }
}

/// For each input of the model, the position of the agent's input with its name.
///
/// # Errors
/// A message to the author of the agent: what the model takes, and what it got.
pub(super) fn match_inputs(ports: &[Port], inputs: &[InputView<'_>]) -> Result<Vec<usize>, String> {
    if let Some(unknown) = inputs
        .iter()
        .find(|input| ports.iter().all(|port| port.name != input.name))
    {
        let name: String = unknown.name.chars().take(MAX_NAME_CHARACTERS).collect();
        return Err(format!(
            "takes {}, got an input named {name:?}",
            list(ports)
        ));
    }
    if inputs.len() > ports.len() {
        return Err(format!(
            "takes {}, got {} inputs",
            list(ports),
            inputs.len()
        ));
    }
    ports.iter().map(|port| find(port, inputs)).collect()
}

fn find(port: &Port, inputs: &[InputView<'_>]) -> Result<usize, String> {
    let Some(position) = inputs.iter().position(|input| input.name == port.name) else {
        return Err(format!(
            "input {} takes {}, got nothing",
            port.name,
            takes(port)
        ));
    };
    let input = &inputs[position];
    let mismatch = || {
        format!(
            "input {} takes {}, got {}",
            port.name,
            takes(port),
            input.describe()
        )
    };
    let shape = Shape::new(input.dims).map_err(|_| mismatch())?;
    if !port.admits(input.dtype, &shape) {
        return Err(mismatch());
    }
    let expected = shape
        .bytes(input.dtype)
        .map_err(|error| format!("input {}: {error}", port.name))?;
    if input.data.len() != expected {
        let (what, actual) = (input.describe(), input.data.len());
        return Err(format!(
            "input {}: {what} has {expected} bytes, not {actual}",
            port.name
        ));
    }
    Ok(position)
}

/// The type of a port without its name, as in `f32[?,4]`.
fn takes(port: &Port) -> String {
    let text = port.to_string();
    text.strip_prefix(&port.name)
        .unwrap_or(&text)
        .trim_start()
        .to_owned()
}

fn list(ports: &[Port]) -> String {
    if ports.is_empty() {
        return "no inputs".to_owned();
    }
    ports
        .iter()
        .map(Port::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, dims: &[Option<u64>]) -> Port {
        Port {
            name: name.into(),
            dtype: DType::F32,
            dims: dims.to_vec(),
        }
    }

    fn input<'a>(name: &'a str, dims: &'a [u64], data: &'a [u8]) -> InputView<'a> {
        InputView {
            name: name.into(),
            dtype: DType::F32,
            dims,
            data,
        }
    }

    #[test]
    fn inputs_are_found_by_name() {
        let ports = [port("a", &[Some(1)]), port("b", &[None])];
        let inputs = [input("b", &[2], &[0; 8]), input("a", &[1], &[0; 4])];
        assert_eq!(match_inputs(&ports, &inputs), Ok(vec![1, 0]));
    }

    #[test]
    fn a_mismatch_names_both_sides() {
        let ports = [port("observation", &[None, Some(4)])];
        let wrong =
            |inputs: &[InputView<'_>]| match_inputs(&ports, inputs).expect_err("it does not fit");
        assert_eq!(
            wrong(&[input("observation", &[1, 5], &[0; 20])]),
            "input observation takes f32[?,4], got f32[1,5]"
        );
        let mut other = input("observation", &[1, 4], &[0; 32]);
        other.dtype = DType::F64;
        assert_eq!(
            wrong(&[other]),
            "input observation takes f32[?,4], got f64[1,4]"
        );
        assert_eq!(wrong(&[]), "input observation takes f32[?,4], got nothing");
        assert_eq!(
            wrong(&[input("x", &[1, 4], &[0; 16])]),
            "takes observation f32[?,4], got an input named \"x\""
        );
        let short = wrong(&[input("observation", &[1, 4], &[0; 12])]);
        assert_eq!(short, "input observation: f32[1,4] has 16 bytes, not 12");
        let twice = || input("observation", &[1, 4], &[0; 16]);
        assert_eq!(
            wrong(&[twice(), twice()]),
            "takes observation f32[?,4], got 2 inputs"
        );
        let deep = wrong(&[input("observation", &[1; 9], &[0; 4])]);
        assert_eq!(
            deep,
            "input observation takes f32[?,4], got f32 with 9 dimensions are over the limit of 8"
        );
        let huge = wrong(&[input("observation", &[u64::MAX, 4], &[])]);
        assert!(huge.contains("over the limit"), "{huge}");
    }
}
