//! From a component to the machine code that agent hosts load.
//!
//! [`Compiler::artifact`] looks into the cache first and starts a compiler
//! process if it must. The supervisor itself knows nothing of WebAssembly: to
//! it, both are bytes, and the compiler is a program with a role.

mod cache;
mod compiler;

use cache::{ArtifactCache, ArtifactKey};
use std::io;
use std::path::PathBuf;
use thiserror::Error;

pub use cache::default_folder;

/// Makes machine code out of components.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// The program that has the role `role:compiler`, as in `/proc/self/fd/9`. A descriptor must not be one of those
    /// that the compiler gets in their place, [`shm_protocol::boot::COMPONENT`] and [`shm_protocol::boot::ARTIFACT`].
    pub program: PathBuf,
    /// The folder in which machine code is cached, if any; see [`default_folder`].
    pub cache: Option<PathBuf>,
    /// True if NaN results of floating-point operations get canonical bits.
    pub canonical_nan: bool,
    /// The version of wasmtime in the program.
    pub wasmtime_version: String,
    /// Every other setting that the machine code depends on, as text.
    pub config_fingerprint: String,
}

/// An error of compilation.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages name every field")]
pub enum ArtifactError {
    /// The component cannot be an agent.
    #[error("{reason}")]
    Refused { reason: String },
    /// The compiler did not come to an end of its own.
    #[error("compilation exceeded its limits or crashed: {ending}{said}")]
    Failed { ending: String, said: String },
    /// The system did not let the compiler run.
    #[error("cannot {action} the compiler: {source}")]
    System {
        action: &'static str,
        source: io::Error,
    },
}

impl Compiler {
    /// The machine code of a component.
    ///
    /// An undamaged cached artifact is used, a damaged one replaced. A cache that cannot be written costs time only,
    /// and a warning.
    ///
    /// # Errors
    /// [`ArtifactError::Refused`] when the component cannot be an agent; otherwise when the compiler fails.
    pub fn artifact(&self, component: &[u8]) -> Result<Vec<u8>, ArtifactError> {
        let Some(folder) = &self.cache else {
            return self.compile(component);
        };
        let cache = ArtifactCache::new(folder);
        let nan = if self.canonical_nan {
            "canonical"
        } else {
            "native"
        };
        let key = ArtifactKey::new(
            component,
            &[&self.wasmtime_version, nan, &self.config_fingerprint],
        );
        if let Some(artifact) = cache.get(&key) {
            return Ok(artifact);
        }
        let artifact = self.compile(component)?;
        if let Err(error) = cache.put(&key, &artifact) {
            tracing::warn!(folder = %folder.display(), %error, "cannot write the cache of machine code; every start compiles the agents again");
        }
        Ok(artifact)
    }
}
