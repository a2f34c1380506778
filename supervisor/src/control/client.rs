//! A change is asked for from another process, over a socket in the abstract
//! namespace that is named by the run directory: there is no file to be left
//! behind, and moving the directory changes nothing.

use crate::error::{ErrorKind, RunError};
use crate::rundir::{RunDir, RunDirError};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};

/// Most bytes of one line, either way: a path, and words around it.
pub(crate) const LINE_BYTES: u64 = 64 << 10;

/// What somebody wants of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    /// The name of the model.
    pub model: String,
    /// What is to become of it.
    pub action: Action,
}

/// What is to become of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Action {
    /// It is another version.
    Replace {
        /// Its ONNX file or its folder, as an absolute path.
        file: PathBuf,
        /// What it is called.
        version: String,
    },
    /// It answers no requests.
    Unload,
    /// It answers requests again, as the version that it was last.
    Load,
}

/// What a run says to a wish: any number of stages, then one of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum ChangeResponse {
    /// What is being done now.
    Stage(String),
    /// It is done, and as durable as the run promises.
    Done(AppliedChange),
    /// It cannot be.
    Refused {
        /// Whose fault it is.
        kind: ErrorKind,
        /// Why.
        message: String,
    },
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppliedChange {
    /// The first tick in which it holds.
    pub from: u64,
    /// Who runs the model then; none if it is unloaded.
    pub provider: Option<String>,
    /// Providers that were asked for and refused, each with its reason.
    pub refused: Vec<(String, String)>,
}

/// Asks the run in a directory for a change, and waits until it is made.
///
/// # Errors
/// [`RunError::NobodyRuns`], [`RunError::ChangeRefused`] with the reason, or when the run ends first.
pub fn request_change(
    dir: &Path,
    wish: &ChangeRequest,
    stage: &mut dyn FnMut(&str),
) -> Result<AppliedChange, RunError> {
    let nobody = || match RunDir::read(dir).and_then(RunDir::locked) {
        Err(RunDirError::InUse { .. }) => RunError::NotListening {
            dir: dir.to_path_buf(),
        },
        _ => RunError::NobodyRuns {
            dir: dir.to_path_buf(),
        },
    };
    let address = address(dir).map_err(|_| nobody())?;
    let stream = UnixStream::connect_addr(&address).map_err(|_| nobody())?;
    let gone = |_: io::Error| RunError::EndedFirst {
        dir: dir.to_path_buf(),
    };
    stage("asking the run");
    write_line(&stream, wish).map_err(gone)?;
    let mut lines = BufReader::new(&stream);
    loop {
        match read_line(&mut lines).map_err(gone)? {
            ChangeResponse::Stage(what) => stage(&what),
            ChangeResponse::Done(made) => return Ok(made),
            ChangeResponse::Refused { kind, message } => {
                return Err(RunError::ChangeRefused { kind, message });
            }
        }
    }
}

/// Where the run in a directory can be asked.
pub(crate) fn address(dir: &Path) -> io::Result<SocketAddr> {
    let folder = fs::metadata(dir)?;
    let name = format!("lockstep/{:x}/{:x}", folder.dev(), folder.ino());
    SocketAddr::from_abstract_name(name)
}

/// Writes one value as a line.
pub(crate) fn write_line<T: Serialize>(mut stream: &UnixStream, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Reads one line as a value.
pub(crate) fn read_line<T: for<'de> Deserialize<'de>>(
    lines: &mut BufReader<&UnixStream>,
) -> io::Result<T> {
    let mut line = Vec::new();
    lines.take(LINE_BYTES).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}
