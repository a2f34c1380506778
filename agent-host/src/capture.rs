//! How the state of an agent can be had between two steps.
//!
//! The state of an instance is its memory, its mutable globals, its tables, which
//! segments it has dropped, and its resources. The memory is ours
//! ([`crate::sys`]). The engine does not give the globals of a component away, so
//! the compiler adds two functions to the component that do: one more module,
//! which imports every mutable global, with one function that reads and one that
//! writes the n-th. What is there stays as it is, and what is added comes last,
//! so no index moves, no code changes, and a step costs what it cost.
//!
//! A component that could change something else is **opaque**: it runs like any
//! other, but its state cannot be captured. [`survey`] decides that by what the
//! code contains, whether or not it is ever run.

mod accessors;
mod artifact;
mod rewrite;
mod survey;

pub(crate) use artifact::{BadArtifact, unwrap, wrap};

use bincode::{Decode, Encode};
use wasmparser::BinaryReaderError;

/// The function that reads: the number of a variable to its bits.
pub(crate) const GET: &str = "lockstep-global-get";
/// The function that writes: the number of a variable and its bits.
pub(crate) const SET: &str = "lockstep-global-set";

/// Part of the key under which artifacts are cached, and of what a run pins. Another number says that the compiler adds
/// other functions, or takes other components for opaque.
pub(crate) const VERSION: &str = "capture(1)";

/// How the state of the agents of a component can be had.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Capture {
    /// It is the memory and this many variables. If there are any, the component has [`GET`] and [`SET`].
    Complete {
        /// Mutable globals of all instances of all modules.
        globals: u32,
    },
    /// It cannot be had.
    Opaque {
        /// Why, for people.
        reason: String,
    },
}

/// Gives a component whose state can be had, if that is possible, or says why not.
///
/// # Errors
/// When the bytes are not a component.
pub(crate) fn prepare(component: &[u8]) -> Result<Prepared, BinaryReaderError> {
    let survey = match survey::survey(component) {
        Ok(survey) => survey,
        Err(survey::Stop::Opaque(reason)) => return Ok(Prepared::opaque(reason)),
        Err(survey::Stop::Malformed(error)) => return Err(error),
    };
    let globals = survey.globals();
    let rewritten = if globals > 0 {
        Some(rewrite::rewrite(component, &survey)?)
    } else {
        None
    };
    Ok(Prepared {
        rewritten,
        capture: Capture::Complete { globals },
    })
}

/// What is to be compiled in the place of a component.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The component with its functions added; `None` if it stays as it is.
    pub(crate) rewritten: Option<Vec<u8>>,
    /// What is known of it.
    pub(crate) capture: Capture,
}

impl Prepared {
    /// A component that stays as it is, because its state cannot be had.
    pub(crate) fn opaque(reason: String) -> Self {
        Prepared {
            rewritten: None,
            capture: Capture::Opaque { reason },
        }
    }
}

#[cfg(test)]
mod tests;
