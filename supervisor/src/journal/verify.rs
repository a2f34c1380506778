//! Verification of a run directory: journal, objects and outbox.

use super::error::JournalError;
use super::reader::{JournalReader, Torn, TornKind};
use crate::record::{Digest, SealReason, Verdict};
use crate::record::{RunId, hex};
use crate::rundir::RunDir;
use crate::rundir::outbox::OutboxCheck;
use shm_protocol::id::Tick;
use std::collections::BTreeSet;
use std::fmt;

/// The content of a run directory that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// The name of the run.
    pub run_id: RunId,
    /// The last committed tick.
    pub ticks: Tick,
    /// Digest of the last tick, which covers the whole run.
    pub chain: Digest,
    /// The reason for the end; none when the run is active or did not end in good order.
    pub sealed: Option<SealReason>,
    /// An unfinished record at the end: it is being written, or its writer died.
    pub torn: Option<Torn>,
    /// Bytes of the journal's good records.
    pub bytes: u64,
    /// Components and models that were checked.
    pub objects: usize,
    /// Lines of the outbox.
    pub outbox_lines: u64,
    /// Lines that the journal has and the outbox not yet.
    pub outbox_missing: u64,
}

/// Checks a run directory without executing anything.
///
/// A run that is active or did not end in good order verifies: it has no seal, it may end within a record, and its
/// outbox may lag behind. Anything else that is not as it was written is an error.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(run: &RunDir) -> Result<VerifyReport, JournalError> {
    // The outbox first: in an active run it never is ahead of the journal.
    let mut outbox = OutboxCheck::open(run)?;
    let (header, mut reader) = JournalReader::open(run)?;
    let components = header.agents.iter().map(|agent| agent.component);
    let mut objects: BTreeSet<Digest> = components.chain(header.model_files()).collect();
    for digest in &objects {
        run.object(digest)?;
    }
    outbox.begin(
        reader.run_id(),
        header.agents.into_iter().map(|agent| agent.name).collect(),
    );
    while let Some(entry) = reader.next_tick()? {
        outbox.tick(entry.tick, &entry.record.outcomes)?;
        for file in entry.record.verdicts.iter().filter_map(Verdict::file) {
            if objects.insert(file) {
                run.object(&file)?;
            }
        }
    }
    if let Some(
        torn @ Torn {
            kind: TornKind::Damaged { .. },
            ..
        },
    ) = reader.torn()
    {
        return Err(JournalError::DamagedTail { torn: torn.clone() });
    }
    let sealed = reader.seal().map(|seal| seal.reason);
    let (outbox_lines, outbox_missing) = outbox.finish(sealed.is_some())?;
    Ok(VerifyReport {
        run_id: reader.run_id(),
        ticks: reader.ticks(),
        chain: reader.chain(),
        sealed,
        torn: reader.torn().cloned(),
        bytes: reader.bytes(),
        objects: objects.len(),
        outbox_lines,
        outbox_missing,
    })
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VerifyReport {
            run_id,
            ticks,
            chain,
            bytes,
            objects,
            outbox_lines,
            ..
        } = self;
        writeln!(f, "run       {run_id}")?;
        writeln!(f, "ticks     {ticks}")?;
        writeln!(f, "chain     {}", hex(chain))?;
        writeln!(f, "journal   {bytes} bytes, all checked")?;
        writeln!(f, "objects   {objects} checked")?;
        writeln!(f, "outbox    {outbox_lines} lines checked")?;
        match self.sealed {
            Some(SealReason::Finished) => writeln!(f, "ended     finished")?,
            Some(SealReason::Stopped) => writeln!(f, "ended     stopped on request")?,
            Some(SealReason::Failed) => writeln!(f, "ended     after a failure")?,
            None => writeln!(
                f,
                "ended     no: the run is active, or did not end in good order (the journal has no seal)"
            )?,
        }
        if self.outbox_missing > 0 {
            writeln!(
                f,
                "warning   the outbox lacks {} lines of the journal",
                self.outbox_missing
            )?;
        }
        self.torn
            .iter()
            .try_for_each(|torn| writeln!(f, "warning   {torn}"))
    }
}
