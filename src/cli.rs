//! The command line: a contract, because scripts depend on it.
//!
//! Each command is a file of its own; `edge` is the one place where errors
//! become messages and exit codes.

mod arguments;
mod bounds;
mod builtin;
mod change;
mod chaos;
mod check;
mod conversation;
mod demo;
mod diff;
mod doctor;
mod edge;
mod engines;
mod file;
mod generate;
mod infer;
mod inspect;
mod output;
mod picture;
mod place;
mod progress;
mod replay;
mod resume;
mod run;
mod verify;
mod warnings;

use arguments::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

/// Reads the arguments and carries the command out.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_max_level(arguments.log_level())
        .without_time()
        .with_target(false)
        .init();
    let done = match &arguments.command {
        Command::Demo(command) => demo::demo(command),
        Command::Run(command) => run::run(command),
        Command::Resume(command) => resume::resume(command),
        Command::Change(command) => change::change(command),
        Command::Replay(command) => replay::replay(command),
        Command::Verify(command) => verify::verify(command),
        Command::Inspect(command) => inspect::inspect(command),
        Command::Diff(command) => diff::diff(command),
        Command::Chaos(command) => chaos::chaos(command),
        Command::Infer(command) => infer::infer(command),
        Command::Generate(command) => generate::generate(command),
        Command::Check(command) => check::check(command),
        Command::Doctor(command) => doctor::doctor(command),
    };
    edge::exit(done)
}
