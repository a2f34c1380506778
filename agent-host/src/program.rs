//! A compiled component, ready to make instances.

use crate::bindings::AgentIndices;
use crate::capture::{self, BadArtifact, Capture};
use crate::imports;
use crate::state::State;
use crate::sys;
use thiserror::Error;
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

/// A compiled component, ready to make instances.
pub(crate) struct Program {
    pub(crate) instances: InstancePre<State>,
    /// Where the functions are that are called.
    pub(crate) exports: AgentIndices,
    pub(crate) capture: Capture,
    /// Whether its agents may wait within a step, and so need a stack that can be left.
    pub(crate) waits: bool,
    /// Where the functions are that read and write variables, if there are any.
    pub(crate) accessors: Option<Accessors<ComponentExportIndex, ComponentExportIndex>>,
}

/// The functions that the compiler has added.
#[derive(Clone, Copy)]
pub(crate) struct Accessors<Get, Set> {
    pub(crate) get: Get,
    pub(crate) set: Set,
}

/// Why an artifact cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ProgramError {
    /// It is not of our compiler.
    #[error(transparent)]
    Artifact(#[from] BadArtifact),
    /// The engine does not take its machine code.
    #[error("{0:#}")]
    Engine(wasmtime::Error),
    /// It says that it has variables, and has no functions that give them.
    #[error("it does not export {0}")]
    Accessor(&'static str),
}

impl Program {
    /// Loads an artifact.
    ///
    /// # Errors
    /// When it is not one of ours.
    pub(crate) fn load(
        engine: &Engine,
        linker: &Linker<State>,
        artifact: &[u8],
    ) -> Result<Program, ProgramError> {
        let artifact = capture::unwrap(artifact)?;
        let component =
            sys::load_machine_code(engine, artifact.machine_code).map_err(ProgramError::Engine)?;
        let find = |name| {
            let index = component.get_export_index(None, name);
            index.ok_or(ProgramError::Accessor(name))
        };
        let accessors = match artifact.capture {
            Capture::Complete { globals } if globals > 0 => Some(Accessors {
                get: find(capture::GET)?,
                set: find(capture::SET)?,
            }),
            _ => None,
        };
        let instances = linker
            .instantiate_pre(&component)
            .map_err(ProgramError::Engine)?;
        let exports = AgentIndices::new(&instances).map_err(ProgramError::Engine)?;
        Ok(Program {
            instances,
            exports,
            waits: may_wait(&component, engine),
            capture: artifact.capture,
            accessors,
        })
    }

    /// Why the state of its agents cannot be captured, if that is so.
    pub(crate) fn opaque(&self) -> Option<&str> {
        match &self.capture {
            Capture::Opaque { reason } => Some(reason),
            Capture::Complete { .. } => None,
        }
    }

    /// How many variables its agents have outside of their memory.
    pub(crate) fn globals(&self) -> u32 {
        match &self.capture {
            Capture::Opaque { .. } => 0,
            Capture::Complete { globals } => *globals,
        }
    }
}

/// Whether a component imports the function that waits.
fn may_wait(component: &Component, engine: &Engine) -> bool {
    let ty = component.component_type();
    let host = ty.imports(engine).find(|(name, _)| *name == imports::HOST);
    match host.map(|(_, import)| import.ty) {
        Some(ComponentItem::ComponentInstance(host)) => {
            host.exports(engine).any(|(name, _)| name == imports::INFER)
        }
        _ => false,
    }
}
