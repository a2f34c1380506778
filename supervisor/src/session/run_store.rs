//! The durable state of a live run: journal, outbox and checkpoints, in the order in which they may be written.

use super::checkpoint_schedule::CheckpointScheduler;
use crate::checkpoint::{Build, CheckpointReader};
use crate::error::RunError;
use crate::faults::Faults;
use crate::fleet::Durability;
use crate::journal::{JournalMark, JournalReader, JournalWriter, Truncation};
use crate::planted::{Bug, planted};
use crate::record::{Digest, RunHeader, SealReason, TickRecord};
use crate::rundir::{EventLog, LaunchSettings, Outbox, RunDir, RunDirError, RunEvent};
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::Tick;

/// The durable state of a live run.
pub(crate) struct RunStore {
    pub(crate) run_dir: RunDir,
    writer: JournalWriter,
    outbox: Outbox,
    pub(crate) checkpoints: CheckpointScheduler,
    /// True if it must survive a power cut.
    is_synced: bool,
    /// The truncation of the journal, if the run was resumed.
    pub(crate) truncation: Option<Truncation>,
    /// None when it cannot be written, which is no reason to stop.
    events: Option<EventLog>,
    faults: Faults,
}

impl RunStore {
    pub(crate) fn new(
        run_dir: &RunDir,
        writer: JournalWriter,
        outbox: Outbox,
        header: &RunHeader,
        launch: &LaunchSettings,
        faults: Faults,
    ) -> Result<RunStore, RunError> {
        let is_synced = launch.durability != Durability::Process;
        let reader = CheckpointReader::new(run_dir, writer.run_id(), build(header));
        Ok(RunStore {
            checkpoints: CheckpointScheduler::open(
                reader,
                launch,
                header
                    .agents
                    .iter()
                    .map(|agent| agent.memory_bytes)
                    .collect(),
                writer.committed(),
                is_synced,
                &faults,
            )?,
            run_dir: run_dir.clone(),
            writer,
            outbox,
            is_synced,
            truncation: None,
            events: EventLog::open(run_dir).ok(),
            faults,
        })
    }

    /// Appends an event to the event log, if there is one.
    pub(crate) fn log_event(&mut self, event: &RunEvent) {
        if let Some(events) = &mut self.events {
            let _ = events.append(event);
        }
    }

    /// Passes a fault point after the last tick.
    pub(crate) fn pass(&self, point: FaultPoint) {
        self.faults.pass(point, self.writer.committed());
    }

    pub(crate) fn commit(&mut self, tick: Tick, record: &TickRecord) -> Result<(), RunError> {
        self.faults.pass(FaultPoint::BeforeWrite, tick);
        if planted(Bug::ReleaseBeforeWrite) {
            self.outbox.push(tick, &record.outcomes);
            self.outbox.release(tick)?;
        }
        self.writer.append(tick, record)?;
        self.faults.pass(FaultPoint::AfterWriteBeforeCommit, tick);
        if !planted(Bug::ReleaseBeforeWrite) {
            self.outbox.push(tick, &record.outcomes);
        }
        if self.checkpoints.is_pending(tick) {
            self.checkpoints
                .committed(self.writer.mark(), self.outbox.mark());
        }
        self.release()?;
        self.faults.pass(FaultPoint::AfterCommit, tick);
        Ok(())
    }

    /// Releases the outbox lines of durable ticks, and checkpoints after that.
    pub(crate) fn release(&mut self) -> Result<(), RunError> {
        let durable = self.writer.durable();
        if self.outbox.waiting_bytes() > 0 {
            self.faults.pass(FaultPoint::BeforeOutbox, durable);
            self.outbox.release(durable)?;
            self.faults.pass(FaultPoint::AfterOutbox, durable);
        } else {
            // After a failure of the outbox no checkpoint may be published that marks it as whole.
            self.outbox.release(durable)?;
        }
        if self.checkpoints.awaits(durable) {
            let outbox = self.is_synced.then(|| self.outbox.file());
            self.checkpoints.durable(durable, outbox);
        }
        self.check_outbox()
    }

    /// A failed sync of the outbox ends the run: a second sync would report success.
    fn check_outbox(&mut self) -> Result<(), RunError> {
        let Some(source) = self.checkpoints.take_outbox_error() else {
            return Ok(());
        };
        self.outbox.poison();
        let path = self.run_dir.outbox();
        Err(RunDirError::io("sync", &path)(source).into())
    }

    /// The last written tick.
    pub(crate) fn committed(&self) -> Tick {
        self.writer.committed()
    }

    /// The last tick that is durable at the level of the run.
    pub(crate) fn durable(&self) -> Tick {
        self.writer.durable()
    }

    pub(crate) fn seal(mut self, reason: SealReason) -> Result<Digest, RunError> {
        self.writer.wait_durable()?;
        self.release()?;
        // Of two concurrent syncs, only one would report a failure.
        self.checkpoints.finish();
        self.check_outbox()?;
        self.outbox.sync()?;
        self.pass(FaultPoint::BeforeSeal);
        let committed = self.writer.committed();
        let chain = self.writer.seal(reason)?;
        self.faults.pass(FaultPoint::AfterSeal, committed);
        Ok(chain)
    }
}

/// The committed ticks of a run after a mark, or all of them.
pub(crate) fn read_journal(
    run_dir: &RunDir,
    mark: Option<&JournalMark>,
) -> Result<JournalReader, RunError> {
    let (_, reader) = match mark {
        Some(mark) => JournalReader::open_at(run_dir, mark)?,
        None => JournalReader::open(run_dir)?,
    };
    Ok(reader)
}

/// The build that must have made a checkpoint of this run.
pub(crate) fn build(header: &RunHeader) -> Build {
    Build {
        lockstep: header.lockstep.clone(),
        wasmtime: header.wasmtime.clone(),
    }
}
