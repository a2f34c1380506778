//! A run as its journal has it: real outcomes and results to measure parts of a
//! tick with, and to compare with what bare engines give.

use crate::Trouble;
use crate::fleets::{self, Work};
use shm_protocol::id::{HostId, VersionId};
use shm_protocol::inference_to_supervisor::Batching;
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::{AgentEvent, ModelPorts, Step};
use std::fs;
use std::path::Path;
use supervisor::fleet::Durability;
use supervisor::journal::JournalReader;
use supervisor::record::{RunHeader, TickRecord};
use supervisor::rundir::RunDir;
use supervisor::tick::{PlannedAgent, PlannedModel, RunPlan, VersionTimeline};

/// A run as its journal has it.
pub struct Captured {
    /// What the run is.
    pub header: RunHeader,
    /// Its ticks, from the first.
    pub records: Vec<TickRecord>,
}

impl Captured {
    /// Runs a fleet of so many agents for so many ticks and keeps its journal in memory.
    ///
    /// # Errors
    /// When it cannot be run or read.
    pub fn new(
        binary: &Path,
        scratch: &Path,
        work: Work,
        agents: usize,
        ticks: u64,
    ) -> Result<Captured, Trouble> {
        let fleet = work.fleet(scratch, agents)?;
        let dir = scratch.join("captured");
        fleets::finish(fleets::command(
            binary,
            &fleet,
            &dir,
            ticks,
            Durability::Process,
        ))?;
        let (header, mut reader) = JournalReader::open(&RunDir::read(&dir)?)?;
        let records = reader
            .entries()
            .map(|entry| Ok(entry?.record))
            .collect::<Result<Vec<_>, Trouble>>()?;
        fs::remove_dir_all(&dir)?;
        Ok(Captured { header, records })
    }

    /// The steps that the fleet took in the tick at this position of [`Captured::records`].
    #[must_use]
    pub fn steps(&self, position: usize) -> Vec<Step> {
        let record = &self.records[position];
        let mut results = record.results.iter().peekable();
        let steps = record.outcomes.iter().map(|outcome| {
            let mut events = Vec::new();
            while let Some(result) = results.next_if(|result| result.agent == outcome.agent) {
                let (request, model, outcome) =
                    (result.request, result.model, result.outcome.clone());
                events.push(AgentEvent::Inference {
                    request,
                    model,
                    outcome,
                });
            }
            Step {
                agent: outcome.agent,
                events,
            }
        });
        steps.collect()
    }

    /// The outputs of the batch whose results reached agents in the tick at this position, one row after the other.
    #[must_use]
    pub fn output(&self, position: usize) -> Vec<u8> {
        let outcomes = self.records[position]
            .results
            .iter()
            .flat_map(|result| result.outcome.as_ref());
        outcomes
            .flatten()
            .flat_map(|tensor| &tensor.data)
            .copied()
            .collect()
    }

    /// The rows of the batch that was asked for in the tick at this position, each as its agent sent it.
    pub fn rows(&self, position: usize) -> impl Iterator<Item = &[u8]> {
        use shm_protocol::agent_to_supervisor::Effect;
        let effects = self.records[position]
            .outcomes
            .iter()
            .flat_map(|outcome| &outcome.effects);
        effects.filter_map(|effect| match effect {
            Effect::Submit { inputs, .. } => inputs.first().map(|tensor| tensor.data.as_slice()),
            _ => None,
        })
    }

    /// What agents know of the models.
    #[must_use]
    pub fn ports(&self) -> Vec<ModelPorts> {
        let models = self.header.models.iter();
        models
            .map(|model| ModelPorts {
                signature: model.signature.clone(),
                on_mismatch: model.settings.on_mismatch,
            })
            .collect()
    }

    /// The plan of the run, with all agents on one host.
    #[must_use]
    pub fn plan(&self) -> RunPlan {
        let agents = self.header.agents.iter().map(|agent| PlannedAgent {
            host: HostId(0),
            priority: agent.priority,
            every: agent.every,
            on_failure: agent.on_failure,
            may_finish: agent.may_finish,
        });
        let versions = (0..).map(VersionId);
        let models = versions.zip(&self.header.models);
        let models = models.map(|(version, model)| PlannedModel {
            name: model.name.clone(),
            signature: model.signature.clone(),
            timeline: VersionTimeline::new(version, model.batching == Batching::Joined),
            settings: model.settings,
            seed: self.header.seed,
        });
        RunPlan::new(agents.collect(), models.collect(), limit::STEP_BYTES)
    }
}
