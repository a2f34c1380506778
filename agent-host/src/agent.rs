//! One agent: its instance, the calls into it, and its state after a step fails.

mod instance;
mod partial_restore;
mod shadow_memory;
mod state_records;
mod suspended_step;

use crate::bindings::{Config, Event, v0_1};
use crate::compiled_component::CompiledComponent;
use crate::effects;
use crate::error::{AgentHostError, RestoreError};
use crate::interface_version::InterfaceVersion;
use crate::shared_config::SharedConfig;
use crate::store_data::StoreData;
use instance::{
    AgentInstance, INIT_FUEL, StepExport, VersionedConfig, fuel_left, instantiate, new_store,
    refuel,
};
use partial_restore::PartialRestore;
use shadow_memory::ShadowMemory;
use shm_protocol::agent_to_supervisor::{
    AgentLoaded, AwaitRequest, Effect, LogLine, Outcome, Status,
};
use shm_protocol::id::{AgentId, RequestId, Tick};
use shm_protocol::supervisor_to_agent::{AwaitResult, LoadAgent, OnFailure, RequestResult};
use std::collections::VecDeque;
use std::sync::Arc;
use suspended_step::{CallProgress, SuspendedStep};
use wasmtime::Trap;

/// An agent of this host.
pub(crate) struct HostedAgent {
    shared: Arc<SharedConfig>,
    component: Arc<CompiledComponent>,
    load: LoadAgent,
    state: InstanceState,
    /// Number of its next request. It outlives instances, and a failed step does not advance it.
    next_request: RequestId,
    /// The memory as of the last snapshot.
    shadow: ShadowMemory,
    /// Results for the awaits of its next step, received before the step.
    early_results: VecDeque<Arc<RequestResult>>,
}

/// Progress of a step when control returns to the host.
pub(crate) enum StepProgress {
    Done(Outcome),
    /// The step awaits the result of this request.
    Awaiting(AwaitRequest),
}

/// The state of an agent's instance between calls.
enum InstanceState {
    Running(AgentInstance),
    /// Its step awaits a result, with the instance and the stack kept.
    Suspended(SuspendedStep),
    /// A step failed. The next one begins with a new instance.
    Failed,
    /// A step or `init` failed, and no further step is taken.
    Halted,
    /// It is being restored: `None` until the first record of its state arrives.
    Restoring(Option<Box<PartialRestore>>),
}

/// A failed call of `init`.
struct InitFailure {
    logs: Vec<LogLine>,
    reason: String,
}

impl HostedAgent {
    /// Instantiates an agent and calls its `init`, unless its state will be restored.
    ///
    /// # Errors
    /// When the machine lacks memory, or the agent cannot be restored. A failure of the agent itself is reported in the
    /// [`AgentLoaded`].
    pub(crate) fn load(
        shared: &Arc<SharedConfig>,
        component: Arc<CompiledComponent>,
        load: LoadAgent,
    ) -> Result<(HostedAgent, AgentLoaded), AgentHostError> {
        let opaque = component.opaque().map(str::to_owned);
        let mut agent = HostedAgent {
            shared: Arc::clone(shared),
            component,
            load,
            state: InstanceState::Restoring(None),
            next_request: RequestId(0),
            shadow: ShadowMemory::default(),
            early_results: VecDeque::new(),
        };
        let (logs, result) = match (agent.load.restored, &opaque) {
            (true, Some(reason)) => {
                let reason = reason.clone();
                return Err(agent.restore_error(RestoreError::Opaque { reason }));
            }
            (true, None) => (Vec::new(), Ok(())),
            (false, _) => match agent.start()? {
                Ok(logs) => (logs, Ok(())),
                Err(failure) => {
                    let reason = format!("agent {}: {}", agent.name(), failure.reason);
                    (failure.logs, Err(reason))
                }
            },
        };
        let loaded = AgentLoaded {
            agent: agent.load.agent,
            logs,
            result,
            opaque,
        };
        Ok((agent, loaded))
    }

    /// Takes one step. `spare` is a list whose allocation is reused, as is that of `events` unless the step can await.
    ///
    /// # Errors
    /// When the machine lacks memory, the agent's state is not restored yet, or its last step is not finished. A
    /// failure of the step itself is reported in the [`Outcome`].
    pub(crate) fn step(
        &mut self,
        tick: Tick,
        events: &mut Vec<Event>,
        spare: &mut Vec<Effect>,
    ) -> Result<StepProgress, AgentHostError> {
        match self.state {
            InstanceState::Running(_) => self.call_step(tick, events, spare, Vec::new()),
            InstanceState::Halted => {
                let halted = self.not_stepped("halted".to_owned(), Vec::new());
                Ok(StepProgress::Done(halted))
            }
            InstanceState::Failed => match self.start()? {
                Ok(logs) => self.call_step(tick, events, spare, logs),
                Err(failure) => {
                    let text = format!("restart: {}", failure.reason);
                    Ok(StepProgress::Done(self.not_stepped(text, failure.logs)))
                }
            },
            InstanceState::Restoring(_) => {
                let what = format!("a step of tick {tick}");
                Err(self.restore_error(RestoreError::TooEarly { what }))
            }
            InstanceState::Suspended(_) => Err(self.out_of_turn("its next step")),
        }
    }

    /// Accepts a result: of the request that its step awaits, or of one that its next step will await. `None` in the
    /// second case.
    ///
    /// # Errors
    /// When the result is neither of the two, or the machine lacks memory.
    pub(crate) fn resume(
        &mut self,
        result: AwaitResult,
    ) -> Result<Option<StepProgress>, AgentHostError> {
        let AwaitResult {
            number, outcome, ..
        } = result;
        match std::mem::replace(&mut self.state, InstanceState::Halted) {
            InstanceState::Suspended(step) if step.number == number => {
                let progress = step.resume(outcome);
                self.after_call(progress).map(Some)
            }
            state @ (InstanceState::Running(_) | InstanceState::Failed)
                if number as usize == self.early_results.len() =>
            {
                self.state = state;
                self.early_results.push_back(outcome);
                Ok(None)
            }
            state => {
                self.state = state;
                Err(self.out_of_turn(&format!("the result of its await {number}")))
            }
        }
    }

    /// The outcome of a step that was not taken, because the agent takes no more. The supervisor does not ask again.
    fn not_stepped(&self, text: String, logs: Vec<LogLine>) -> Outcome {
        let effects = logs.into_iter().map(Effect::Log).collect();
        Outcome {
            agent: self.load.agent,
            status: Status::Halted(text),
            fuel_used: 0,
            effects,
        }
    }

    /// Calls the step. `logs` are the lines of the `init` just before, which come first.
    fn call_step(
        &mut self,
        tick: Tick,
        events: &mut Vec<Event>,
        spare: &mut Vec<Effect>,
        logs: Vec<LogLine>,
    ) -> Result<StepProgress, AgentHostError> {
        let InstanceState::Running(instance) = &mut self.state else {
            unreachable!("the caller has checked the state")
        };
        let mut context = instance.store.context();
        let data = context.data_mut();
        data.tick = tick;
        data.next_request = self.next_request;
        data.random.begin_tick();
        data.effects.begin(std::mem::take(spare), logs);
        refuel(&mut context, self.load.fuel);
        let step = match &instance.exports.step {
            StepExport::Direct(step) => {
                let result = step.call(context, events);
                return self.conclude(result).map(StepProgress::Done);
            }
            StepExport::OnFiber(step) => *step,
        };
        context
            .data_mut()
            .awaits
            .begin_step(std::mem::take(&mut self.early_results));
        let InstanceState::Running(instance) =
            std::mem::replace(&mut self.state, InstanceState::Halted)
        else {
            unreachable!("the state was checked above")
        };
        let progress = SuspendedStep::begin(instance, step, std::mem::take(events));
        self.after_call(progress)
    }

    /// Keeps the instance of a step that can await, and reports the progress of the step.
    fn after_call(&mut self, progress: CallProgress) -> Result<StepProgress, AgentHostError> {
        match progress {
            CallProgress::Returned(instance, result) => {
                self.state = InstanceState::Running(instance);
                self.conclude(result).map(StepProgress::Done)
            }
            CallProgress::Awaiting(step, pending) => {
                self.state = InstanceState::Suspended(step);
                Ok(StepProgress::Awaiting(
                    pending.into_request(self.load.agent),
                ))
            }
        }
    }

    /// The outcome of a step whose call has returned.
    fn conclude(&mut self, result: wasmtime::Result<()>) -> Result<Outcome, AgentHostError> {
        let agent = self.load.agent;
        let InstanceState::Running(instance) = &mut self.state else {
            unreachable!("a call that returned has given its instance back")
        };
        let mut context = instance.store.context();
        let fuel_used = self.load.fuel - fuel_left(&context);
        let data = context.data_mut();
        let mut effects = data.effects.take();
        let status = match result {
            Ok(()) => {
                self.next_request = data.next_request;
                Status::Completed
            }
            Err(error) => {
                let status = failure_status(agent, &error, data)?;
                // The requests that it awaited were answered, and a repetition of the step needs to know them.
                effects.retain(|effect| matches!(effect, Effect::Log(_) | Effect::Infer { .. }));
                self.state = match self.load.on_failure {
                    OnFailure::Restart => InstanceState::Failed,
                    OnFailure::Halt => InstanceState::Halted,
                };
                status
            }
        };
        Ok(Outcome {
            agent,
            status,
            fuel_used,
            effects,
        })
    }

    fn out_of_turn(&self, what: &str) -> AgentHostError {
        AgentHostError::OutOfTurn {
            agent: self.load.agent,
            what: what.to_owned(),
        }
    }

    fn restore_error(&self, source: RestoreError) -> AgentHostError {
        let agent = self.load.agent;
        AgentHostError::Restore { agent, source }
    }

    /// Makes a new instance, calls `init`, and returns what it logged. The agent is halted if `init` fails.
    fn start(&mut self) -> Result<Result<Vec<LogLine>, InitFailure>, AgentHostError> {
        self.state = InstanceState::Halted;
        let data = StoreData::new(Arc::clone(&self.shared), &self.load);
        let fuel = self.load.fuel.max(INIT_FUEL);
        let mut store = new_store(&self.component, data, fuel);
        let started = instantiate(&self.component, &mut store, None).and_then(|exports| {
            let result = exports.call_init(&mut store, &self.config())?;
            Ok((exports, result))
        });
        let logs = effects::logs(store.data_mut().effects.take());
        let (exports, result) = match started {
            Ok(started) => started,
            Err(error) => {
                let reason = match failure_status(self.load.agent, &error, store.data_mut())? {
                    Status::OutOfFuel => format!("init used up its {fuel} units of fuel"),
                    Status::Trapped(text) => format!("init ended by a trap: {text}"),
                    status => format!("init ended with {status:?}"),
                };
                return Ok(Err(InitFailure { logs, reason }));
            }
        };
        if let Err(text) = result {
            return Ok(Err(InitFailure {
                logs,
                reason: format!("init refuses: {text}"),
            }));
        }
        self.state = InstanceState::Running(AgentInstance::new(store, exports));
        Ok(Ok(logs))
    }

    fn name(&self) -> &str {
        self.shared.agents.name(self.load.agent.0).unwrap_or("?")
    }

    fn config(&self) -> VersionedConfig {
        let (name, id) = (self.name().to_owned(), self.load.agent.0);
        let settings = self.load.settings.clone();
        match self.component.interface {
            InterfaceVersion::V0_1 => VersionedConfig::V0_1(v0_1::Config {
                name,
                id,
                settings,
                agents: self.shared.agents.names().to_vec(),
                models: self.shared.models.names().to_vec(),
            }),
            InterfaceVersion::V0_2 => VersionedConfig::V0_2(Config { name, id, settings }),
        }
    }
}

/// The status of a call that did not return. The texts are the same on every machine: no addresses, no stack frames.
fn failure_status(
    agent: AgentId,
    error: &wasmtime::Error,
    data: &mut StoreData,
) -> Result<Status, AgentHostError> {
    if let Some(text) = data.mismatch.take() {
        return Ok(Status::Mismatch(text));
    }
    if let Some(error) = AgentHostError::of_machine(agent, error) {
        return Err(error);
    }
    Ok(match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Status::OutOfFuel,
        Some(trap) => Status::Trapped(trap.to_string()),
        None => Status::Trapped(error.root_cause().to_string()),
    })
}

#[cfg(test)]
mod tests;
