//! The agents of a fleet with nothing around them.

use crate::Trouble;
use crate::captured::Captured;
use crate::clock::timed;
use crate::fleets::Work;
use agent_host::bench_support::BareAgents;
use shm_protocol::boot::Extent;
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::supervisor_to_agent::{AgentSetup, LoadAgent};
use std::hint::black_box;
use std::path::Path;
use supervisor::artifact::Compiler;

/// The agents of a captured run in this process, on one thread.
pub struct BareFleet {
    agents: BareAgents,
    tick: Tick,
}

impl BareFleet {
    /// Compiles and instantiates the agents of a captured run.
    ///
    /// # Errors
    /// When they cannot be, or when they do not do what they did in the run.
    pub fn new(binary: &Path, work: Work, captured: &Captured) -> Result<BareFleet, Trouble> {
        let header = &captured.header;
        let compiler = Compiler {
            program: binary.to_path_buf(),
            cache: None,
            canonical_nan: header.canonical_nan,
            wasmtime_version: agent_host::WASMTIME_VERSION.to_owned(),
            config_fingerprint: agent_host::config_fingerprint(),
        };
        let artifact = compiler.artifact(&std::fs::read(work.component())?)?;
        let extent = Extent {
            offset: 0,
            bytes: artifact.len() as u64,
        };
        let loads = header
            .agents
            .iter()
            .enumerate()
            .map(|(position, pin)| LoadAgent {
                agent: AgentId::from_index(position),
                artifact: extent,
                settings: pin.settings.clone(),
                fuel: pin.fuel,
                memory_bytes: pin.memory_bytes,
                on_failure: pin.on_failure,
                may_finish: pin.may_finish,
                restored: false,
            });
        let setup = AgentSetup {
            // No agent of a measurement draws random numbers.
            random_key: [0; 32],
            canonical_nan: header.canonical_nan,
            max_step_bytes: header.max_step_bytes,
            agents: header
                .agents
                .iter()
                .map(|agent| agent.name.clone())
                .collect(),
            models: header
                .models
                .iter()
                .map(|model| model.name.clone())
                .collect(),
        };
        let agents = BareAgents::new(setup, loads.collect(), &artifact, captured.ports())?;
        let mut fleet = BareFleet {
            agents,
            tick: Tick::ZERO,
        };
        fleet.compare(captured)?;
        Ok(fleet)
    }

    /// Takes every step of the captured run once. Mean seconds of one tick, without making steps and freeing outcomes.
    ///
    /// # Errors
    /// When a step cannot be taken.
    pub fn pass(&mut self, captured: &Captured) -> Result<f64, Trouble> {
        let mut seconds = 0.0;
        for position in 0..captured.records.len() {
            let steps = captured.steps(position);
            let tick = self.tick.next();
            let mut outcomes = Vec::with_capacity(steps.len());
            let (took, result) = timed(|| {
                steps.into_iter().try_for_each(|step| {
                    outcomes.push(self.agents.step(tick, step)?);
                    Ok::<(), String>(())
                })
            });
            result?;
            black_box(outcomes);
            seconds += took;
            self.tick = tick;
        }
        Ok(seconds / captured.records.len() as f64)
    }

    /// Takes the steps for the first time: every outcome must be that of the run.
    fn compare(&mut self, captured: &Captured) -> Result<(), Trouble> {
        for (position, record) in captured.records.iter().enumerate() {
            self.tick = self.tick.next();
            for (step, journaled) in captured.steps(position).into_iter().zip(&record.outcomes) {
                if self.agents.step(self.tick, step)? != *journaled {
                    return Err(format!(
                        "bare, agent {} does something else in tick {}",
                        journaled.agent, self.tick
                    )
                    .into());
                }
            }
        }
        Ok(())
    }
}
