//! One agent: how its instance is called, and what becomes of it when a step
//! fails.

mod instance;
mod mirror;
mod restore;
mod save;

pub use restore::RestoreError;

use crate::bindings::{Config, Event};
use crate::effects;
use crate::error::HostError;
use crate::fleet::Fleet;
use crate::program::Program;
use crate::state::State;
use instance::{Instance, fuel_left, guest, make, refuel};
use mirror::Mirror;
use restore::Restoring;
use shm_protocol::agent_to_supervisor::{Effect, Loaded, LogLine, Outcome, Status};
use shm_protocol::id::{AgentId, RequestId, Tick};
use shm_protocol::supervisor_to_agent::{Load, OnFailure};
use std::sync::Arc;
use wasmtime::Trap;

/// Fuel of `init`, where a step has less: about a second. It is called before the first tick, or once after a
/// failure, and language runtimes need more to begin than to go on.
const INIT_FUEL: u64 = 1_000_000_000;

/// One agent.
pub(crate) struct Agent {
    fleet: Arc<Fleet>,
    program: Arc<Program>,
    load: Load,
    life: Life,
    /// The number of its next request. It outlives instances, and a failed step does not move it.
    next_request: RequestId,
    /// What the supervisor has of its memory.
    mirror: Mirror,
}

enum Life {
    Running(Instance),
    /// A step failed. The next one begins with a new instance.
    Fallen,
    /// A step or `init` failed, and no further one is taken.
    Halted,
    /// It was loaded to be restored, and its state is not yet there, or not all of it.
    Awaited(Option<Box<Restoring>>),
}

/// How `init` failed.
struct InitFailed {
    logs: Vec<LogLine>,
    reason: String,
}

impl Agent {
    /// Instantiates an agent and calls its `init`, unless it is to be restored.
    ///
    /// # Errors
    /// When the machine is at its end, or the agent cannot be restored. That the agent fails is in the [`Loaded`].
    pub(crate) fn load(
        fleet: &Arc<Fleet>,
        program: Arc<Program>,
        load: Load,
    ) -> Result<(Agent, Loaded), HostError> {
        let opaque = program.opaque().map(str::to_owned);
        let mut agent = Agent {
            fleet: Arc::clone(fleet),
            program,
            load,
            life: Life::Awaited(None),
            next_request: RequestId(0),
            mirror: Mirror::default(),
        };
        let (logs, result) = match (agent.load.restored, &opaque) {
            (true, Some(reason)) => {
                let reason = reason.clone();
                return Err(agent.unrestorable(RestoreError::Opaque { reason }));
            }
            (true, None) => (Vec::new(), Ok(())),
            (false, _) => match agent.start()? {
                Ok(logs) => (logs, Ok(())),
                Err(failed) => {
                    let reason = format!("agent {}: {}", agent.name(), failed.reason);
                    (failed.logs, Err(reason))
                }
            },
        };
        let loaded = Loaded {
            agent: agent.load.agent,
            logs,
            result,
            opaque,
        };
        Ok((agent, loaded))
    }

    /// Takes one step. `spare` is a list whose memory is used again.
    ///
    /// # Errors
    /// When the machine is at its end, or the agent's state is still awaited. That the step fails is in the
    /// [`Outcome`].
    pub(crate) fn step(
        &mut self,
        tick: Tick,
        events: &[Event],
        spare: &mut Vec<Effect>,
    ) -> Result<Outcome, HostError> {
        match self.life {
            Life::Running(_) => self.call_step(tick, events, spare),
            Life::Halted => Ok(self.not_stepped("halted".to_owned(), Vec::new())),
            Life::Fallen => match self.start()? {
                Ok(logs) => {
                    let mut outcome = self.call_step(tick, events, spare)?;
                    outcome
                        .effects
                        .splice(0..0, logs.into_iter().map(Effect::Log));
                    Ok(outcome)
                }
                Err(failed) => {
                    Ok(self.not_stepped(format!("restart: {}", failed.reason), failed.logs))
                }
            },
            Life::Awaited(_) => {
                let what = format!("a step of tick {tick}");
                Err(self.unrestorable(RestoreError::TooEarly { what }))
            }
        }
    }

    /// Whether its next step begins with an `init`.
    pub(crate) fn is_fallen(&self) -> bool {
        matches!(self.life, Life::Fallen)
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

    fn call_step(
        &mut self,
        tick: Tick,
        events: &[Event],
        spare: &mut Vec<Effect>,
    ) -> Result<Outcome, HostError> {
        let agent = self.load.agent;
        let Life::Running(instance) = &mut self.life else {
            unreachable!("the caller has looked")
        };
        let mut context = instance.guest.context();
        let state = context.data_mut();
        state.tick = tick;
        state.next_request = self.next_request;
        state.random.begin_tick();
        state.effects.begin(std::mem::take(spare));
        refuel(&mut context, self.load.fuel);
        let ended = instance.exports.call_step(&mut context, events);
        let fuel_used = self.load.fuel - fuel_left(&context);
        let state = context.data_mut();
        let mut effects = state.effects.take();
        let status = match ended {
            Ok(()) => {
                self.next_request = state.next_request;
                Status::Completed
            }
            Err(error) => {
                let status = end(agent, &error, state)?;
                effects.retain(|effect| matches!(effect, Effect::Log(_)));
                self.life = match self.load.on_failure {
                    OnFailure::Restart => Life::Fallen,
                    OnFailure::Halt => Life::Halted,
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

    /// Makes a new instance and calls `init`. Gives what it logged. If it fails, the agent is halted.
    fn start(&mut self) -> Result<Result<Vec<LogLine>, InitFailed>, HostError> {
        self.life = Life::Halted;
        let state = State::new(
            Arc::clone(&self.fleet),
            self.load.agent,
            self.load.memory_bytes,
        );
        let fuel = self.load.fuel.max(INIT_FUEL);
        let mut guest = guest(&self.program, state, fuel);
        let started = make(&self.program, &mut guest, None).and_then(|made| {
            let result = made.exports.call_init(guest.context(), &self.config())?;
            Ok((made, result))
        });
        let logs = effects::logs(guest.data_mut().effects.take());
        let (made, result) = match started {
            Ok(started) => started,
            Err(error) => {
                let reason = match end(self.load.agent, &error, guest.data_mut())? {
                    Status::OutOfFuel => format!("init used up its {fuel} units of fuel"),
                    Status::Trapped(text) => format!("init ended by a trap: {text}"),
                    status => format!("init ended with {status:?}"),
                };
                return Ok(Err(InitFailed { logs, reason }));
            }
        };
        if let Err(text) = result {
            return Ok(Err(InitFailed {
                logs,
                reason: format!("init refuses: {text}"),
            }));
        }
        self.life = Life::Running(Instance::new(guest, made));
        Ok(Ok(logs))
    }

    fn name(&self) -> &str {
        self.fleet
            .setup
            .agents
            .get(self.load.agent.index())
            .map_or("?", String::as_str)
    }

    fn config(&self) -> Config {
        Config {
            name: self.name().to_owned(),
            id: self.load.agent.0,
            settings: self.load.settings.clone(),
            agents: self.fleet.setup.agents.clone(),
            models: self.fleet.setup.models.clone(),
        }
    }
}

/// How a call ended that did not return. The texts are the same on every machine: no addresses, no frames.
fn end(agent: AgentId, error: &wasmtime::Error, state: &mut State) -> Result<Status, HostError> {
    if let Some(text) = state.mismatch.take() {
        return Ok(Status::Mismatch(text));
    }
    if let Some(error) = HostError::of_machine(agent, error) {
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
