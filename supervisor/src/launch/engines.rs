//! The engines of this binary.

use crate::error::RunError;
use crate::host::HostProgram;
use crate::record::RunHeader;
use std::path::PathBuf;
use std::sync::Arc;

/// The engines of this binary, and the program that starts them.
#[derive(Clone, Debug)]
pub struct Engines {
    /// The binary that knows the roles.
    pub program: Arc<HostProgram>,
    /// Version of Lockstep.
    pub lockstep: String,
    /// Version of wasmtime.
    pub wasmtime: String,
    /// The settings of wasmtime that machine code depends on, as text.
    pub wasmtime_settings: String,
    /// The folder of the artifact cache; without it nothing is cached.
    pub cache: Option<PathBuf>,
    /// An ONNX Runtime library to use instead of the embedded one.
    pub library: Option<String>,
}

/// Refuses a run of another build: fuel and traps depend on the build.
pub(crate) fn check_build(header: &RunHeader, engines: &Engines) -> Result<(), RunError> {
    let pairs = [
        ("lockstep", &header.lockstep, &engines.lockstep),
        ("wasmtime", &header.wasmtime, &engines.wasmtime),
    ];
    for (what, recorded, present) in pairs {
        if recorded != present {
            return Err(RunError::OtherBuild {
                what,
                recorded: recorded.clone(),
                present: present.clone(),
            });
        }
    }
    Ok(())
}
