//! Why there is no fleet.

use super::bounds;
use super::problem::{Place, Problem, render};
use std::path::PathBuf;
use std::{fmt, io};
use thiserror::Error;

/// Why a fleet file did not become a fleet.
#[derive(Debug, Error)]
pub enum FleetError {
    /// The file cannot be read at all.
    #[error("cannot read the fleet file {}: {source}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path is a folder or a device.
    #[error("{} is not a file; name a fleet file (TOML), as in `lockstep run examples/counter.toml`", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// More bytes than a fleet file may have.
    #[error("{} is over the {} bytes that a fleet file may have; use `count` for agents that are alike", path.display(), bounds::FILE_BYTES)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The bytes are not text.
    #[error("{} is not text: byte {offset} is no UTF-8; a fleet file is TOML", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first byte that is not text, counted from 0.
        offset: usize,
    },
    /// A fault plan cannot be read at all.
    #[error("cannot read the fault plan {}: {reason}; name a file with [[rules]] (TOML)", path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file was read, and something in it is wrong.
    #[error("{0}")]
    Refused(Refusal),
}

/// All that is wrong in a fleet file.
#[derive(Clone, Debug)]
pub struct Refusal {
    origin: PathBuf,
    text: String,
    problems: Vec<Problem>,
}

impl Refusal {
    pub(super) fn new(origin: PathBuf, text: &str, problems: Vec<Problem>) -> Self {
        assert!(
            !problems.is_empty(),
            "a fleet without problems is not refused"
        );
        Refusal {
            origin,
            text: text.to_owned(),
            problems,
        }
    }

    /// The file, as it was named.
    #[must_use]
    pub fn origin(&self) -> &std::path::Path {
        &self.origin
    }

    /// All that is wrong, from the top of the file down; at least one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Line and column of a problem.
    #[must_use]
    pub fn place(&self, problem: &Problem) -> Place {
        Place::of(&self.text, problem.span.start)
    }

    /// The problems, each with its line of the file; in colour for a terminal.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        render(
            &self.origin.display().to_string(),
            &self.text,
            &self.problems,
            colour,
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}
