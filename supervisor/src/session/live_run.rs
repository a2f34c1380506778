//! A run whose hosts are there and whose journal has its header: the ticks, and
//! the end.

use super::recording_ledger::{RecordingLedger, ResumeProgress};
use super::run_store::RunStore;
use super::stats::RunStats;
use crate::control::{ControlContext, ControlServer};
use crate::error::RunError;
use crate::event_loop::{EventLoop, Ledger, RealHosts, Timeouts};
use crate::faults::Faults;
use crate::fleet::OnLost;
use crate::host::HostSet;
use crate::launch::{Engines, StartedHosts};
use crate::models::as_of;
use crate::observer::Observer;
use crate::record::{Digest, RunHeader, SealReason, Verdict};
use crate::rundir::RunEvent;
use crate::tick::{Action, RunEnd, TickMachine};
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::Tick;
use shm_protocol::inference_to_supervisor::Batching;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a run came to.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// What the run is.
    pub header: RunHeader,
    /// Who has run the models at last, by their numbers.
    pub ran_on: Vec<String>,
    /// Why it ended.
    pub end: RunEnd,
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
pub(crate) struct LiveRun {
    pub(crate) assembled: StartedHosts,
    pub(crate) header: RunHeader,
    pub(crate) keeper: RunStore,
    /// As it is before the first tick of this launch.
    pub(crate) machine: TickMachine,
    /// What the machine asks for in the open tick, if it goes on with a run: the agents then come with their state.
    pub(crate) going_on: Option<Vec<Action>>,
    pub(crate) patience: Timeouts,
    /// What becomes of the run when who runs a model is gone.
    pub(crate) losing: OnLost,
    /// What was found to be lost before the first tick of this launch.
    pub(crate) lost: Vec<Verdict>,
    pub(crate) faults: Faults,
    /// What looks at versions that somebody brings in while the run goes on.
    pub(crate) engines: Engines,
    pub(crate) strict_providers: bool,
}

impl LiveRun {
    /// Ticks until the end, then seals the journal and ends the hosts.
    pub(crate) fn follow(
        mut self,
        asked: Instant,
        path: &Path,
        observer: &mut dyn Observer,
    ) -> Result<RunSummary, RunError> {
        self.keeper.pass(FaultPoint::HostsReady);
        let going_on = self.going_on.as_ref().map(|_| ResumeProgress {
            asked,
            hosts: self.assembled.orders.layout.hosts,
            after: self.keeper.committed(),
            checkpoint: None,
            redone: 0,
        });
        let mut desk = self.desk();
        let mut ledger = RecordingLedger::new(&mut self.keeper, observer, &self.header, going_on);
        let changed = self.machine.changed().to_vec();
        let loads = self.assembled.orders.versions.iter();
        for (load, facts) in loads.zip(&self.assembled.facts.models) {
            for refused in &facts.refused {
                ledger.event(RunEvent::provider_refused(&load.name, refused))?;
            }
            if let Batching::Untried(detail) = &facts.batching {
                let (model, detail) = (load.name.clone(), detail.clone());
                ledger.event(RunEvent::ProbeFailed { model, detail })?;
            }
        }
        let mut hosts = RealHosts::new(&mut self.assembled.crew);
        let mut drive = EventLoop::new(
            &mut hosts,
            self.machine,
            &self.header,
            &self.assembled.orders,
            &mut ledger,
            self.patience,
        )
        .with_opaque_agents(&self.assembled.facts.opaque)
        .on_provider_lost(self.losing)
        .with_initial_verdicts(self.lost)
        .with_faults(self.faults);
        if let Some(desk) = &mut desk {
            drive = drive.with_change_source(desk);
        }
        let result = match self.going_on {
            Some(asked) => drive.resume(asked),
            None => drive.run(),
        };
        let result = result.map(|end| end.expect("a journal to write never breaks a run off"));
        let tally = ledger.tally;
        drop(desk);
        let finishing = RunShutdown {
            crew: Some(self.assembled.crew),
            header: self.header,
            keeper: self.keeper,
            changed,
        };
        finishing.finish(result, tally, asked, path)
    }

    /// Where models may be changed by command. A run goes on without it.
    fn desk(&self) -> Option<ControlServer> {
        if self.header.models.is_empty() {
            return None;
        }
        let known = ControlContext {
            engines: self.engines.clone(),
            run_dir: self.keeper.run_dir.clone(),
            header: self.header.with(self.machine.changed()),
            facts: self.assembled.facts.models.clone(),
            strict_providers: self.strict_providers,
            load_patience: self.patience.load,
        };
        let opened = ControlServer::open(known);
        if let Err(error) = &opened {
            tracing::warn!("models cannot be changed by command in this run: {error}");
        }
        opened.ok()
    }
}

/// What is left when the last tick is committed.
pub(crate) struct RunShutdown {
    /// The hosts, if any were started.
    pub(crate) crew: Option<HostSet>,
    pub(crate) header: RunHeader,
    pub(crate) keeper: RunStore,
    /// Verdicts of earlier launches that have changed models, with their ticks.
    pub(crate) changed: Vec<(Tick, Verdict)>,
}

impl RunShutdown {
    /// Seals the journal and ends the hosts.
    pub(crate) fn finish(
        self,
        result: Result<RunEnd, RunError>,
        tally: RunStats,
        asked: Instant,
        path: &Path,
    ) -> Result<RunSummary, RunError> {
        let committed = self.keeper.committed();
        let reason = match &result {
            Ok(RunEnd::Finished | RunEnd::AllHalted) => SealReason::Finished,
            Ok(RunEnd::Stopped) => SealReason::Stopped,
            Ok(RunEnd::Mismatch { .. }) | Err(_) => SealReason::Failed,
        };
        let sealed = self.keeper.seal(reason);
        let drained = self.crew.map_or(Ok(()), HostSet::drain);
        let end = match result {
            Ok(RunEnd::Mismatch { agent, tick, text }) => {
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
        Ok(RunSummary {
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
