//! The role `role:compiler`: one component in, machine code out.
//!
//! Compiling takes what a component makes it take, so it happens in a process
//! of its own, with limits, that lives for one component. It opens no file:
//! the component is sealed memory at descriptor [`boot::COMPONENT`], and the machine
//! code goes to memory at descriptor [`boot::ARTIFACT`], which the supervisor reads
//! once this process has ended. It is memory rather than a pipe so that nobody
//! has to read while the compiler writes, and nothing half-written is taken
//! for all of it.

use crate::audit::{Refused, audit, one_line};
use crate::bindings::AgentPre;
use crate::capture::{self, Capture, Prepared};
use crate::{confine, determinism, imports};
use nix::sys::resource::{Resource, setrlimit};
use shm_protocol::boot;
use shm_protocol::host_process::{BeginError, die_with, inherit};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use thiserror::Error;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Most bytes of address space; it bounds what a hostile component can make the compiler allocate.
const ADDRESS_BYTES: u64 = 4 << 30;
/// Most seconds of processor time; the largest language runtimes take a sixth, optimised.
const PROCESSOR_SECONDS: u64 = 120;
/// Most bytes of machine code; the largest language runtimes make 40 MB.
const ARTIFACT_BYTES: u64 = 1 << 30;
/// Most descriptors: those above and the three that every process has.
const DESCRIPTORS: u64 = 16;

/// Why there is no machine code.
#[derive(Debug, Error)]
pub(crate) enum CompileError {
    /// The component cannot be an agent.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The process was not started as a compiler is.
    #[error(
        "a compiler takes `canonical` or `native` and a process number, not {0:?}; it is started by the supervisor only"
    )]
    Arguments(Vec<String>),
    /// The first steps failed.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// Reading, writing or limiting failed.
    #[error("the compiler cannot {what}: {source}")]
    System {
        /// What it was about to do.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The engine cannot be set up.
    #[error("wasmtime refuses this machine: {0:#}")]
    Engine(wasmtime::Error),
}

impl CompileError {
    /// 2 when the component is at fault, 70 otherwise.
    #[must_use]
    pub(crate) fn exit_code(&self) -> u8 {
        if matches!(self, CompileError::Refused(_)) {
            2
        } else {
            70
        }
    }
}

/// Runs a compiler from its arguments to its end.
///
/// # Errors
/// Why there is no machine code.
pub(crate) fn run(arguments: &[String]) -> Result<(), CompileError> {
    let (canonical_nan, supervisor) = parse(arguments)?;
    die_with(supervisor)?;
    let system = |what| move |source| CompileError::System { what, source };
    limit().map_err(|error| CompileError::System {
        what: "limit itself",
        source: error.into(),
    })?;
    let mut input = File::from(inherit(boot::COMPONENT)?);
    let mut output = File::from(inherit(boot::ARTIFACT)?);
    confine::compiler();
    let mut component = Vec::new();
    input
        .rewind()
        .and_then(|()| input.read_to_end(&mut component))
        .map_err(system("read the component"))?;
    let artifact = compile(&component, canonical_nan)?;
    output
        .write_all(&artifact)
        .map_err(system("write the machine code"))
}

/// Audits and compiles a component, with what it takes to capture the state of its agents. Gives an artifact.
///
/// # Errors
/// [`CompileError::Refused`] and [`CompileError::Engine`].
pub(crate) fn compile(component: &[u8], canonical_nan: bool) -> Result<Vec<u8>, CompileError> {
    audit(component)?;
    let engine = determinism::config(canonical_nan).and_then(|config| Engine::new(&config));
    let engine = engine.map_err(CompileError::Engine)?;
    let linker = imports::linker(&engine).map_err(CompileError::Engine)?;
    let said = |error: wasmtime::Error| one_line(&format!("{error:#}"));
    let machine_code = |component: &[u8]| {
        let compiled = Component::new(&engine, component).and_then(|compiled| {
            // Compares the types of imports and exports with the interface.
            AgentPre::new(linker.instantiate_pre(&compiled)?)?;
            compiled.serialize()
        });
        compiled.map_err(said)
    };
    // What cannot be read here cannot be read by the engine either, which explains it better.
    let prepared = capture::prepare(component)
        .unwrap_or_else(|error| Prepared::opaque(one_line(&error.to_string())));
    let mut capture = prepared.capture;
    if let Some(rewritten) = prepared.rewritten {
        match machine_code(&rewritten) {
            Ok(code) => return Ok(capture::wrap(&capture, &code)),
            // Either it is at fault without the addition too, which is told next, or it has no room for it.
            Err(error) => {
                let reason = format!("functions that give its variables cannot be added: {error}");
                capture = Capture::Opaque { reason };
            }
        }
    }
    let code = machine_code(component).map_err(Refused::Types)?;
    Ok(capture::wrap(&capture, &code))
}

fn parse(arguments: &[String]) -> Result<(bool, i32), CompileError> {
    let bad = || CompileError::Arguments(arguments.to_vec());
    let [nan, supervisor] = arguments else {
        return Err(bad());
    };
    let canonical_nan = match nan.as_str() {
        "canonical" => true,
        "native" => false,
        _ => return Err(bad()),
    };
    Ok((canonical_nan, supervisor.parse().map_err(|_| bad())?))
}

fn limit() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_AS, ADDRESS_BYTES, ADDRESS_BYTES)?;
    setrlimit(Resource::RLIMIT_DATA, ADDRESS_BYTES, ADDRESS_BYTES)?;
    setrlimit(Resource::RLIMIT_CPU, PROCESSOR_SECONDS, PROCESSOR_SECONDS)?;
    setrlimit(Resource::RLIMIT_FSIZE, ARTIFACT_BYTES, ARTIFACT_BYTES)?;
    setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_a_kind_of_nan_and_a_process() {
        let parse = |arguments: &[&str]| {
            parse(
                &arguments
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(parse(&["canonical", "7"]).expect("valid"), (true, 7));
        assert_eq!(parse(&["native", "7"]).expect("valid"), (false, 7));
        assert!(
            parse(&["native"]).is_err()
                && parse(&["other", "7"]).is_err()
                && parse(&["native", "x"]).is_err()
        );
    }

    #[test]
    fn compiling_twice_gives_the_same_code() {
        let component = include_bytes!("../../agents/built/counter.wasm");
        let compile = |canonical_nan| compile(component, canonical_nan).expect("it compiles");
        assert_eq!(compile(true), compile(true));
        assert_ne!(compile(true), compile(false));
    }
}
