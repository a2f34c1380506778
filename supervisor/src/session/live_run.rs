//! A run with started hosts and a journal: the ticks, and the end.

use super::recording_ledger::{RecordingLedger, ResumeProgress};
use super::run_store::RunStore;
use super::stats::RunStats;
use crate::control::{ChangeContext, ChangeServer};
use crate::error::RunError;
use crate::event_loop::{EventLoop, Ledger, LoopEnd, PaceReport, RealHosts, Timeouts};
use crate::faults::Faults;
use crate::fleet::{OnProviderLost, Pace};
use crate::host::HostSet;
use crate::launch::{Engines, StartedHosts};
use crate::models::header_at;
use crate::observer::Observer;
use crate::record::{Digest, RunHeader, SealReason, Verdict};
use crate::rundir::RunEvent;
use crate::tick::{RunEnd, TickAction, TickMachine};
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::inference_to_supervisor::Batching;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The summary of a run at its end.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The header of the run.
    pub header: RunHeader,
    /// The last provider of each model, by its number.
    pub providers: Vec<String>,
    /// The reason for the end.
    pub end: RunEnd,
    /// Agents that take no further steps, because a step failed or because they are quarantined.
    pub halted: Vec<AgentId>,
    /// Committed ticks of the run.
    pub ticks: u64,
    /// Those of them that were committed in this launch.
    pub ticks_here: u64,
    /// Steps of agents in this launch.
    pub steps: u64,
    /// Requests to models in this launch.
    pub inferences: u64,
    /// Restarts of hosts.
    pub restarts: u64,
    /// Verdicts, with their ticks.
    pub verdicts: Vec<(Tick, Verdict)>,
    /// Deviation of the ticks of this launch from their pace.
    pub pace: PaceReport,
    /// The chain after the last tick.
    pub chain: Digest,
    /// Time from the first tick to the last, without start and end.
    pub wall: Duration,
    /// Time from the command to the first committed tick.
    pub until_first_tick: Option<Duration>,
    /// The run directory.
    pub run_dir: PathBuf,
}

/// A run with started hosts and a journal.
pub(crate) struct LiveRun {
    pub(crate) started: StartedHosts,
    pub(crate) header: RunHeader,
    pub(crate) store: RunStore,
    /// The machine before the first tick of this launch.
    pub(crate) machine: TickMachine,
    /// The actions of the machine in the open tick, if the run is resumed: the agents then start with their state.
    pub(crate) resume_actions: Option<Vec<TickAction>>,
    pub(crate) timeouts: Timeouts,
    pub(crate) pace: Pace,
    /// The reaction to the loss of a model's provider.
    pub(crate) on_provider_lost: OnProviderLost,
    /// Verdicts on providers that were lost before the first tick of this launch.
    pub(crate) initial_verdicts: Vec<Verdict>,
    pub(crate) faults: Faults,
    /// The engines that probe new versions of models during the run.
    pub(crate) engines: Engines,
    pub(crate) strict_providers: bool,
}

impl LiveRun {
    /// Runs the ticks to the end, then seals the journal and ends the hosts.
    pub(crate) fn run(
        mut self,
        requested_at: Instant,
        path: &Path,
        observer: &mut dyn Observer,
    ) -> Result<RunReport, RunError> {
        self.store.pass(FaultPoint::HostsReady);
        let resume_progress = self.resume_actions.as_ref().map(|_| ResumeProgress {
            requested_at,
            hosts: self.started.host_config.placement.hosts,
            after: self.store.committed(),
            checkpoint: None,
            reexecuted: 0,
        });
        let mut control_server = self.control_server();
        let mut ledger =
            RecordingLedger::new(&mut self.store, observer, &self.header, resume_progress);
        let changed = self.machine.plan_changes().to_vec();
        let loads = self.started.host_config.versions.iter();
        for (load, info) in loads.zip(&self.started.report.models) {
            for refused in &info.refused {
                ledger.event(RunEvent::provider_refused(&load.name, refused))?;
            }
            if let Batching::Untried(detail) = &info.batching {
                let (model, detail) = (load.name.clone(), detail.clone());
                ledger.event(RunEvent::ProbeFailed { model, detail })?;
            }
        }
        let mut hosts = RealHosts::new(&mut self.started.hosts);
        let mut event_loop = EventLoop::new(
            &mut hosts,
            self.machine,
            &self.header,
            &self.started.host_config,
            &mut ledger,
            self.timeouts,
        )
        .with_opaque_agents(&self.started.report.opaque)
        .on_provider_lost(self.on_provider_lost)
        .with_initial_verdicts(self.initial_verdicts)
        .with_faults(self.faults)
        .with_pace(self.pace);
        if let Some(server) = &mut control_server {
            event_loop = event_loop.with_change_source(server);
        }
        let result = match self.resume_actions {
            Some(actions) => event_loop.resume(actions),
            None => event_loop.run(),
        };
        let result = result.map(|end| end.expect("a journal to write never breaks a run off"));
        let stats = ledger.stats;
        drop(control_server);
        let shutdown = RunShutdown {
            hosts: Some(self.started.hosts),
            header: self.header,
            store: self.store,
            plan_changes: changed,
        };
        shutdown.finish(result, stats, requested_at, path)
    }

    /// The server for model changes by command. The run continues without it if it cannot be opened.
    fn control_server(&self) -> Option<ChangeServer> {
        if self.header.models.is_empty() {
            return None;
        }
        let context = ChangeContext {
            engines: self.engines.clone(),
            run_dir: self.store.run_dir.clone(),
            header: self.header.with(self.machine.plan_changes()),
            first_versions: self.started.report.models.clone(),
            strict_providers: self.strict_providers,
            load_timeout: self.timeouts.load,
        };
        let opened = ChangeServer::open(context);
        if let Err(error) = &opened {
            tracing::warn!(
                "cannot open the control socket, so `lockstep model` cannot change this run: {error}"
            );
        }
        opened.ok()
    }
}

/// The end of a run after its last tick.
pub(crate) struct RunShutdown {
    /// The hosts, if any were started.
    pub(crate) hosts: Option<HostSet>,
    pub(crate) header: RunHeader,
    pub(crate) store: RunStore,
    /// Verdicts of earlier launches that have changed models, with their ticks.
    pub(crate) plan_changes: Vec<(Tick, Verdict)>,
}

impl RunShutdown {
    /// Seals the journal and ends the hosts.
    pub(crate) fn finish(
        self,
        result: Result<LoopEnd, RunError>,
        stats: RunStats,
        requested_at: Instant,
        path: &Path,
    ) -> Result<RunReport, RunError> {
        let committed = self.store.committed();
        let (result, halted, pace) = match result {
            Ok(LoopEnd { end, halted, pace }) => (Ok(end), halted, pace),
            Err(error) => (Err(error), Vec::new(), PaceReport::default()),
        };
        let reason = match &result {
            Ok(RunEnd::Finished | RunEnd::AllHalted | RunEnd::AgentFinished { .. }) => {
                SealReason::Finished
            }
            Ok(RunEnd::Stopped) => SealReason::Stopped,
            Ok(RunEnd::Mismatch { .. }) | Err(_) => SealReason::Failed,
        };
        let sealed = self.store.seal(reason);
        let drained = self.hosts.map_or(Ok(()), HostSet::drain);
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
        let verdicts = self.plan_changes.iter().chain(&stats.verdicts);
        let shown = header_at(&self.header, verdicts, committed);
        Ok(RunReport {
            providers: shown
                .models
                .into_iter()
                .map(|model| model.provider)
                .collect(),
            end,
            halted,
            pace,
            ticks: committed.0,
            ticks_here: stats.ticks,
            steps: stats.steps,
            inferences: stats.inferences,
            restarts: stats.restarts,
            chain,
            wall: stats.wall(),
            verdicts: stats.verdicts,
            until_first_tick: stats
                .first_commit
                .map(|first| first.duration_since(requested_at)),
            run_dir: path.to_path_buf(),
            header: self.header,
        })
    }
}
