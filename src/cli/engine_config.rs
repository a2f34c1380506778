//! The engines of this binary: wasmtime, ONNX Runtime and the folder of compiled agents.

use super::error::CliError;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use supervisor::host::HostProgram;
use supervisor::launch::Engines;
use supervisor::record::hex;

/// The environment variable that names another ONNX Runtime library.
pub(super) const LIBRARY_VARIABLE: &str = "LOCKSTEP_ORT_LIB";

/// The engines of this binary.
pub(super) fn engines() -> Result<Engines, CliError> {
    let program = HostProgram::current().map_err(|error| {
        CliError::machine(format!(
            "cannot open this program to start hosts from it: {error}; is /proc mounted?"
        ))
    })?;
    let settings = agent_host::config_fingerprint();
    Ok(Engines {
        program: Arc::new(program),
        lockstep: env!("CARGO_PKG_VERSION").to_owned(),
        wasmtime: pinned(agent_host::WASMTIME_VERSION, &settings),
        wasmtime_settings: settings,
        cache: supervisor::artifact::default_folder(),
        library: library()?,
    })
}

/// The wasmtime of a run, as its header pins it: version, architecture and a short digest of all settings, because fuel
/// and traps depend on all three.
fn pinned(version: &str, settings: &str) -> String {
    let digest = hex(&blake3::hash(settings.as_bytes()).as_bytes()[..4]);
    format!("{version} {} {digest}", std::env::consts::ARCH)
}

/// The library that the environment names, as an absolute path: hosts have another working directory.
fn library() -> Result<Option<String>, CliError> {
    let Some(named) = std::env::var_os(LIBRARY_VARIABLE).filter(|named| !named.is_empty()) else {
        return Ok(None);
    };
    let path = std::path::absolute(Path::new(&named)).unwrap_or_else(|_| PathBuf::from(&named));
    match path.into_os_string().into_string() {
        Ok(path) => Ok(Some(path)),
        Err(path) => Err(CliError::input(format!(
            "{LIBRARY_VARIABLE} names {path:?}, which is not UTF-8; rename it"
        ))),
    }
}
