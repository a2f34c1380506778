//! The client of the control socket: requests a model change from another process. The socket is in the abstract
//! namespace and named by the run directory: no file is left behind, and moving the directory changes nothing.

use super::protocol::{AppliedChange, ChangeRequest, ChangeResponse, LINE_BYTES};
use crate::error::RunError;
use crate::rundir::{RunDir, RunDirError};
use crate::sys::connect_by_name;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Requests a change from the run in a directory, and waits until it is committed.
///
/// # Errors
/// [`RunError::NobodyRuns`], [`RunError::ChangeRefused`] with the reason, or when the run ends first.
pub fn request_change(
    dir: &Path,
    request: &ChangeRequest,
    stage: &mut dyn FnMut(&str),
) -> Result<AppliedChange, RunError> {
    let not_running = || match RunDir::read(dir).and_then(RunDir::locked) {
        Err(RunDirError::InUse { .. }) => RunError::NotListening {
            dir: dir.to_path_buf(),
        },
        _ => RunError::NobodyRuns {
            dir: dir.to_path_buf(),
        },
    };
    let stream = socket_name(dir)
        .and_then(|name| connect_by_name(&name))
        .map_err(|_| not_running())?;
    let ended = |_: io::Error| RunError::EndedFirst {
        dir: dir.to_path_buf(),
    };
    stage("sending the request");
    write_line(&stream, request).map_err(ended)?;
    let mut lines = BufReader::new(&stream);
    loop {
        match read_line(&mut lines).map_err(ended)? {
            ChangeResponse::Stage(what) => stage(&what),
            ChangeResponse::Done(change) => return Ok(change),
            ChangeResponse::Refused { kind, message } => {
                return Err(RunError::ChangeRefused { kind, message });
            }
        }
    }
}

/// The name of the control socket of a run directory.
pub(crate) fn socket_name(dir: &Path) -> io::Result<String> {
    let folder = fs::metadata(dir)?;
    Ok(format!("lockstep/{:x}/{:x}", folder.dev(), folder.ino()))
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
