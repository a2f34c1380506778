//! A run whose hosts are there and whose journal has its header: the ticks, and
//! the end.

use super::recording_ledger::{GoingOn, Writing};
use super::run_store::Keeper;
use super::stats::Tally;
use crate::control::{Desk, Known};
use crate::error::RunError;
use crate::event_loop::{Drive, Ledger, Patience, Real};
use crate::faults::Faults;
use crate::fleet::OnLost;
use crate::host::Crew;
use crate::launch::{Assembled, Engines};
use crate::models::as_of;
use crate::observer::Observer;
use crate::record::{Digest, RunHeader, SealReason, Verdict};
use crate::rundir::Event;
use crate::tick::{Action, End, Machine};
use shm_protocol::fault::Phase;
use shm_protocol::id::Tick;
use shm_protocol::inference_to_supervisor::Batching;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What the run is.
    pub header: RunHeader,
    /// Who has run the models at last, by their numbers.
    pub ran_on: Vec<String>,
    /// Why it ended.
    pub end: End,
    /// Committed ticks of the run.
    pub ticks: u64,
    /// Those of them that were committed in this launch.
    pub ticks_here: u64,
    /// Steps of agents in this launch.
    pub steps: u64,
    /// Requests to models in this launch.
    pub inferences: u64,
    /// Hosts that were lost and came back.
    pub restarts: u64,
    /// Decisions that changed the run, with the tick.
    pub verdicts: Vec<(Tick, Verdict)>,
    /// The chain after the last tick.
    pub chain: Digest,
    /// Time from the first tick to the last, without start and end.
    pub wall: Duration,
    /// Time from the request to the first committed tick.
    pub until_first_tick: Option<Duration>,
    /// Where the run is kept.
    pub run_dir: PathBuf,
}

/// A run whose hosts are there and whose journal has its header.
pub(crate) struct Launched {
    pub(crate) assembled: Assembled,
    pub(crate) header: RunHeader,
    pub(crate) keeper: Keeper,
    /// As it is before the first tick of this launch.
    pub(crate) machine: Machine,
    /// What the machine asks for in the open tick, if it goes on with a run: the agents then come with their state.
    pub(crate) going_on: Option<Vec<Action>>,
    pub(crate) patience: Patience,
    /// What becomes of the run when who runs a model is gone.
    pub(crate) losing: OnLost,
    /// What was found to be lost before the first tick of this launch.
    pub(crate) lost: Vec<Verdict>,
    pub(crate) faults: Faults,
    /// What looks at versions that somebody brings in while the run goes on.
    pub(crate) engines: Engines,
    pub(crate) strict_providers: bool,
}

impl Launched {
    /// Ticks until the end, then seals the journal and ends the hosts.
    pub(crate) fn follow(
        mut self,
        asked: Instant,
        path: &Path,
        observer: &mut dyn Observer,
    ) -> Result<Summary, RunError> {
        self.keeper.pass(Phase::HostsReady);
        let going_on = self.going_on.as_ref().map(|_| GoingOn {
            asked,
            hosts: self.assembled.orders.layout.hosts,
            after: self.keeper.committed(),
            checkpoint: None,
            redone: 0,
        });
        let mut desk = self.desk();
        let mut ledger = Writing::new(&mut self.keeper, observer, &self.header, going_on);
        let changed = self.machine.changed().to_vec();
        let loads = self.assembled.orders.versions.iter();
        for (load, facts) in loads.zip(&self.assembled.facts.models) {
            for refused in &facts.refused {
                ledger.event(Event::provider_refused(&load.name, refused))?;
            }
            if let Batching::Untried(detail) = &facts.batching {
                let (model, detail) = (load.name.clone(), detail.clone());
                ledger.event(Event::ProbeFailed { model, detail })?;
            }
        }
        let mut hosts = Real::new(&mut self.assembled.crew);
        let mut drive = Drive::new(
            &mut hosts,
            self.machine,
            &self.header,
            &self.assembled.orders,
            &mut ledger,
            self.patience,
        )
        .knowing_opaque(&self.assembled.facts.opaque)
        .losing(self.losing)
        .having_lost(self.lost)
        .under(self.faults);
        if let Some(desk) = &mut desk {
            drive = drive.operated_by(desk);
        }
        let result = match self.going_on {
            Some(asked) => drive.go_on(asked),
            None => drive.run(),
        };
        let result = result.map(|end| end.expect("a journal to write never breaks a run off"));
        let tally = ledger.tally;
        drop(desk);
        let finishing = Finishing {
            crew: Some(self.assembled.crew),
            header: self.header,
            keeper: self.keeper,
            changed,
        };
        finishing.finish(result, tally, asked, path)
    }

    /// Where models may be changed by command. A run goes on without it.
    fn desk(&self) -> Option<Desk> {
        if self.header.models.is_empty() {
            return None;
        }
        let known = Known {
            engines: self.engines.clone(),
            run_dir: self.keeper.run_dir.clone(),
            header: self.header.with(self.machine.changed()),
            facts: self.assembled.facts.models.clone(),
            strict_providers: self.strict_providers,
            load_patience: self.patience.load,
        };
        let opened = Desk::open(known);
        if let Err(error) = &opened {
            tracing::warn!("models cannot be changed by command in this run: {error}");
        }
        opened.ok()
    }
}

/// What is left when the last tick is committed.
pub(crate) struct Finishing {
    /// The hosts, if any were started.
    pub(crate) crew: Option<Crew>,
    pub(crate) header: RunHeader,
    pub(crate) keeper: Keeper,
    /// Verdicts of earlier launches that have changed models, with their ticks.
    pub(crate) changed: Vec<(Tick, Verdict)>,
}

impl Finishing {
    /// Seals the journal and ends the hosts.
    pub(crate) fn finish(
        self,
        result: Result<End, RunError>,
        tally: Tally,
        asked: Instant,
        path: &Path,
    ) -> Result<Summary, RunError> {
        let committed = self.keeper.committed();
        let reason = match &result {
            Ok(End::Finished | End::AllHalted) => SealReason::Finished,
            Ok(End::Stopped) => SealReason::Stopped,
            Ok(End::Mismatch { .. }) | Err(_) => SealReason::Failed,
        };
        let sealed = self.keeper.seal(reason);
        let drained = self.crew.map_or(Ok(()), Crew::drain);
        let end = match result {
            Ok(End::Mismatch { agent, tick, text }) => {
                let agent = self.header.agents[agent.index()].name.clone();
                Err(RunError::Mismatch { agent, tick, text })
            }
            ended => ended,
        };
        let end = end.map_err(|source| RunError::Ended {
            source: Box::new(source),
            ticks: committed.0,
            run_dir: path.to_path_buf(),
        })?;
        let chain = sealed?;
        drained?;
        let verdicts = self.changed.iter().chain(&tally.verdicts);
        let shown = as_of(&self.header, verdicts, committed);
        Ok(Summary {
            ran_on: shown
                .models
                .into_iter()
                .map(|model| model.provider)
                .collect(),
            end,
            ticks: committed.0,
            ticks_here: tally.ticks,
            steps: tally.steps,
            inferences: tally.inferences,
            restarts: tally.restarts,
            chain,
            wall: tally.wall(),
            verdicts: tally.verdicts,
            until_first_tick: tally.first.map(|first| first.duration_since(asked)),
            run_dir: path.to_path_buf(),
            header: self.header,
        })
    }
}
