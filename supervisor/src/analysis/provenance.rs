//! Provenance of results: the version of the model and the provider that made a result, and digests of its inputs and
//! outputs. All of it follows from the journal.

use crate::journal::JournalEntry;
use crate::models::{ModelVersion, apply_verdicts, timeline, versions};
use crate::record::{Digest, RunHeader, Verdict};
use crate::tick::{VersionSpan, VersionTimeline};
use shm_protocol::agent_to_supervisor::Effect;
use shm_protocol::codec;
use shm_protocol::id::{AgentId, ModelId, RequestId, Tick, VersionId};
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::Tensor;
use std::collections::BTreeMap;

/// The provenance of one result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The tick in which it reached its agent.
    pub tick: Tick,
    /// The tick in which it was requested.
    pub request_tick: Tick,
    /// The agent that made the request.
    pub agent: AgentId,
    /// The agent's number for the request; none if its step awaited the result.
    pub request: Option<RequestId>,
    /// The name of the model.
    pub model: String,
    /// The version that made it; none if the model was not loaded.
    pub version: Option<ProducingVersion>,
    /// BLAKE3 of the inputs, as they are journaled.
    pub input: Digest,
    /// BLAKE3 of the outputs, as they are journaled, or the error of the request.
    pub output: Result<Digest, String>,
}

/// The version of a model that made a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducingVersion {
    /// The name of the version.
    pub name: String,
    /// BLAKE3 of its file.
    pub file: Digest,
    /// The provider that ran it. Two, as in `cuda or cpu`, for a request that was in flight when the first was lost.
    pub provider: String,
}

/// Derives the provenance of every result while it follows a journal from the first tick on.
#[derive(Debug)]
pub struct ProvenanceTracker<'run> {
    header: &'run RunHeader,
    versions: Vec<ModelVersion>,
    lives: Vec<VersionTimeline>,
    /// Providers that were lost: the version that each ran, the tick of the verdict and the provider.
    lost: Vec<(VersionId, Tick, String)>,
    /// Tick and inputs of the requests that may have results still.
    open_requests: BTreeMap<(AgentId, RequestId), (Tick, Digest)>,
}

impl<'run> ProvenanceTracker<'run> {
    /// A tracker that stands before the first tick.
    #[must_use]
    pub fn new(header: &'run RunHeader) -> ProvenanceTracker<'run> {
        let models = (0..header.models.len()).map(ModelId::from_index);
        ProvenanceTracker {
            header,
            versions: versions(header),
            lives: models.map(|model| timeline(header, model)).collect(),
            lost: Vec::new(),
            open_requests: BTreeMap::new(),
        }
    }

    /// The provenance of the results of the next tick.
    pub fn next(&mut self, entry: &JournalEntry) -> Vec<Provenance> {
        let (tick, record) = (entry.tick, &entry.record);
        for verdict in &record.verdicts {
            match verdict {
                Verdict::ProviderLost { version, .. } => {
                    let held = self.versions.get(version.index());
                    let lost = held.map(|held| (*version, tick, held.pin.provider.clone()));
                    self.lost.extend(lost);
                }
                Verdict::Changed { model, version, .. } => {
                    self.lives[model.index()].insert(VersionSpan {
                        from: tick.next(),
                        version: *version,
                        is_batched: false,
                    });
                }
                Verdict::Quarantined { .. } | Verdict::RequestAbandoned { .. } => {}
            }
        }
        apply_verdicts(&mut self.versions, record.verdicts.iter());
        let mut provenances = Vec::new();
        for result in &record.results {
            let request = (result.agent, result.request);
            let Some((request_tick, input)) = self.open_requests.get(&request).copied() else {
                continue;
            };
            let model = (result.model, Some(result.request));
            provenances.push(self.one(
                (tick, request_tick),
                result.agent,
                model,
                input,
                &result.outcome,
            ));
            if self.header.models[result.model.index()]
                .settings
                .generator
                .is_none()
            {
                self.open_requests.remove(&request);
            }
        }
        let mut answers = record.awaited.iter();
        for outcome in &record.outcomes {
            for effect in &outcome.effects {
                match effect {
                    Effect::Submit {
                        request, inputs, ..
                    } => {
                        let request = (outcome.agent, *request);
                        self.open_requests.insert(request, (tick, digest(inputs)));
                    }
                    Effect::Infer { model, inputs } => {
                        if let Some(answer) = answers.next() {
                            provenances.push(self.one(
                                (tick, tick),
                                outcome.agent,
                                (*model, None),
                                digest(inputs),
                                &answer.outcome,
                            ));
                        }
                    }
                    _ => {}
                }
            }
        }
        provenances
    }

    fn one(
        &self,
        (tick, request_tick): (Tick, Tick),
        agent: AgentId,
        (model, request): (ModelId, Option<RequestId>),
        input: Digest,
        answer: &RequestResult,
    ) -> Provenance {
        let version = self.lives[model.index()]
            .at(request_tick)
            .version
            .and_then(|number| {
                let pin = &self.versions.get(number.index())?.pin;
                Some(ProducingVersion {
                    name: pin.version.clone(),
                    file: pin.file,
                    provider: self.provider(number, request_tick, tick),
                })
            });
        Provenance {
            tick,
            request_tick,
            agent,
            request,
            model: self.header.models[model.index()].name.clone(),
            version,
            input,
            output: match answer {
                Ok(outputs) => Ok(digest(outputs)),
                Err(reason) => Err(reason.clone()),
            },
        }
    }

    fn provider(&self, version: VersionId, request_tick: Tick, tick: Tick) -> String {
        let now = &self.versions[version.index()].pin.provider;
        let in_flight = self
            .lost
            .iter()
            .find(|(of, lost, _)| *of == version && request_tick <= *lost && tick >= *lost);
        match in_flight {
            Some((_, _, before)) => format!("{before} or {now}"),
            None => now.clone(),
        }
    }
}

fn digest(tensors: &[Tensor]) -> Digest {
    *blake3::hash(&codec::encode(&tensors)).as_bytes()
}
