//! Where a result comes from: which version of which model, run by whom, made it
//! of what. All of it follows from the journal.

use crate::journal::JournalEntry;
use crate::models::{ModelVersion, judge, lives, versions};
use crate::record::{Digest, RunHeader, Verdict};
use crate::tick::{VersionSpan, VersionTimeline};
use shm_protocol::agent_to_supervisor::Effect;
use shm_protocol::codec;
use shm_protocol::id::{AgentId, ModelId, RequestId, Tick, VersionId};
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::Tensor;
use std::collections::BTreeMap;

/// Where one result comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The tick in which it reached its agent.
    pub tick: Tick,
    /// The tick in which it was asked for.
    pub asked: Tick,
    /// Who asked.
    pub agent: AgentId,
    /// The agent's number for the request; none if its step waited for it.
    pub request: Option<RequestId>,
    /// The name of the model.
    pub model: String,
    /// What made it; none if the model was not loaded.
    pub made_by: Option<MadeBy>,
    /// BLAKE3 of the inputs, as they are journaled.
    pub input: Digest,
    /// BLAKE3 of the outputs, as they are journaled, or why there are none.
    pub output: Result<Digest, String>,
}

/// What made a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeBy {
    /// What the version is called.
    pub version: String,
    /// BLAKE3 of its file.
    pub file: Digest,
    /// The provider that ran it. Two, as in `cuda or cpu`, for what was under way when the first was lost.
    pub provider: String,
}

/// Follows a journal from its first tick on.
#[derive(Debug)]
pub struct Provenances<'run> {
    header: &'run RunHeader,
    versions: Vec<ModelVersion>,
    lives: Vec<VersionTimeline>,
    /// When who ran a version was lost, and who that was.
    lost: Vec<(VersionId, Tick, String)>,
    /// What was asked and may have results still.
    asked: BTreeMap<(AgentId, RequestId), (Tick, Digest)>,
}

impl<'run> Provenances<'run> {
    /// Before the first tick.
    #[must_use]
    pub fn of(header: &'run RunHeader) -> Provenances<'run> {
        let models = (0..header.models.len()).map(ModelId::from_index);
        Provenances {
            header,
            versions: versions(header),
            lives: models.map(|model| lives(header, model)).collect(),
            lost: Vec::new(),
            asked: BTreeMap::new(),
        }
    }

    /// Where the results of the next tick come from.
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
                    self.lives[model.index()].change(VersionSpan {
                        from: tick.next(),
                        version: *version,
                        joined: false,
                    });
                }
                Verdict::Quarantined { .. } | Verdict::RequestAbandoned { .. } => {}
            }
        }
        judge(&mut self.versions, record.verdicts.iter());
        let mut found = Vec::new();
        for result in &record.results {
            let request = (result.agent, result.request);
            let Some((asked, input)) = self.asked.get(&request).copied() else {
                continue;
            };
            let model = (result.model, Some(result.request));
            found.push(self.one((tick, asked), result.agent, model, input, &result.outcome));
            if self.header.models[result.model.index()].generator.is_none() {
                self.asked.remove(&request);
            }
        }
        let mut answers = record.awaited.iter();
        for outcome in &record.outcomes {
            for effect in &outcome.effects {
                match effect {
                    Effect::Submit {
                        request, inputs, ..
                    } => {
                        let asked = (tick, digest(inputs));
                        self.asked.insert((outcome.agent, *request), asked);
                    }
                    Effect::Infer { model, inputs } => {
                        if let Some(answer) = answers.next() {
                            let input = digest(inputs);
                            let model = (*model, None);
                            let ticks = (tick, tick);
                            found.push(self.one(
                                ticks,
                                outcome.agent,
                                model,
                                input,
                                &answer.outcome,
                            ));
                        }
                    }
                    _ => {}
                }
            }
        }
        found
    }

    fn one(
        &self,
        (tick, asked): (Tick, Tick),
        agent: AgentId,
        (model, request): (ModelId, Option<RequestId>),
        input: Digest,
        answer: &RequestResult,
    ) -> Provenance {
        let version = self.lives[model.index()].at(asked).version;
        let made_by = version.and_then(|number| {
            let pin = &self.versions.get(number.index())?.pin;
            Some(MadeBy {
                version: pin.version.clone(),
                file: pin.file,
                provider: self.provider(number, asked, tick),
            })
        });
        Provenance {
            tick,
            asked,
            agent,
            request,
            model: self.header.models[model.index()].name.clone(),
            made_by,
            input,
            output: match answer {
                Ok(outputs) => Ok(digest(outputs)),
                Err(reason) => Err(reason.clone()),
            },
        }
    }

    fn provider(&self, version: VersionId, asked: Tick, tick: Tick) -> String {
        let now = &self.versions[version.index()].pin.provider;
        let under_way = self
            .lost
            .iter()
            .find(|(of, lost, _)| *of == version && asked <= *lost && tick >= *lost);
        match under_way {
            Some((_, _, before)) => format!("{before} or {now}"),
            None => now.clone(),
        }
    }
}

fn digest(tensors: &[Tensor]) -> Digest {
    *blake3::hash(&codec::encode(&tensors)).as_bytes()
}
