//! Verdicts: decisions that change a run. A reason follows from the run.

use super::digest::Digest;
use super::model_change::{ModelChange, ScheduledChange};
use super::pins::VersionPin;
use super::run_header::RunHeader;
use bincode::{Decode, Encode};
use shm_protocol::id::{AgentId, ModelId, RequestId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::{Batching, RefusalReason};
use std::fmt;

/// A decision that changes the run and is no function of the fleet. A replay takes the same turn.
///
/// A reason is a code with values that follow from the run. Observations of the machine (signals, milliseconds,
/// standard error, names of hosts) go to `events.jsonl` and never in here.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[allow(missing_docs, reason = "the names of these fields suffice")]
pub enum Verdict {
    /// The agent takes no further steps, from this tick on.
    Quarantined {
        agent: AgentId,
        reason: QuarantineReason,
    },
    /// A request crashes the inference host, and nothing else of its batch does. It is answered with
    /// [`ABANDONED`] in the tick of this verdict, in which its result was due.
    RequestAbandoned {
        /// The agent that made it.
        agent: AgentId,
        /// The model that was asked.
        model: ModelId,
        /// The tick in which the engine was asked: of a generation, the tick of the decode request.
        asked: Tick,
        request: RequestName,
    },
    /// A version has lost its provider: from the next tick on another provider runs it, with its own batching.
    /// Unanswered requests are answered by that too.
    ProviderLost {
        version: VersionId,
        /// Its name.
        called: String,
        /// The model that it is one of.
        model: ModelId,
        /// The provider that runs it now.
        provider: String,
        /// Requested providers that are refused now, each with its reason.
        refused: Vec<(String, RefusalReason)>,
        /// Batching of its requests now.
        batching: Batching,
    },
    /// A model was changed by command, for requests from the next tick on.
    Changed {
        model: ModelId,
        /// The version that answers then; none if the model is unloaded. A new version has the next number.
        version: Option<VersionId>,
        /// The name of that version.
        called: Option<String>,
        /// The change.
        change: ModelChange<VersionPin>,
    },
}

/// The answer to a request that crashes the inference host.
pub const ABANDONED: &str =
    "the inference host crashes whenever it runs this request, which is therefore abandoned";

/// The name of a request within its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum RequestName {
    /// One whose result is delivered in a later tick, by the agent's number for it.
    Submitted(RequestId),
    /// One for which a step of this tick waits, by its position among those of the step.
    Awaited(u32),
}

impl fmt::Display for RequestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestName::Submitted(request) => write!(f, "request {request}"),
            RequestName::Awaited(number) => write!(f, "await {number}"),
        }
    }
}

/// The reason for which an agent is quarantined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum QuarantineReason {
    /// Its step crashes its host.
    StepCrashesHost,
    /// This number of its requests was abandoned.
    RequestsAbandoned(u32),
}

impl fmt::Display for QuarantineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QuarantineReason::StepCrashesHost => f.write_str("its step crashes its host"),
            QuarantineReason::RequestsAbandoned(requests) => {
                write!(f, "{requests} of its requests crashed the inference host")
            }
        }
    }
}

impl Verdict {
    /// The position of a verdict in its tick, so that the order does not depend on which host was lost first. Verdicts
    /// that come from outside keep the order in which they came, behind the others.
    #[must_use]
    pub fn order(&self) -> (u8, AgentId, Option<RequestName>) {
        match self {
            Verdict::RequestAbandoned { agent, request, .. } => (0, *agent, Some(*request)),
            Verdict::Quarantined { agent, .. } => (1, *agent, None),
            Verdict::ProviderLost { .. } | Verdict::Changed { .. } => (2, AgentId(0), None),
        }
    }

    /// BLAKE3 of the model's file that has come with it.
    #[must_use]
    pub fn file(&self) -> Option<Digest> {
        match self {
            Verdict::Changed { change, .. } => Some(change.new_version()?.file),
            _ => None,
        }
    }

    /// The verdict as text, for people.
    #[must_use]
    pub fn text(&self, header: &RunHeader) -> String {
        match self {
            Verdict::Quarantined { agent, reason } => {
                format!(
                    "agent {} is quarantined: {reason}",
                    header.agent_name(*agent)
                )
            }
            Verdict::RequestAbandoned {
                agent,
                model,
                asked,
                request,
            } => format!(
                "{request} of agent {} to model {}, asked in tick {asked}, is abandoned: it crashes the inference host",
                header.agent_name(*agent),
                header.model_name(*model)
            ),
            Verdict::ProviderLost {
                called,
                model,
                provider,
                refused,
                ..
            } => {
                let name = header.model_name(*model);
                let reasons = refused
                    .iter()
                    .map(|(provider, reason)| format!("{provider}: {reason}"));
                let reasons: Vec<String> = reasons.collect();
                format!(
                    "model {name}, version {called}, has lost its provider and continues on {provider} ({})",
                    reasons.join("; ")
                )
            }
            Verdict::Changed {
                model,
                called,
                change,
                ..
            } => {
                let name = header.model_name(*model);
                let called = called.as_deref().unwrap_or("?");
                let becomes = match change {
                    ModelChange::Replace(_) => format!("becomes version {called}"),
                    ModelChange::Load => format!("is loaded again, as version {called},"),
                    ModelChange::Unload => "is unloaded".to_owned(),
                };
                format!("model {name} {becomes} from the next tick on")
            }
        }
    }
}

impl RunHeader {
    /// The header of a run whose fleet had named from the beginning the model changes that these verdicts made.
    #[must_use]
    pub fn with<'a>(&self, verdicts: impl IntoIterator<Item = &'a (Tick, Verdict)>) -> RunHeader {
        let mut header = self.clone();
        let changes = verdicts
            .into_iter()
            .filter_map(|(tick, verdict)| match verdict {
                Verdict::Changed { model, change, .. } => Some(ScheduledChange {
                    from: tick.next(),
                    model: *model,
                    change: change.clone(),
                }),
                _ => None,
            });
        header.changes.extend(changes);
        header
    }
}
