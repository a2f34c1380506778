//! What a live run keeps: journal, outbox and checkpoints, in the order in
//! which they may become true.

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

/// What a live run keeps.
pub(crate) struct RunStore {
    pub(crate) run_dir: RunDir,
    writer: JournalWriter,
    outbox: Outbox,
    pub(crate) shelves: CheckpointScheduler,
    /// Whether what is kept must survive a power cut.
    is_synced: bool,
    /// What was cut from the journal, if the run goes on.
    pub(crate) cut: Option<Truncation>,
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
        let shelf = CheckpointReader::new(run_dir, writer.run_id(), build(header));
        Ok(RunStore {
            shelves: CheckpointScheduler::open(
                shelf,
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
            cut: None,
            events: EventLog::open(run_dir).ok(),
            faults,
        })
    }

    /// Writes down what happened around the run, if that can be.
    pub(crate) fn write_down(&mut self, event: &RunEvent) {
        if let Some(events) = &mut self.events {
            let _ = events.append(event);
        }
    }

    /// Passes a point after the last tick.
    pub(crate) fn pass(&self, phase: FaultPoint) {
        self.faults.pass(phase, self.writer.committed());
    }

    pub(crate) fn keep(&mut self, tick: Tick, record: &TickRecord) -> Result<(), RunError> {
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
        if self.shelves.is_making(tick) {
            self.shelves
                .committed(self.writer.mark(), self.outbox.mark());
        }
        self.release()?;
        self.faults.pass(FaultPoint::AfterCommit, tick);
        Ok(())
    }

    /// Lets out what agents emitted in ticks that are durable by now, and checkpoints after that.
    pub(crate) fn release(&mut self) -> Result<(), RunError> {
        let durable = self.writer.durable();
        if self.outbox.waiting_bytes() > 0 {
            self.faults.pass(FaultPoint::BeforeOutbox, durable);
            self.outbox.release(durable)?;
            self.faults.pass(FaultPoint::AfterOutbox, durable);
        } else {
            // It may have failed, and then no checkpoint may be published that says it is whole.
            self.outbox.release(durable)?;
        }
        if self.shelves.awaits(durable) {
            let outbox = self.is_synced.then(|| self.outbox.file());
            self.shelves.durable(durable, outbox);
        }
        self.hear_of_outbox()
    }

    /// A sync of the outbox that failed beside the ticks ends the run: a second one would say that all is well.
    fn hear_of_outbox(&mut self) -> Result<(), RunError> {
        let Some(source) = self.shelves.outbox_failed() else {
            return Ok(());
        };
        self.outbox.poison();
        let path = self.run_dir.outbox();
        Err(RunDirError::io("sync", &path)(source).into())
    }

    /// The last tick that is written.
    pub(crate) fn committed(&self) -> Tick {
        self.writer.committed()
    }

    /// The last tick that is as durable as the run promises.
    pub(crate) fn durable(&self) -> Tick {
        self.writer.durable()
    }

    pub(crate) fn seal(mut self, reason: SealReason) -> Result<Digest, RunError> {
        self.writer.wait_durable()?;
        self.release()?;
        // Of two syncs at once, only one would be told of a failure.
        self.shelves.finish();
        self.hear_of_outbox()?;
        self.outbox.sync()?;
        self.pass(FaultPoint::BeforeSeal);
        let committed = self.writer.committed();
        let chain = self.writer.seal(reason)?;
        self.faults.pass(FaultPoint::AfterSeal, committed);
        Ok(chain)
    }
}

/// The committed ticks of a run after a mark, or all of them.
pub(crate) fn read(
    run_dir: &RunDir,
    mark: Option<&JournalMark>,
) -> Result<JournalReader, RunError> {
    let (_, reader) = match mark {
        Some(mark) => JournalReader::open_at(run_dir, mark)?,
        None => JournalReader::open(run_dir)?,
    };
    Ok(reader)
}

/// Who must have made a checkpoint of this run.
pub(crate) fn build(header: &RunHeader) -> Build {
    Build {
        lockstep: header.lockstep.clone(),
        wasmtime: header.wasmtime.clone(),
    }
}
