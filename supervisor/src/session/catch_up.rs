//! A journal that was followed to its end: the machine in its open tick, and
//! the journal and outbox ready to be gone on with.

use super::outbox_repair::{self, ResumePoint};
use super::run_store as keeper;
use super::run_store::{RunStore, build};
use crate::checkpoint::CheckpointReader;
use crate::error::RunError;
use crate::event_loop::JournalFollower;
use crate::faults::Faults;
use crate::fleet::Durability;
use crate::journal::{JournalReader, JournalWriter, RunId};
use crate::launch::{Placement, plan};
use crate::observer::Observer;
use crate::record::RunHeader;
use crate::rundir::{LaunchSettings, RunDir, RunEvent};
use crate::tick::{Action, RunPlan, TickMachine};
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::Tick;

/// A journal that was followed to its end.
pub(crate) struct CaughtUpRun {
    pub(crate) machine: TickMachine,
    /// What the machine asks for in the open tick.
    pub(crate) asked: Vec<Action>,
    pub(crate) keeper: RunStore,
}

impl CaughtUpRun {
    /// Follows the journal of a run from its newest good checkpoint on, and cuts what is behind its last tick. The outbox
    /// is whole up to there, or is made so.
    pub(crate) fn on(
        run_dir: &RunDir,
        header: &RunHeader,
        launch: &LaunchSettings,
        layout: &Placement,
        from_genesis: bool,
        faults: &Faults,
        observer: &mut dyn Observer,
    ) -> Result<CaughtUpRun, RunError> {
        let shelf = CheckpointReader::new(run_dir, run_id(run_dir)?, build(header));
        let plan = plan(header, layout);
        let begun = if from_genesis {
            None
        } else {
            newest(run_dir, &shelf, &plan, observer)
        };
        let (machine, mut journal, marks) = match begun {
            Some((machine, journal, marks)) => (machine, journal, Some(marks)),
            None => (
                TickMachine::new(plan, None),
                keeper::read(run_dir, None)?,
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
        // Whoever is refused until here has changed nothing.
        let names = header.agents.iter().map(|agent| agent.name.clone());
        let names: Vec<String> = names.collect();
        let is_synced = launch.durability != Durability::Process;
        let run = journal.run_id();
        let (mut outbox, repaired) =
            outbox_repair::open(run_dir, run, &names, marks.as_ref(), is_synced)?;
        repaired.iter().for_each(|event| observer.event(event));
        let mut again = keeper::read(run_dir, marks.as_ref().map(|marks| &marks.journal))?;
        while let Some(entry) = again.next_tick()? {
            // What was let out before the end is passed over; what was not is let out now.
            outbox.push(entry.tick, &entry.record.outcomes);
        }
        follower.end_after(launch.ticks.map(Tick));
        let (machine, asked) = follower.arrive(launch.restarts.poison)?;
        let (writer, cut) = JournalWriter::resume(run_dir, journal, launch.durability)?;
        faults.pass(FaultPoint::ResumeCut, committed);
        let mut keeper = RunStore::new(run_dir, writer, outbox, header, launch, faults.clone())?;
        keeper.cut = Some(cut);
        repaired.iter().for_each(|event| keeper.write_down(event));
        if from_genesis {
            keeper.shelves.distrust(committed);
        }
        Ok(CaughtUpRun {
            machine,
            asked,
            keeper,
        })
    }
}

/// The machine of the newest good checkpoint, the ticks after it, and where they begin. What is wrong with newer ones is
/// told.
fn newest(
    run_dir: &RunDir,
    shelf: &CheckpointReader,
    plan: &RunPlan,
    observer: &mut dyn Observer,
) -> Option<(TickMachine, JournalReader, ResumePoint)> {
    let ticks = shelf.newest_first().unwrap_or_default();
    ticks.into_iter().find_map(|tick| {
        let begun = shelf
            .load(tick)
            .map_err(RunError::from)
            .and_then(|checkpoint| {
                let machine = TickMachine::restore(plan.clone(), None, &checkpoint.machine)?;
                let marks = ResumePoint {
                    journal: checkpoint.mark,
                    outbox: checkpoint.outbox,
                };
                Ok((machine, keeper::read(run_dir, Some(&marks.journal))?, marks))
            });
        begun
            .map_err(|error| {
                observer.event(&RunEvent::CheckpointFailed {
                    tick,
                    reason: error.to_string(),
                });
            })
            .ok()
    })
}

fn run_id(run_dir: &RunDir) -> Result<RunId, RunError> {
    Ok(keeper::read(run_dir, None)?.run_id())
}
