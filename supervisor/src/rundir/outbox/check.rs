//! Checks an outbox against the journal: the lines of every tick, byte for byte.

use super::line::LineWriter;
use crate::record::RunId;
use crate::rundir::{RunDir, RunDirError};
use crate::sys::disk::{File, read_fully};
use shm_protocol::agent_to_supervisor::Outcome;
use shm_protocol::id::Tick;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The comparison of an outbox with the journal. The length of the file is that at its opening.
#[derive(Debug)]
pub(crate) struct OutboxCheck {
    path: PathBuf,
    file: Option<Arc<dyn File>>,
    file_bytes: u64,
    offset: u64,
    lines: u64,
    missing: u64,
    writer: LineWriter,
    expected: Vec<u8>,
    found: Vec<u8>,
}

impl OutboxCheck {
    /// Opens the outbox of a run; one that is not there is empty.
    pub(crate) fn open(run: &RunDir) -> Result<OutboxCheck, RunDirError> {
        let path = run.outbox();
        let opened = run
            .disk()
            .open_read(&path)
            .and_then(|file| file.bytes().map(|bytes| (Some(file), bytes)));
        let (file, file_bytes) = match opened {
            Ok(opened) => opened,
            Err(source) if source.kind() == io::ErrorKind::NotFound => (None, 0),
            Err(source) => {
                return Err(RunDirError::Io {
                    action: "read",
                    path,
                    source,
                });
            }
        };
        Ok(OutboxCheck {
            path,
            file,
            file_bytes,
            offset: 0,
            lines: 0,
            missing: 0,
            writer: LineWriter::new(RunId([0; 16]), Vec::new()),
            expected: Vec::new(),
            found: Vec::new(),
        })
    }

    /// Sets the run that it must be the outbox of.
    pub(crate) fn begin(&mut self, run: RunId, agents: Vec<String>) {
        self.writer = LineWriter::new(run, agents);
    }

    /// Compares the lines of one tick.
    pub(crate) fn tick(&mut self, tick: Tick, outcomes: &[Outcome]) -> Result<(), RunDirError> {
        self.expected.clear();
        self.writer.write_tick(tick, outcomes, &mut self.expected);
        let available = usize::try_from(self.file_bytes - self.offset).unwrap_or(usize::MAX);
        self.found.resize(self.expected.len().min(available), 0);
        if let Some(file) = &self.file {
            let read = read_fully(&**file, &mut self.found, self.offset)
                .map_err(RunDirError::io("read", &self.path))?;
            self.found.truncate(read);
        }
        let differs = self
            .found
            .iter()
            .zip(&self.expected)
            .position(|(found, expected)| found != expected);
        if let Some(position) = differs {
            let line = self.lines + 1 + count_lines(&self.expected[..position]);
            let reason = format!(
                "tick {tick} emitted something else: the byte is {:#04x}, not {:#04x}",
                self.found[position], self.expected[position]
            );
            return Err(self.wrong(self.offset + position as u64, line, reason));
        }
        let (whole, all) = (count_lines(&self.found), count_lines(&self.expected));
        self.offset += self.found.len() as u64;
        self.lines += whole;
        self.missing += all - whole;
        Ok(())
    }

    /// Ends the comparison and gives the lines that were there and the lines that were missing.
    pub(crate) fn finish(self, sealed: bool) -> Result<(u64, u64), RunDirError> {
        if self.offset < self.file_bytes {
            let reason = "it has lines of ticks that are not in the journal".to_owned();
            return Err(self.wrong(self.offset, self.lines + 1, reason));
        }
        if sealed && self.missing > 0 {
            let reason = format!("the run is sealed, and {} lines are missing", self.missing);
            return Err(self.wrong(self.offset, self.lines + 1, reason));
        }
        Ok((self.lines, self.missing))
    }

    fn wrong(&self, offset: u64, line: u64, reason: String) -> RunDirError {
        RunDirError::Outbox {
            path: self.path.clone(),
            offset,
            line,
            reason,
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}
