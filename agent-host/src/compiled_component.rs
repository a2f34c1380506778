//! A compiled component, loaded and ready to be instantiated.

use crate::capture::{self, ArtifactDecodeError, StateCapture};
use crate::imports;
use crate::interface_version::InterfaceVersion;
use crate::store_data::StoreData;
use crate::sys;
use thiserror::Error;
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

/// A compiled component, loaded and ready to be instantiated.
pub(crate) struct CompiledComponent {
    pub(crate) instance_pre: InstancePre<StoreData>,
    /// The version of the interface that it was built against.
    pub(crate) interface: InterfaceVersion,
    /// Index of `step`.
    pub(crate) step: ComponentExportIndex,
    capture: StateCapture,
    /// True if its agents can await within a step, and so need a stack that can be suspended.
    pub(crate) can_await: bool,
    /// Indices of the functions that read and write globals, if there are globals.
    pub(crate) accessors: Option<GlobalAccessors<ComponentExportIndex, ComponentExportIndex>>,
}

/// The functions that the compiler has added to read and write globals.
#[derive(Clone, Copy)]
pub(crate) struct GlobalAccessors<Get, Set> {
    pub(crate) get: Get,
    pub(crate) set: Set,
}

/// An artifact that cannot be loaded.
#[derive(Debug, Error)]
pub(crate) enum ComponentLoadError {
    /// The bytes are not an artifact of our compiler.
    #[error(transparent)]
    Artifact(#[from] ArtifactDecodeError),
    /// The engine refuses the machine code.
    #[error("{0:#}")]
    Engine(wasmtime::Error),
    /// The component lacks a function that our compiler has found in it or added to it.
    #[error("the component does not export {0}")]
    Export(&'static str),
}

impl CompiledComponent {
    /// Loads an artifact.
    ///
    /// # Errors
    /// When the artifact is not one of our compiler for this engine.
    pub(crate) fn load(
        engine: &Engine,
        linker: &Linker<StoreData>,
        artifact: &[u8],
    ) -> Result<CompiledComponent, ComponentLoadError> {
        let artifact = capture::decode_artifact(artifact)?;
        let component = sys::load_machine_code(engine, artifact.machine_code)
            .map_err(ComponentLoadError::Engine)?;
        let find = |name| {
            let index = component.get_export_index(None, name);
            index.ok_or(ComponentLoadError::Export(name))
        };
        let accessors = match artifact.capture {
            StateCapture::Complete { globals } if globals > 0 => Some(GlobalAccessors {
                get: find(capture::GET_GLOBAL)?,
                set: find(capture::SET_GLOBAL)?,
            }),
            _ => None,
        };
        let instance_pre = linker
            .instantiate_pre(&component)
            .map_err(ComponentLoadError::Engine)?;
        let imports = component.component_type();
        let imports = imports.imports(engine).map(|(name, _)| name);
        let interface = InterfaceVersion::of_imports(imports);
        Ok(CompiledComponent {
            instance_pre,
            interface,
            step: find("step")?,
            can_await: imports_infer(&component, engine, interface),
            capture: artifact.capture,
            accessors,
        })
    }

    /// The reason why the state of its agents cannot be captured, if it cannot.
    pub(crate) fn opaque(&self) -> Option<&str> {
        match &self.capture {
            StateCapture::Opaque { reason } => Some(reason),
            StateCapture::Complete { .. } => None,
        }
    }

    /// Number of mutable globals that are part of the state of its agents.
    pub(crate) fn globals(&self) -> u32 {
        match &self.capture {
            StateCapture::Opaque { .. } => 0,
            StateCapture::Complete { globals } => *globals,
        }
    }
}

/// True if a component imports the function that awaits.
fn imports_infer(component: &Component, engine: &Engine, interface: InterfaceVersion) -> bool {
    let ty = component.component_type();
    let host = ty
        .imports(engine)
        .find(|(name, _)| *name == interface.host_interface());
    match host.map(|(_, import)| import.ty) {
        Some(ComponentItem::ComponentInstance(host)) => {
            let mut functions = host.exports(engine);
            functions.any(|(name, _)| name == imports::INFER_FUNCTION)
        }
        _ => false,
    }
}
