//! The command line: a contract, because scripts depend on it.
//!
//! Each command is a file of its own; `error` is the one place where errors
//! become messages and exit codes.

mod arguments;
mod bounds;
mod builtin;
mod chaos;
mod check;
mod clock;
mod conversation;
mod demo;
mod demo_view;
mod diff;
mod doctor;
mod engine_config;
mod error;
mod generate;
mod infer;
mod inspect;
mod model;
mod output;
mod progress;
mod read_file;
mod replay;
mod resume;
mod run;
mod run_directory;
mod run_report;
mod stop_signals;
mod verify;
mod warnings;

use arguments::{Cli, CliCommand};
use clap::Parser;
use clap::error::{ContextKind, ContextValue};
use std::process::ExitCode;

/// Parses the arguments and runs the command.
pub(crate) fn main() -> ExitCode {
    let arguments = Cli::try_parse().unwrap_or_else(|error| with_new_name(error).exit());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_max_level(arguments.log_level())
        .without_time()
        .with_target(false)
        .init();
    let result = match &arguments.command {
        CliCommand::Demo(command) => demo::demo(command),
        CliCommand::Run(command) => run::run(command),
        CliCommand::Resume(command) => resume::resume(command),
        CliCommand::Model(command) => model::model(command),
        CliCommand::Change(_) => Err(model::former_change()),
        CliCommand::Replay(command) => replay::replay(command),
        CliCommand::Verify(command) => verify::verify(command),
        CliCommand::Inspect(command) => inspect::inspect(command),
        CliCommand::Diff(command) => diff::diff(command),
        CliCommand::Chaos(command) => chaos::chaos(command),
        CliCommand::Infer(command) => infer::infer(command),
        CliCommand::Generate(command) => generate::generate(command),
        CliCommand::Check(command) => check::check(command),
        CliCommand::Doctor(command) => doctor::doctor(command),
    };
    error::exit(result)
}

/// Options with the names of former versions, and the names that they have now.
const RENAMED: [(&str, &str); 5] = [
    ("--degrade", "--allow-next-provider"),
    ("--from-genesis", "--ignore-checkpoints"),
    ("--intra-threads", "--intra-op-threads"),
    ("--context", "--context-length"),
    ("--phases", "--points"),
];

/// The error, which names the new option if it is about a renamed one.
fn with_new_name(mut error: clap::Error) -> clap::Error {
    let new = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) => RENAMED.iter().find(|(old, _)| old == option),
        _ => None,
    };
    if let Some((_, new)) = new {
        let name = ContextValue::String((*new).to_owned());
        error.insert(ContextKind::SuggestedArg, name);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_option_is_refused_with_its_new_name() {
        let commands: [&[&str]; 5] = [
            &["resume", "run", "--degrade"],
            &["resume", "run", "--from-genesis"],
            &["infer", "model.onnx", "--intra-threads", "2"],
            &["generate", "model", "--prompt", "a", "--context", "9"],
            &["chaos", "--phases"],
        ];
        for (arguments, (_, new)) in commands.into_iter().zip(RENAMED) {
            let line = ["lockstep"].iter().chain(arguments);
            let error = Cli::try_parse_from(line).expect_err("it has another name");
            let told = with_new_name(error).to_string();
            assert!(told.contains(&format!("'{new}'")), "{told}");
        }
    }
}
