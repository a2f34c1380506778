//! A model that ONNX Runtime holds.

use super::signature::{ShapeRule, signature};
use crate::backend::{Model, RunError, Written};
use crate::sys::session::RawSession;
use crate::sys::tensor::{TensorPlace, TensorView};
use shm_protocol::progress;
use shm_protocol::tensor::{Shape, Signature};

/// A session, its signature, and what its output shapes follow from.
#[derive(Debug)]
pub(super) struct OnnxModel {
    session: RawSession,
    signature: Signature,
    rules: Vec<ShapeRule>,
}

impl OnnxModel {
    /// # Errors
    /// Names the input or output that is not supported.
    pub(super) fn new(session: RawSession, ports: usize) -> Result<OnnxModel, String> {
        let (inputs, outputs) = (session.session().inputs(), session.session().outputs());
        let signature = signature(inputs, outputs, ports)?;
        let rules = outputs
            .iter()
            .map(|output| ShapeRule::of(output, inputs))
            .collect();
        Ok(OnnxModel {
            signature,
            rules,
            session,
        })
    }
}

impl Model for OnnxModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn predict(&self, output: usize, inputs: &[Shape]) -> Option<Shape> {
        self.rules.get(output)?.apply(inputs)
    }

    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        places: &mut [Option<TensorPlace<'_>>],
    ) -> Result<Written, RunError> {
        let ran = self.session.run(inputs, places);
        progress::report();
        let Err(error) = ran else {
            return Ok(Written::InPlace);
        };
        // Whether a place or something else is at fault shows in a run without any.
        if places.iter().all(Option::is_none) || self.session.run(inputs, &mut []).is_err() {
            return Err(RunError(without_machine(&error.to_string())));
        }
        // A shape that was foretold wrongly is not foretold again.
        self.rules.iter_mut().for_each(ShapeRule::forget);
        Ok(Written::Given)
    }

    fn given(&self, output: usize) -> Result<TensorView<'_>, RunError> {
        self.session
            .given(output)
            .map_err(|error| RunError(without_machine(&error.to_string())))
    }
}

/// An error of the engine without the name of the host and the number of the device, which drivers add to it: it is
/// journaled as the answer to a request.
fn without_machine(error: &str) -> String {
    let is_of_machine = |part: &&str| part.starts_with("hostname=") || part.starts_with("GPU=");
    let parts = error.split(" ; ").filter(|part| !is_of_machine(part));
    parts.collect::<Vec<_>>().join(" ; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_does_not_name_the_machine() {
        let error = "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=far ; line=121 ; expr=f()";
        assert_eq!(
            without_machine(error),
            "CUDA failure 700: an illegal memory access was encountered ; line=121 ; expr=f()"
        );
        assert_eq!(without_machine("no such shape; no"), "no such shape; no");
    }
}
