//! Errors of commands, and the one place where they become a message and an exit code.

use shm_protocol::exit_code;
use std::fmt::Display;
use std::io;
use std::process::ExitCode;
use supervisor::error::{ErrorKind, RunError};
use supervisor::fleet::{FleetError, Problem};
use supervisor::journal::JournalError;
use supervisor::models::ModelFilesError;
use supervisor::rundir::RunDirError;

/// The result of a command that ran to its end.
pub(super) enum ExitStatus {
    /// All is well.
    Success,
    /// A negative result, which standard output has reported.
    Negative,
}

/// The error that ends a command: its class and its message.
pub(super) struct CliError {
    kind: ErrorKind,
    message: String,
    /// Every problem by itself, if the message holds more than one.
    problems: Vec<String>,
}

impl CliError {
    fn new(kind: ErrorKind, message: impl Display) -> CliError {
        CliError {
            kind,
            message: message.to_string(),
            problems: Vec::new(),
        }
    }

    /// A negative result, with its message.
    pub(super) fn negative(message: impl Display) -> CliError {
        CliError::new(ErrorKind::Negative, message)
    }

    /// Bad input of the user.
    pub(super) fn input(message: impl Display) -> CliError {
        CliError::new(ErrorKind::BadInput, message)
    }

    /// A failed operation on a file. The message says what and where, and need not repeat the cause.
    pub(super) fn io(message: impl Display, error: &io::Error) -> CliError {
        CliError::new(ErrorKind::of_io(error), format!("{message}: {error}"))
    }

    /// A failure of the machine, as of memory or processes.
    pub(super) fn machine(message: impl Display) -> CliError {
        CliError::new(ErrorKind::Machine, message)
    }

    /// An internal error.
    pub(super) fn internal(message: impl Display) -> CliError {
        CliError::new(ErrorKind::Internal, message)
    }

    /// The user ended a command before it had a result.
    pub(super) fn stopped(message: impl Display) -> CliError {
        CliError::new(ErrorKind::Stopped, message)
    }

    /// The message.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Every problem by itself.
    pub(super) fn problems(&self) -> &[String] {
        if self.problems.is_empty() {
            std::slice::from_ref(&self.message)
        } else {
            &self.problems
        }
    }

    /// True if the user has to change something.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::BadInput | ErrorKind::UnmetDemand | ErrorKind::Negative
        )
    }

    /// True if the user ended the command.
    pub(super) fn is_stop(&self) -> bool {
        self.kind == ErrorKind::Stopped
    }
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> CliError {
        match error {
            RunError::Fleet(error) => error.into(),
            error => CliError::new(error.kind(), error),
        }
    }
}

impl From<FleetError> for CliError {
    fn from(error: FleetError) -> CliError {
        let FleetError::Refused(refusal) = &error else {
            let error = RunError::from(error);
            return CliError::new(error.kind(), error);
        };
        let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
        let alone = |problem: &Problem| {
            let (origin, place) = (refusal.origin().display(), refusal.place(problem));
            let (line, column) = (place.line, place.column);
            format!(
                "{origin}:{line}:{column}: {}; {}",
                problem.message, problem.help
            )
        };
        CliError {
            problems: refusal.problems().iter().map(alone).collect(),
            ..CliError::input(refusal.render(is_terminal))
        }
    }
}

impl From<RunDirError> for CliError {
    fn from(error: RunDirError) -> CliError {
        RunError::from(error).into()
    }
}

impl From<JournalError> for CliError {
    fn from(error: JournalError) -> CliError {
        RunError::from(error).into()
    }
}

impl From<ModelFilesError> for CliError {
    fn from(error: ModelFilesError) -> CliError {
        RunError::from(error).into()
    }
}

/// Writes the message of an error to standard error and gives the exit code.
pub(super) fn exit(result: Result<ExitStatus, CliError>) -> ExitCode {
    ExitCode::from(match result {
        Ok(ExitStatus::Success) => exit_code::SUCCESS,
        Ok(ExitStatus::Negative) => exit_code::NEGATIVE,
        Err(error) => {
            report(&error);
            error.kind.exit_code()
        }
    })
}

#[allow(clippy::print_stderr, reason = "the place where messages are written")]
fn report(error: &CliError) {
    let message = error.message.trim_end();
    if message.starts_with("error") || error.is_stop() {
        eprintln!("{message}");
    } else {
        eprintln!("error: {message}");
    }
}
