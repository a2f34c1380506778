//! The role `role:compiler`: reads one component and writes machine code.
//!
//! A component determines how much time and memory its compilation takes, so each is compiled in a process of its own,
//! with limits. The process opens no file: the component is sealed memory at descriptor [`boot::COMPONENT`], and the
//! artifact goes to memory at descriptor [`boot::ARTIFACT`], which the supervisor reads once the process has ended.
//! With memory rather than a pipe, nobody has to read while the compiler writes, and an incomplete artifact is never
//! used.

use crate::bindings::{self, v0_1};
use crate::capture::{self, PreparedComponent, StateCapture};
use crate::component_check::{ComponentError, check_component, one_line};
use crate::interface_version::InterfaceVersion;
use crate::store_data::StoreData;
use crate::{confine, determinism, imports};
use shm_protocol::host_process::{BeginError, die_with, inherit};
use shm_protocol::sys::own_process::{ResourceLimit, set_limits};
use shm_protocol::{boot, exit_code};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use thiserror::Error;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

/// Maximum bytes of address space. Bounds the memory that a hostile component can make the compiler allocate.
const MAX_ADDRESS_BYTES: u64 = 4 << 30;
/// Maximum seconds of processor time. The largest language runtimes take a sixth in an optimised build.
const MAX_PROCESSOR_SECONDS: u64 = 120;
/// Maximum bytes of the artifact. The largest language runtimes have 40 MB of machine code.
const MAX_ARTIFACT_BYTES: u64 = 1 << 30;
/// Maximum number of descriptors. The process has five: component, artifact, and the three that every process has.
const MAX_DESCRIPTORS: u64 = 16;
/// All limits of a compiler.
const LIMITS: [(ResourceLimit, u64); 6] = [
    (ResourceLimit::AddressSpace, MAX_ADDRESS_BYTES),
    (ResourceLimit::Data, MAX_ADDRESS_BYTES),
    (ResourceLimit::ProcessorSeconds, MAX_PROCESSOR_SECONDS),
    (ResourceLimit::FileBytes, MAX_ARTIFACT_BYTES),
    (ResourceLimit::Descriptors, MAX_DESCRIPTORS),
    (ResourceLimit::CoreBytes, 0),
];

/// An error that ends a compiler.
#[derive(Debug, Error)]
pub(crate) enum CompileError {
    /// The component cannot be an agent.
    #[error(transparent)]
    ComponentError(#[from] ComponentError),
    /// The process was not started in the way in which a supervisor starts a compiler.
    #[error(
        "a compiler takes `canonical` or `native` and a process number, not {0:?}; it is started by the supervisor only"
    )]
    Arguments(Vec<String>),
    /// The process could not attach to its supervisor.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// Reading, writing or limiting failed.
    #[error("the compiler cannot {what}: {source}")]
    System {
        /// The failed operation.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The engine cannot be set up.
    #[error("wasmtime refuses this machine: {0:#}")]
    Engine(wasmtime::Error),
}

impl CompileError {
    /// The exit code of a compiler that ends with this error.
    #[must_use]
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            CompileError::ComponentError(_) => exit_code::BAD_INPUT,
            // Only a component with too much machine code exceeds the limit on the size of the file.
            CompileError::System { source, .. } if source.kind() != io::ErrorKind::FileTooLarge => {
                exit_code::MACHINE
            }
            _ => exit_code::INTERNAL,
        }
    }
}

/// Runs a compiler from its arguments to its end.
///
/// # Errors
/// The reason why there is no machine code.
pub(crate) fn run(arguments: &[String]) -> Result<(), CompileError> {
    let (canonical_nan, supervisor) = parse(arguments)?;
    die_with(supervisor)?;
    let system = |what| move |source| CompileError::System { what, source };
    set_limits(&LIMITS).map_err(system("limit its own resources"))?;
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

/// Checks a component, adds access to its state, and compiles it to an artifact.
///
/// # Errors
/// [`CompileError::ComponentError`] and [`CompileError::Engine`].
pub(crate) fn compile(component: &[u8], canonical_nan: bool) -> Result<Vec<u8>, CompileError> {
    check_component(component)?;
    let engine = determinism::config(canonical_nan).and_then(|config| Engine::new(&config));
    let engine = engine.map_err(CompileError::Engine)?;
    let linker = imports::linker(&engine).map_err(CompileError::Engine)?;
    let message = |error: wasmtime::Error| one_line(&format!("{error:#}"));
    let machine_code = |component: &[u8]| {
        let compiled = Component::new(&engine, component).and_then(|compiled| {
            check_types(&engine, &linker, &compiled)?;
            compiled.serialize()
        });
        compiled.map_err(message)
    };
    // A component that cannot be parsed here is refused by the engine too, with a better message.
    let prepared = capture::prepare(component)
        .unwrap_or_else(|error| PreparedComponent::opaque(one_line(&error.to_string())));
    let mut capture = prepared.capture;
    if let Some(rewritten) = prepared.rewritten {
        match machine_code(&rewritten) {
            Ok(code) => return Ok(capture::encode_artifact(&capture, &code)),
            // Either the component itself is not valid, which is found below, or the addition does not fit it.
            Err(error) => {
                let reason = format!("functions that access its globals cannot be added: {error}");
                capture = StateCapture::Opaque { reason };
            }
        }
    }
    let code = machine_code(component).map_err(ComponentError::Types)?;
    Ok(capture::encode_artifact(&capture, &code))
}

/// Checks the types of imports and exports against the version of the interface that the component imports.
fn check_types(
    engine: &Engine,
    linker: &Linker<StoreData>,
    component: &Component,
) -> wasmtime::Result<()> {
    let instance_pre = linker.instantiate_pre(component)?;
    let imports = component.component_type();
    let imports = imports.imports(engine).map(|(name, _)| name);
    match InterfaceVersion::of_imports(imports) {
        InterfaceVersion::V0_1 => v0_1::AgentPre::new(instance_pre).map(drop),
        InterfaceVersion::V0_2 => bindings::AgentPre::new(instance_pre).map(drop),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_a_nan_mode_and_a_process() {
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
