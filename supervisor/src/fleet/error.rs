//! Errors of reading fleet files and fault plans.

use super::problem::{Place, Problem, render};
use std::path::PathBuf;
use std::{fmt, io};
use thiserror::Error;

/// An error of reading a fleet file or a fault plan.
#[derive(Debug, Error)]
pub enum FleetError {
    /// The file cannot be read at all.
    #[error("cannot read the {what} {}: {source}; name a text file in TOML, as `examples/counter.toml`", path.display())]
    Unreadable {
        /// "fleet file" or "fault plan".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The answer of the system, or what the file is instead.
        source: io::Error,
    },
    /// The file was read, and something in it is wrong.
    #[error("{0}")]
    Refused(Refusal),
}

/// All problems of a fleet file or a fault plan.
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

    /// The problems, from the top of the file down; at least one.
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
