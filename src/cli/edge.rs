//! The edge: where errors become messages and exit codes, once.

use super::output::line;
use serde_json::json;
use std::fmt::Display;
use std::process::ExitCode;
use supervisor::error::{ErrorKind, RunError};
use supervisor::fleet::{FleetError, Problem};
use supervisor::journal::JournalError;
use supervisor::rundir::RunDirError;

/// How a command ended.
pub(super) enum Done {
    /// Fine.
    Fine,
    /// The question asked was answered no; standard output has said so.
    No,
}

/// What ends a command: whose fault it is, and what is said.
pub(super) struct Trouble {
    kind: ErrorKind,
    message: String,
    /// All that is wrong, each alone, if it is more than what is said.
    problems: Vec<String>,
}

impl Trouble {
    /// Bad input of the user.
    pub(super) fn input(message: impl Display) -> Trouble {
        Trouble {
            kind: ErrorKind::BadInput,
            message: message.to_string(),
            problems: Vec::new(),
        }
    }

    /// What is said.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// All that is wrong, each alone.
    pub(super) fn problems(&self) -> &[String] {
        if self.problems.is_empty() {
            std::slice::from_ref(&self.message)
        } else {
            &self.problems
        }
    }

    /// Whether it is for the user to mend.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::BadInput | ErrorKind::UnmetDemand | ErrorKind::Negative
        )
    }

    /// Says in JSON, if that was asked for, that somebody ended a run before its first tick.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn told(self, as_json: bool) -> Result<Trouble, Trouble> {
        if as_json && self.kind == ErrorKind::Stopped {
            line(json!({ "ticks": 0, "stopped": true }))?;
        }
        Ok(self)
    }

    /// Somebody ended a command before it could say anything.
    pub(super) fn stopped(message: impl Display) -> Trouble {
        Trouble {
            kind: ErrorKind::Stopped,
            message: message.to_string(),
            problems: Vec::new(),
        }
    }

    /// Something that the system refuses and that is nobody's input.
    pub(super) fn system(message: impl Display) -> Trouble {
        Trouble {
            kind: ErrorKind::Internal,
            message: message.to_string(),
            problems: Vec::new(),
        }
    }
}

impl From<RunError> for Trouble {
    fn from(error: RunError) -> Trouble {
        match error {
            RunError::Fleet(error) => error.into(),
            error => Trouble {
                kind: error.kind(),
                message: error.to_string(),
                problems: Vec::new(),
            },
        }
    }
}

impl From<FleetError> for Trouble {
    fn from(error: FleetError) -> Trouble {
        let FleetError::Refused(refusal) = &error else {
            return Trouble::input(error);
        };
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let alone = |problem: &Problem| {
            let (origin, place) = (refusal.origin().display(), refusal.place(problem));
            let (line, column) = (place.line, place.column);
            format!(
                "{origin}:{line}:{column}: {}; {}",
                problem.message, problem.help
            )
        };
        Trouble {
            problems: refusal.problems().iter().map(alone).collect(),
            ..Trouble::input(refusal.render(is_terminal))
        }
    }
}

impl From<RunDirError> for Trouble {
    fn from(error: RunDirError) -> Trouble {
        RunError::from(error).into()
    }
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Trouble {
        RunError::from(error).into()
    }
}

/// Says what there is to say and gives the exit code of the contract.
pub(super) fn exit(done: Result<Done, Trouble>) -> ExitCode {
    let trouble = match done {
        Ok(Done::Fine) => return ExitCode::SUCCESS,
        Ok(Done::No) => return ExitCode::from(1),
        Err(trouble) => trouble,
    };
    say(&trouble);
    ExitCode::from(match trouble.kind {
        ErrorKind::Stopped => 0,
        ErrorKind::Negative => 1,
        ErrorKind::BadInput => 2,
        ErrorKind::UnmetDemand => 3,
        ErrorKind::InUse => 4,
        ErrorKind::Machine => 5,
        ErrorKind::Internal => 70,
    })
}

#[allow(clippy::print_stderr, reason = "this is where messages are said")]
fn say(trouble: &Trouble) {
    let message = trouble.message.trim_end();
    if message.starts_with("error") || trouble.kind == ErrorKind::Stopped {
        eprintln!("{message}");
    } else {
        eprintln!("error: {message}");
    }
}
