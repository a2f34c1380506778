//! The inputs and outputs of a model, and the rules by which output shapes follow from input shapes.

use crate::sys::session::dtype_of;
use ort::value::{Outlet, ValueType};
use shm_protocol::limit;
use shm_protocol::tensor::{DType, Port, Shape, Signature};

/// Inputs and outputs of a session, at most `max_ports` of each.
///
/// # Errors
/// Names the input or output that is not supported.
pub(super) fn signature(
    inputs: &[Outlet],
    outputs: &[Outlet],
    max_ports: usize,
) -> Result<Signature, String> {
    let ports = |direction, outlets: &[Outlet]| -> Result<Vec<Port>, String> {
        if outlets.len() > max_ports {
            return Err(format!(
                "it has {} {direction}s, and the limit is {}",
                outlets.len(),
                max_ports
            ));
        }
        outlets
            .iter()
            .map(|outlet| port(direction, outlet))
            .collect()
    };
    Ok(Signature {
        inputs: ports("input", inputs)?,
        outputs: ports("output", outputs)?,
    })
}

fn port(direction: &str, outlet: &Outlet) -> Result<Port, String> {
    let name = outlet.name().to_owned();
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(format!(
            "its {direction} `{name}` is not a tensor; only models of plain tensors are supported"
        ));
    };
    let dtype: DType = dtype_of((*ty).into()).ok_or_else(|| {
        format!("its {direction} `{name}` has elements of type {ty:?}, which is not supported")
    })?;
    if shape.len() > limit::RANK {
        return Err(format!(
            "its {direction} `{name}` has {} dimensions, and the limit is {}",
            shape.len(),
            limit::RANK
        ));
    }
    Ok(Port {
        name,
        dtype,
        dims: shape.iter().map(|dim| u64::try_from(*dim).ok()).collect(),
    })
}

/// The source of a dimension of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DimRule {
    /// A constant.
    Fixed(u64),
    /// A dimension of an input.
    Input { input: usize, dimension: usize },
}

/// The rule by which the shape of an output follows from the shapes of the inputs; `None` if there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShapeRule(Option<Vec<DimRule>>);

impl ShapeRule {
    /// The rule for one output. An open dimension follows from the input dimension of the same symbol. One without a
    /// symbol is taken for the batch if it is the first, and the first of every input is open too. The engine checks
    /// each predicted shape, so a wrong rule costs one run and changes no result.
    pub(super) fn of(output: &Outlet, inputs: &[Outlet]) -> ShapeRule {
        let ValueType::Tensor {
            shape,
            dimension_symbols,
            ..
        } = output.dtype()
        else {
            return ShapeRule(None);
        };
        let rules = shape.iter().enumerate().map(|(position, dim)| {
            if let Ok(fixed) = u64::try_from(*dim) {
                return Some(DimRule::Fixed(fixed));
            }
            let symbol = dimension_symbols.get(position).map_or("", String::as_str);
            let of_symbol = if symbol.is_empty() {
                None
            } else {
                input_with_symbol(symbol, inputs)
            };
            of_symbol.or_else(|| {
                (symbol.is_empty() && position == 0 && all_batch_dims_open(inputs)).then_some(BATCH)
            })
        });
        ShapeRule(rules.collect())
    }

    /// The shape for inputs of these shapes.
    pub(super) fn apply(&self, inputs: &[Shape]) -> Option<Shape> {
        let mut dims = [0; limit::RANK];
        let rules = self.0.as_ref()?;
        for (dim, rule) in dims.iter_mut().zip(rules) {
            *dim = match *rule {
                DimRule::Fixed(fixed) => fixed,
                DimRule::Input { input, dimension } => *inputs.get(input)?.dims().get(dimension)?,
            };
        }
        Shape::new(&dims[..rules.len()]).ok()
    }

    /// Predicts no shape any more.
    pub(super) fn disable(&mut self) {
        self.0 = None;
    }
}

const BATCH: DimRule = DimRule::Input {
    input: 0,
    dimension: 0,
};

/// The first input dimension with this symbol.
fn input_with_symbol(symbol: &str, inputs: &[Outlet]) -> Option<DimRule> {
    inputs.iter().enumerate().find_map(|(input, outlet)| {
        let ValueType::Tensor {
            dimension_symbols, ..
        } = outlet.dtype()
        else {
            return None;
        };
        let dimension = dimension_symbols
            .iter()
            .position(|candidate| candidate == symbol)?;
        Some(DimRule::Input { input, dimension })
    })
}

fn all_batch_dims_open(inputs: &[Outlet]) -> bool {
    !inputs.is_empty()
        && inputs.iter().all(|outlet| {
            matches!(outlet.dtype(), ValueType::Tensor { shape, .. } if shape.first().is_some_and(|dim| *dim < 0))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ort::value::{Shape as OrtShape, SymbolicDimensions, TensorElementType};

    fn outlet(name: &str, dims: &[(i64, &str)]) -> Outlet {
        // An outlet is made through the engine's interface, so the engine must be there first.
        crate::testing::engine();
        let shape = OrtShape::new(dims.iter().map(|(dim, _)| *dim));
        let dimension_symbols =
            SymbolicDimensions::new(dims.iter().map(|(_, symbol)| (*symbol).to_owned()));
        Outlet::new(
            name,
            ValueType::Tensor {
                ty: TensorElementType::Float32,
                shape,
                dimension_symbols,
            },
        )
    }

    fn shape(dims: &[u64]) -> Shape {
        Shape::new(dims).expect("few dimensions")
    }

    #[test]
    fn a_symbol_is_the_dimension_of_its_input() {
        let inputs = [
            outlet("a", &[(-1, "n"), (3, "")]),
            outlet("b", &[(2, ""), (-1, "m")]),
        ];
        let rule = ShapeRule::of(&outlet("y", &[(-1, "m"), (-1, "n"), (7, "")]), &inputs);
        assert_eq!(
            rule.apply(&[shape(&[5, 3]), shape(&[2, 4])]),
            Some(shape(&[4, 5, 7]))
        );
    }

    #[test]
    fn a_symbol_of_no_input_is_not_predicted() {
        let rule = ShapeRule::of(
            &outlet("y", &[(1, ""), (-1, "n")]),
            &[outlet("x", &[(-1, "batch")])],
        );
        assert_eq!(rule.apply(&[shape(&[5])]), None);
    }

    #[test]
    fn a_first_dimension_without_symbol_is_the_batch() {
        let rule = ShapeRule::of(
            &outlet("y", &[(-1, ""), (2, "")]),
            &[outlet("x", &[(-1, ""), (4, "")])],
        );
        assert_eq!(rule.apply(&[shape(&[6, 4])]), Some(shape(&[6, 2])));
        let fixed = ShapeRule::of(&outlet("y", &[(-1, "")]), &[outlet("x", &[(4, "")])]);
        assert_eq!(fixed.apply(&[shape(&[4])]), None);
    }

    #[test]
    fn a_port_that_is_no_plain_tensor_is_refused_by_name() {
        crate::testing::engine();
        let strings = Outlet::new(
            "words",
            ValueType::Tensor {
                ty: TensorElementType::String,
                shape: OrtShape::new([1]),
                dimension_symbols: SymbolicDimensions::empty(1),
            },
        );
        let error = signature(&[strings], &[], 8).expect_err("strings are not supported");
        assert!(error.contains("input `words`"), "{error}");
        let sequence = Outlet::new(
            "list",
            ValueType::Sequence(Box::new(outlet("e", &[]).dtype().clone())),
        );
        let error = signature(&[], &[sequence], 8).expect_err("sequences are not supported");
        assert!(error.contains("output `list`"), "{error}");
        let deep = outlet("deep", &[(1, ""); 9]);
        assert!(
            signature(&[deep], &[], 8)
                .expect_err("nine dimensions")
                .contains("9 dimensions")
        );
    }
}
