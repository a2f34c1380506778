//! The outbox of a resumed run: whole up to the resume point, or refused.
//!
//! A resume from a checkpoint makes only the lines behind it; the lines before it must be in the file already. When
//! they are not, they are made again from the journal, from its first tick on. The whole journal is read before
//! anything is written: lines that it cannot give back are not cut.

use super::run_store::read_journal;
use crate::error::RunError;
use crate::journal::{JournalError, JournalMark, JournalReader};
use crate::record::RunId;
use crate::rundir::{Outbox, OutboxMark, RunDir, RunDirError, RunEvent};
use shm_protocol::id::Tick;
use std::io;

/// Bytes of lines that are written at a time.
const RELEASE_BYTES: usize = 1 << 20;

/// The point at which a run resumes: its journal and its outbox after the tick of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResumePoint {
    pub(crate) journal: JournalMark,
    pub(crate) outbox: OutboxMark,
}

/// Opens the outbox of a run, to continue behind these marks or from its beginning. Gives an event when it had to be
/// repaired.
///
/// With `is_synced`, everything before the marks is on the disk when this returns.
pub(crate) fn open(
    run_dir: &RunDir,
    run: RunId,
    agents: &[String],
    marks: Option<&ResumePoint>,
    is_synced: bool,
) -> Result<(Outbox, Option<RunEvent>), RunError> {
    let Some(marks) = marks else {
        return Ok((Outbox::open(run_dir, run, agents.to_vec())?, None));
    };
    let found_bytes = file_bytes(run_dir)?;
    let (mut outbox, event) = match Outbox::open_at(run_dir, run, agents.to_vec(), &marks.outbox)? {
        Some(outbox) => (outbox, None),
        None => {
            let tick = marks.journal.tick;
            let outbox = rewrite(run_dir, run, agents, tick)?;
            let kept_bytes = outbox.kept_bytes();
            let event = RunEvent::OutboxRepaired {
                tick,
                found_bytes,
                kept_bytes,
                written_bytes: outbox.mark().bytes - kept_bytes,
            };
            (outbox, Some(event))
        }
    };
    if is_synced {
        outbox.sync_existing()?;
    }
    Ok((outbox, event))
}

/// Makes all lines up to a tick again, from the journal.
fn rewrite(
    run_dir: &RunDir,
    run: RunId,
    agents: &[String],
    until: Tick,
) -> Result<Outbox, RunError> {
    // Before the journal is read: the file may be that of another run, and is refused.
    let mut outbox = Outbox::open(run_dir, run, agents.to_vec())?;
    read_all(run_dir, until)?;
    let mut journal = read_journal(run_dir, None)?;
    while journal.ticks() < until
        && let Some(entry) = journal.next_tick()?
    {
        outbox.push(entry.tick, &entry.record.outcomes);
        if outbox.waiting_bytes() >= RELEASE_BYTES {
            // A checkpoint of a later tick is only there when this one is durable.
            outbox.release(entry.tick)?;
        }
    }
    outbox.release(until)?;
    Ok(outbox)
}

/// Reads the journal to its end, which must not be before a tick: damage anywhere would end the resume.
fn read_all(run_dir: &RunDir, until: Tick) -> Result<(), RunError> {
    let mut journal = read_journal(run_dir, None)?;
    while journal.next_tick()?.is_some() {}
    match journal.ticks() < until {
        true => Err(ends_early(run_dir, &journal, until)),
        false => Ok(()),
    }
}

/// The error when a record before a mark is damaged: nothing behind it can be read.
fn ends_early(run_dir: &RunDir, journal: &JournalReader, until: Tick) -> RunError {
    if let Some(torn) = journal.torn() {
        let torn = torn.clone();
        return JournalError::DamagedTail { torn }.into();
    }
    let reason = format!(
        "the lines up to tick {until} cannot be rewritten: the journal ends with tick {}; restore both from a backup",
        journal.ticks()
    );
    let (path, offset, line) = (run_dir.outbox(), 0, 1);
    RunError::RunDir(RunDirError::Outbox {
        path,
        offset,
        line,
        reason,
    })
}

fn file_bytes(run_dir: &RunDir) -> Result<u64, RunDirError> {
    let path = run_dir.outbox();
    let opened = run_dir.disk().open_read(&path);
    match opened.and_then(|file| file.bytes()) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(0),
        bytes => bytes.map_err(RunDirError::io("read", &path)),
    }
}
