//! One agent: how its instance is called, and what becomes of it when a step
//! fails.

mod instance;
mod mirror;
mod restore;
mod save;
mod waiting;

pub use restore::RestoreError;

use crate::bindings::{Config, Event};
use crate::effects;
use crate::error::HostError;
use crate::fleet::Fleet;
use crate::program::Program;
use crate::state::State;
use instance::{Exports, Instance, fuel_left, guest, make, refuel};
use mirror::Mirror;
use restore::Restoring;
use shm_protocol::agent_to_supervisor::{
    AgentLoaded, AwaitRequest, Effect, LogLine, Outcome, Status,
};
use shm_protocol::id::{AgentId, RequestId, Tick};
use shm_protocol::supervisor_to_agent::{AwaitResult, LoadAgent, OnFailure, RequestResult};
use std::collections::VecDeque;
use std::sync::Arc;
use waiting::{Progress, Waiting};
use wasmtime::Trap;

/// Fuel of `init`, where a step has less: about a second. It is called before the first tick, or once after a
/// failure, and language runtimes need more to begin than to go on.
const INIT_FUEL: u64 = 1_000_000_000;

/// One agent.
pub(crate) struct Agent {
    fleet: Arc<Fleet>,
    program: Arc<Program>,
    load: LoadAgent,
    life: Life,
    /// The number of its next request. It outlives instances, and a failed step does not move it.
    next_request: RequestId,
    /// What the supervisor has of its memory.
    mirror: Mirror,
    /// Answers for its next step, which are there before it asks.
    known: VecDeque<Arc<RequestResult>>,
}

/// How far a step has come.
pub(crate) enum Stepped {
    Done(Outcome),
    /// It waits for the answer to this.
    Waits(AwaitRequest),
}

enum Life {
    Running(Instance),
    /// Its step waits, and its stack is kept.
    Parked(Waiting),
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
        load: LoadAgent,
    ) -> Result<(Agent, AgentLoaded), HostError> {
        let opaque = program.opaque().map(str::to_owned);
        let mut agent = Agent {
            fleet: Arc::clone(fleet),
            program,
            load,
            life: Life::Awaited(None),
            next_request: RequestId(0),
            mirror: Mirror::default(),
            known: VecDeque::new(),
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
        let loaded = AgentLoaded {
            agent: agent.load.agent,
            logs,
            result,
            opaque,
        };
        Ok((agent, loaded))
    }

    /// Takes one step. `spare` is a list whose memory is used again, as is that of `events` if the step cannot wait.
    ///
    /// # Errors
    /// When the machine is at its end, the agent's state is still awaited, or it is in the middle of a step. That the
    /// step fails is in the [`Outcome`].
    pub(crate) fn step(
        &mut self,
        tick: Tick,
        events: &mut Vec<Event>,
        spare: &mut Vec<Effect>,
    ) -> Result<Stepped, HostError> {
        match self.life {
            Life::Running(_) => self.call_step(tick, events, spare, Vec::new()),
            Life::Halted => {
                let halted = self.not_stepped("halted".to_owned(), Vec::new());
                Ok(Stepped::Done(halted))
            }
            Life::Fallen => match self.start()? {
                Ok(logs) => self.call_step(tick, events, spare, logs),
                Err(failed) => {
                    let text = format!("restart: {}", failed.reason);
                    Ok(Stepped::Done(self.not_stepped(text, failed.logs)))
                }
            },
            Life::Awaited(_) => {
                let what = format!("a step of tick {tick}");
                Err(self.unrestorable(RestoreError::TooEarly { what }))
            }
            Life::Parked(_) => Err(self.out_of_turn("its next step")),
        }
    }

    /// Takes an answer: of what its step waits for, or what its next step will ask. None in the second case.
    ///
    /// # Errors
    /// When it neither waits for that nor can ask for it next, or the machine is at its end.
    pub(crate) fn answer(&mut self, answered: AwaitResult) -> Result<Option<Stepped>, HostError> {
        let AwaitResult {
            number, outcome, ..
        } = answered;
        match std::mem::replace(&mut self.life, Life::Halted) {
            Life::Parked(waiting) if waiting.number == number => {
                let progress = waiting.resume(outcome);
                self.take_note(progress).map(Some)
            }
            life @ (Life::Running(_) | Life::Fallen) if number as usize == self.known.len() => {
                self.life = life;
                self.known.push_back(outcome);
                Ok(None)
            }
            life => {
                self.life = life;
                Err(self.out_of_turn(&format!("the answer to its wait {number}")))
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

    /// Calls the step. What `init` has said just before comes first.
    fn call_step(
        &mut self,
        tick: Tick,
        events: &mut Vec<Event>,
        spare: &mut Vec<Effect>,
        logs: Vec<LogLine>,
    ) -> Result<Stepped, HostError> {
        let Life::Running(instance) = &mut self.life else {
            unreachable!("the caller has looked")
        };
        let mut context = instance.guest.context();
        let state = context.data_mut();
        state.tick = tick;
        state.next_request = self.next_request;
        state.random.begin_tick();
        state.effects.begin(std::mem::take(spare), logs);
        refuel(&mut context, self.load.fuel);
        let step = match &instance.exports {
            Exports::Plain(exports) => {
                let ended = exports.call_step(&mut context, events);
                return self.conclude(ended).map(Stepped::Done);
            }
            Exports::Waiting(step) => *step,
        };
        context
            .data_mut()
            .waits
            .begin(std::mem::take(&mut self.known));
        let Life::Running(instance) = std::mem::replace(&mut self.life, Life::Halted) else {
            unreachable!("looked just now")
        };
        let progress = Waiting::begin(instance, step, std::mem::take(events));
        self.take_note(progress)
    }

    /// Takes note of how far a step has come that may wait.
    fn take_note(&mut self, progress: Progress) -> Result<Stepped, HostError> {
        match progress {
            Progress::Ended(instance, ended) => {
                self.life = Life::Running(instance);
                self.conclude(ended).map(Stepped::Done)
            }
            Progress::Waits(waiting, asked) => {
                self.life = Life::Parked(waiting);
                Ok(Stepped::Waits(asked.of(self.load.agent)))
            }
        }
    }

    /// What a step came to that has ended.
    fn conclude(&mut self, ended: wasmtime::Result<()>) -> Result<Outcome, HostError> {
        let agent = self.load.agent;
        let Life::Running(instance) = &mut self.life else {
            unreachable!("a step that has ended gives its instance back")
        };
        let mut context = instance.guest.context();
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
                // What it has waited for was answered, and whoever steps it again must know.
                effects.retain(|effect| matches!(effect, Effect::Log(_) | Effect::Infer { .. }));
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

    fn out_of_turn(&self, what: &str) -> HostError {
        HostError::OutOfTurn {
            agent: self.load.agent,
            what: what.to_owned(),
        }
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
            let result = made.call_init(&mut guest, &self.config())?;
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
