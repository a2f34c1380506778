//! A run caught up with its journal: the machine in its open tick, and the journal and outbox ready to be continued.

use super::outbox_repair::{self, ResumePoint};
use super::run_store::{RunStore, build, read_journal};
use crate::checkpoint::CheckpointReader;
use crate::error::RunError;
use crate::event_loop::JournalFollower;
use crate::faults::Faults;
use crate::fleet::Durability;
use crate::journal::{JournalReader, JournalWriter};
use crate::launch::{Placement, plan};
use crate::observer::Observer;
use crate::record::RunHeader;
use crate::record::RunId;
use crate::rundir::{LaunchSettings, RunDir, RunEvent};
use crate::tick::{RunPlan, TickAction, TickMachine};
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::Tick;

/// A run whose journal was followed to its end.
pub(crate) struct CaughtUpRun {
    pub(crate) machine: TickMachine,
    /// The actions of the machine in the open tick.
    pub(crate) actions: Vec<TickAction>,
    pub(crate) store: RunStore,
}

impl CaughtUpRun {
    /// Follows the journal of a run from its newest good checkpoint on, and truncates it after its last tick. The
    /// outbox is whole up to there, or is repaired.
    pub(crate) fn load(
        run_dir: &RunDir,
        header: &RunHeader,
        launch: &LaunchSettings,
        placement: &Placement,
        ignore_checkpoints: bool,
        faults: &Faults,
        observer: &mut dyn Observer,
    ) -> Result<CaughtUpRun, RunError> {
        let checkpoints = CheckpointReader::new(run_dir, run_id(run_dir)?, build(header));
        let plan = plan(header, placement);
        let base = if ignore_checkpoints {
            None
        } else {
            newest_checkpoint(run_dir, &checkpoints, &plan, observer)
        };
        let (machine, mut journal, marks) = match base {
            Some((machine, journal, marks)) => (machine, journal, Some(marks)),
            None => (
                TickMachine::new(plan, None),
                read_journal(run_dir, None)?,
                None,
            ),
        };
        let mut follower = JournalFollower::new(machine);
        while let Some(entry) = journal.next_tick()? {
            follower.follow(entry)?;
        }
        let committed = journal.ticks();
        if launch.ticks.is_some_and(|ticks| Tick(ticks) < committed) {
            return Err(RunError::AlreadyFurther {
                ticks: launch.ticks.unwrap_or_default(),
                committed,
            });
        }
        // A refusal up to here has changed nothing.
        let names = header.agents.iter().map(|agent| agent.name.clone());
        let names: Vec<String> = names.collect();
        let is_synced = launch.durability != Durability::Process;
        let run = journal.run_id();
        let (mut outbox, repaired) =
            outbox_repair::open(run_dir, run, &names, marks.as_ref(), is_synced)?;
        repaired.iter().for_each(|event| observer.event(event));
        let mut second_pass = read_journal(run_dir, marks.as_ref().map(|marks| &marks.journal))?;
        while let Some(entry) = second_pass.next_tick()? {
            // Lines that were released before the end are passed over; the others are released now.
            outbox.push(entry.tick, &entry.record.outcomes);
        }
        follower.end_after(launch.ticks.map(Tick));
        let (machine, actions) = follower.arrive(launch.restarts.quarantine_after)?;
        let (writer, truncation) = JournalWriter::resume(run_dir, journal, launch.durability)?;
        faults.pass(FaultPoint::ResumeTruncated, committed);
        let mut store = RunStore::new(run_dir, writer, outbox, header, launch, faults.clone())?;
        store.truncation = Some(truncation);
        repaired.iter().for_each(|event| store.log_event(event));
        if ignore_checkpoints {
            store.checkpoints.ignore_up_to(committed);
        }
        Ok(CaughtUpRun {
            machine,
            actions,
            store,
        })
    }
}

/// The machine of the newest good checkpoint, the ticks after it, and the point where they begin. Errors of newer ones
/// are reported.
fn newest_checkpoint(
    run_dir: &RunDir,
    checkpoints: &CheckpointReader,
    plan: &RunPlan,
    observer: &mut dyn Observer,
) -> Option<(TickMachine, JournalReader, ResumePoint)> {
    let ticks = checkpoints.newest_first().unwrap_or_default();
    ticks.into_iter().find_map(|tick| {
        let base = checkpoints
            .load(tick)
            .map_err(RunError::from)
            .and_then(|checkpoint| {
                let machine = TickMachine::restore(plan.clone(), None, &checkpoint.machine)?;
                let marks = ResumePoint {
                    journal: checkpoint.mark,
                    outbox: checkpoint.outbox,
                };
                Ok((machine, read_journal(run_dir, Some(&marks.journal))?, marks))
            });
        base.map_err(|error| {
            observer.event(&RunEvent::CheckpointFailed {
                tick,
                reason: error.to_string(),
            });
        })
        .ok()
    })
}

fn run_id(run_dir: &RunDir) -> Result<RunId, RunError> {
    Ok(read_journal(run_dir, None)?.run_id())
}
