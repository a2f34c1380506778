//! A model in an ONNX Runtime session.

use super::signature::{ShapeRule, signature};
use crate::backend::{Model, ModelRunError, OutputLocation};
use crate::sys::session::RawSession;
use crate::sys::tensor::{TensorView, TensorViewMut};
use shm_protocol::progress;
use shm_protocol::tensor::{Shape, Signature};

/// A session, its signature, and the rules for its output shapes.
#[derive(Debug)]
pub(super) struct OnnxModel {
    session: RawSession,
    signature: Signature,
    shape_rules: Vec<ShapeRule>,
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
            shape_rules: rules,
            session,
        })
    }
}

impl Model for OnnxModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn predict_shape(&self, output: usize, inputs: &[Shape]) -> Option<Shape> {
        self.shape_rules.get(output)?.apply(inputs)
    }

    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        outputs: &mut [Option<TensorViewMut<'_>>],
    ) -> Result<OutputLocation, ModelRunError> {
        let result = self.session.run(inputs, outputs);
        progress::report();
        let Err(error) = result else {
            return Ok(OutputLocation::InPlace);
        };
        // A run without output memory shows whether that memory or something else is at fault.
        if outputs.iter().all(Option::is_none) || self.session.run(inputs, &mut []).is_err() {
            return Err(ModelRunError(redact_machine(&error.to_string())));
        }
        // A rule that predicted a wrong shape is not used again.
        self.shape_rules.iter_mut().for_each(ShapeRule::disable);
        Ok(OutputLocation::Engine)
    }

    fn output(&self, output: usize) -> Result<TensorView<'_>, ModelRunError> {
        self.session
            .output(output)
            .map_err(|error| ModelRunError(redact_machine(&error.to_string())))
    }
}

/// An error of the engine without the host name and the device number that drivers add to it: it is journaled as the
/// answer to a request.
fn redact_machine(error: &str) -> String {
    let is_of_machine = |part: &&str| part.starts_with("hostname=") || part.starts_with("GPU=");
    let parts = error.split(" ; ").filter(|part| !is_of_machine(part));
    parts.collect::<Vec<_>>().join(" ; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_does_not_name_the_machine() {
        let error = "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=far ; line=121 ; \
                     expr=f()";
        assert_eq!(
            redact_machine(error),
            "CUDA failure 700: an illegal memory access was encountered ; line=121 ; expr=f()"
        );
        assert_eq!(redact_machine("no such shape; no"), "no such shape; no");
    }
}
