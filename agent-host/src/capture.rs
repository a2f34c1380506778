//! Access to the state of an agent between two steps.
//!
//! The state of an instance is its memory, its mutable globals, its tables, the segments that it has dropped, and its
//! resources. The memory is allocated by this crate ([`crate::sys`]). The engine gives no access to the globals of a
//! component, so the compiler adds it: one more module, which imports every mutable global and has one function that
//! reads and one that writes the n-th. The rest of the component stays as it is and the additions come last, so no
//! index moves, no code changes, and a step costs the same fuel.
//!
//! A component that could change another part of its state is **opaque**: it runs like any other, but its state cannot
//! be captured. [`state_analysis`] decides that from the instructions in the code, whether or not they are ever run.

mod accessors;
mod artifact;
mod rewrite;
mod state_analysis;

pub(crate) use accessors::{GET_GLOBAL, SET_GLOBAL};
pub(crate) use artifact::{ArtifactDecodeError, StateCapture, decode_artifact, encode_artifact};

use state_analysis::{AnalysisError, analyse};
use wasmparser::BinaryReaderError;

/// Version of the additions to components and of the analysis. It is part of the key under which artifacts are cached,
/// and of the settings that a run pins.
pub(crate) const VERSION: &str = "capture(1)";

/// Adds access to the globals of a component, or finds the reason why its state cannot be captured.
///
/// # Errors
/// When the bytes are not a component.
pub(crate) fn prepare(component: &[u8]) -> Result<PreparedComponent, BinaryReaderError> {
    let layout = match analyse(component) {
        Ok(layout) => layout,
        Err(AnalysisError::Opaque(reason)) => return Ok(PreparedComponent::opaque(reason)),
        Err(AnalysisError::Malformed(error)) => return Err(error),
    };
    let globals = layout.globals();
    let rewritten = if globals > 0 {
        Some(rewrite::rewrite(component, &layout)?)
    } else {
        None
    };
    Ok(PreparedComponent {
        rewritten,
        capture: StateCapture::Complete { globals },
    })
}

/// The component that is compiled in the place of the original.
#[derive(Debug)]
pub(crate) struct PreparedComponent {
    /// The component with its accessor functions; `None` if it stays as it is.
    pub(crate) rewritten: Option<Vec<u8>>,
    /// The way in which the state is captured.
    pub(crate) capture: StateCapture,
}

impl PreparedComponent {
    /// A component that stays as it is, because its state cannot be captured.
    pub(crate) fn opaque(reason: String) -> Self {
        PreparedComponent {
            rewritten: None,
            capture: StateCapture::Opaque { reason },
        }
    }
}

#[cfg(test)]
mod tests;
