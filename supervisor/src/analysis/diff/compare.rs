//! Walks two records side by side and stops at the first field that differs.

use super::{ByteChange, Change};
use crate::analysis::inspect::{element, number};
use crate::journal::hex;
use crate::record::{
    AgentPin, AwaitedRecord, DroppedMessages, EnginePin, ModelPin, ResultRecord, RunHeader,
    TickRecord, Verdict,
};
use bincode::Encode;
use shm_protocol::agent_to_supervisor::{Effect, Outcome};
use shm_protocol::codec;
use shm_protocol::id::AgentId;
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::Tensor;
use std::fmt::Debug;

/// Most characters of a value that are shown.
const SHOWN_CHARACTERS: usize = 200;

/// A difference on its way up. It travels as an error, so that `?` stops at the first one.
pub(crate) struct Found {
    pub(crate) agent: Option<AgentId>,
    field: String,
    left: String,
    right: String,
}

impl Found {
    fn of(self, agent: AgentId) -> Found {
        Found {
            agent: Some(agent),
            ..self
        }
    }

    fn within(self, outer: &str) -> Found {
        Found {
            field: format!("{outer} {}", self.field),
            ..self
        }
    }

    pub(crate) fn change<T: Encode>(self, left: &T, right: &T) -> Change {
        let (left, right) = (codec::encode(left), codec::encode(right));
        let longest = left.len().max(right.len());
        let offset = (0..longest)
            .find(|at| left.get(*at) != right.get(*at))
            .unwrap_or(longest);
        let byte = ByteChange {
            offset,
            left: left.get(offset).copied(),
            right: right.get(offset).copied(),
        };
        Change {
            field: self.field,
            left: self.left,
            right: self.right,
            byte,
        }
    }
}

pub(crate) type Compared = Result<(), Found>;

fn value<T: PartialEq + Debug>(field: &str, left: &T, right: &T) -> Compared {
    if left == right {
        return Ok(());
    }
    Err(Found {
        agent: None,
        field: field.to_owned(),
        left: brief(left),
        right: brief(right),
    })
}

/// A value as text, the beginning of it if it is long.
fn brief(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Compares element by element; an element that one side lacks is shown as nothing.
fn each<T: Debug>(
    field: &str,
    left: &[T],
    right: &[T],
    compare: impl Fn(&T, &T) -> Compared,
    agent: impl Fn(&T) -> Option<AgentId>,
) -> Compared {
    for position in 0..left.len().max(right.len()) {
        let name = format!("{field} {position}");
        match (left.get(position), right.get(position)) {
            (Some(left), Some(right)) => {
                compare(left, right).map_err(|found| found.within(&name))?
            }
            (left, right) => {
                let shown = |element: Option<&T>| {
                    element.map_or_else(|| "nothing".to_owned(), |some| brief(some))
                };
                let agent = left.or(right).and_then(&agent);
                return Err(Found {
                    agent,
                    field: name,
                    left: shown(left),
                    right: shown(right),
                });
            }
        }
    }
    Ok(())
}

fn bytes(field: &str, left: &[u8], right: &[u8]) -> Compared {
    let longest = left.len().max(right.len());
    let Some(at) = (0..longest).find(|at| left.get(*at) != right.get(*at)) else {
        return Ok(());
    };
    let shown = |bytes: &[u8]| {
        bytes
            .get(at)
            .map_or_else(|| "the end".to_owned(), |byte| format!("{byte:#04x}"))
    };
    Err(Found {
        agent: None,
        field: format!("{field} byte {at}"),
        left: shown(left),
        right: shown(right),
    })
}

macro_rules! same {
    ($left:expr, $right:expr, $($field:ident),+) => {
        $(value(stringify!($field), &$left.$field, &$right.$field)?;)+
    };
}

/// Compares what two runs are.
pub(crate) fn headers(left: &RunHeader, right: &RunHeader) -> Compared {
    same!(
        left,
        right,
        lockstep,
        wasmtime,
        fleet,
        seed,
        canonical_nan,
        step_bytes
    );
    each("agent", &left.agents, &right.agents, agents, |_| None)?;
    each("model", &left.models, &right.models, models, |_| None)?;
    each(
        "change",
        &left.changes,
        &right.changes,
        |left, right| value("of models", left, right),
        |_| None,
    )?;
    engines(left.engine.as_ref(), right.engine.as_ref())
}

fn engines(left: Option<&EnginePin>, right: Option<&EnginePin>) -> Compared {
    if left == right {
        return Ok(());
    }
    let shown =
        |pin: Option<&EnginePin>| pin.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    Err(Found {
        agent: None,
        field: "engine".to_owned(),
        left: shown(left),
        right: shown(right),
    })
}

fn agents(left: &AgentPin, right: &AgentPin) -> Compared {
    same!(left, right, name);
    digests("component", &left.component, &right.component)?;
    same!(
        left,
        right,
        settings,
        fuel,
        memory_bytes,
        priority,
        every,
        on_failure
    );
    Ok(())
}

fn models(left: &ModelPin, right: &ModelPin) -> Compared {
    same!(left, right, name);
    digests("file", &left.file, &right.file)?;
    same!(
        left,
        right,
        version,
        providers,
        provider,
        refused,
        signature,
        batching,
        max_batch,
        latency_ticks,
        on_mismatch,
        rejects_nonfinite,
        memory_bytes,
        generator
    );
    Ok(())
}

fn digests(field: &str, left: &[u8], right: &[u8]) -> Compared {
    value(field, &hex(left), &hex(right))
}

/// Compares two ticks.
pub(crate) fn records(left: &TickRecord, right: &TickRecord) -> Compared {
    each("result", &left.results, &right.results, results, |result| {
        Some(result.agent)
    })?;
    // Answers come before what agents make of them.
    each(
        "awaited",
        &left.awaited,
        &right.awaited,
        awaited,
        |awaited| Some(awaited.agent),
    )?;
    each(
        "outcome",
        &left.outcomes,
        &right.outcomes,
        outcomes,
        |outcome| Some(outcome.agent),
    )?;
    each(
        "dropped",
        &left.dropped,
        &right.dropped,
        dropped,
        |dropped| Some(dropped.receiver),
    )?;
    each(
        "verdict",
        &left.verdicts,
        &right.verdicts,
        |left, right| value("said", left, right),
        |verdict| match verdict {
            Verdict::Quarantined { agent, .. } | Verdict::RequestAbandoned { agent, .. } => {
                Some(*agent)
            }
            Verdict::ProviderLost { .. } | Verdict::Changed { .. } => None,
        },
    )
}

fn results(left: &ResultRecord, right: &ResultRecord) -> Compared {
    let compare = || {
        same!(left, right, agent, request, model);
        answers(&left.outcome, &right.outcome)
    };
    compare().map_err(|found| found.of(left.agent))
}

fn awaited(left: &AwaitedRecord, right: &AwaitedRecord) -> Compared {
    let compare = || {
        same!(left, right, agent, model);
        answers(&left.outcome, &right.outcome)
    };
    compare().map_err(|found: Found| found.of(left.agent))
}

fn answers(left: &RequestResult, right: &RequestResult) -> Compared {
    match (left, right) {
        (Ok(left), Ok(right)) => each("output", left, right, tensors, |_| None),
        (left, right) => value("outcome", left, right),
    }
}

fn outcomes(left: &Outcome, right: &Outcome) -> Compared {
    let compare = || {
        same!(left, right, agent, status, fuel_used);
        each("effect", &left.effects, &right.effects, effects, |_| None)
    };
    compare().map_err(|found| found.of(left.agent))
}

fn dropped(left: &DroppedMessages, right: &DroppedMessages) -> Compared {
    let compare = || {
        same!(left, right, receiver, messages);
        Ok(())
    };
    compare().map_err(|found: Found| found.of(left.receiver))
}

fn effects(left: &Effect, right: &Effect) -> Compared {
    let compared = match (left, right) {
        (
            Effect::Send {
                to: left_to,
                payload: left,
            },
            Effect::Send {
                to: right_to,
                payload: right,
            },
        ) => value("to", left_to, right_to).and_then(|()| bytes("payload", left, right)),
        (
            Effect::Submit {
                request: left_request,
                model: left_model,
                inputs: left,
            },
            Effect::Submit {
                request: right_request,
                model: right_model,
                inputs: right,
            },
        ) => value("request", left_request, right_request)
            .and_then(|()| value("model", left_model, right_model))
            .and_then(|()| each("input", left, right, tensors, |_| None)),
        (
            Effect::Infer {
                model: left_model,
                inputs: left,
            },
            Effect::Infer {
                model: right_model,
                inputs: right,
            },
        ) => value("model", left_model, right_model)
            .and_then(|()| each("input", left, right, tensors, |_| None)),
        (
            Effect::Emit {
                topic: left_topic,
                payload: left,
            },
            Effect::Emit {
                topic: right_topic,
                payload: right,
            },
        ) => value("topic", left_topic, right_topic).and_then(|()| bytes("payload", left, right)),
        (Effect::Log(left), Effect::Log(right)) => value("level", &left.level, &right.level)
            .and_then(|()| value("text", &left.text, &right.text)),
        (left, right) => return value("kind", &kind(left), &kind(right)),
    };
    compared.map_err(|found| found.within(&format!("({})", kind(left))))
}

fn kind(effect: &Effect) -> &'static str {
    match effect {
        Effect::Send { .. } => "send",
        Effect::Submit { .. } => "submit",
        Effect::Infer { .. } => "infer",
        Effect::Emit { .. } => "emit",
        Effect::Log(_) => "log",
    }
}

fn tensors(left: &Tensor, right: &Tensor) -> Compared {
    same!(left, right, dtype, shape);
    let differs = left
        .data
        .iter()
        .zip(&right.data)
        .position(|(left, right)| left != right);
    let Some(byte) = differs.filter(|_| left.data.len() == right.data.len()) else {
        return bytes("data", &left.data, &right.data);
    };
    // Of the elements that share a byte, the first that differs.
    let bits = left.dtype.bits();
    let first = byte * 8 / bits;
    let position = (first..first + (8 / bits).max(1))
        .find(|position| element(left, *position) != element(right, *position))
        .unwrap_or(first);
    let shown = |tensor: &Tensor| {
        let bytes = element(tensor, position);
        format!("{} (0x{})", number(tensor, position), hex(&bytes))
    };
    Err(Found {
        agent: None,
        field: format!("element {position}"),
        left: shown(left),
        right: shown(right),
    })
}
