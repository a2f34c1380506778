//! The lines of an outbox, rendered alike by its writer and its checker.

use crate::record::RunId;
use base64::Engine as _;
use serde::Serialize;
use shm_protocol::agent_to_supervisor::{Effect, Outcome};
use shm_protocol::id::{AgentId, Tick};

/// The origin of a line in its run.
#[derive(Clone, Copy, Debug)]
struct OutboxPosition {
    tick: Tick,
    agent: AgentId,
    index: usize,
}

/// Renders lines, alike for the writer and the check of the outbox.
#[derive(Clone, Debug)]
pub(crate) struct LineWriter {
    run: RunId,
    agents: Vec<String>,
}

/// One line, as JSON.
#[derive(Serialize)]
struct OutboxLine<'line> {
    key: String,
    tick: u64,
    agent: &'line str,
    topic: &'line str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'line str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl LineWriter {
    pub(crate) fn new(run: RunId, agents: Vec<String>) -> LineWriter {
        LineWriter { run, agents }
    }

    /// Appends every line of a tick.
    pub(crate) fn write_tick(&self, tick: Tick, outcomes: &[Outcome], into: &mut Vec<u8>) {
        for (agent, index, topic, payload) in emits(outcomes) {
            self.write(OutboxPosition { tick, agent, index }, topic, payload, into);
        }
    }

    fn write(&self, position: OutboxPosition, topic: &str, payload: &[u8], into: &mut Vec<u8>) {
        let OutboxPosition { tick, agent, index } = position;
        let text = std::str::from_utf8(payload).ok();
        let line = OutboxLine {
            key: format!("{}:{tick}:{agent}:{index}", self.run),
            tick: tick.0,
            agent: &self.agents[agent.index()],
            topic,
            text,
            base64: text
                .is_none()
                .then(|| base64::engine::general_purpose::STANDARD.encode(payload)),
        };
        serde_json::to_writer(&mut *into, &line).expect("writing JSON to memory cannot fail");
        into.push(b'\n');
    }
}

/// The outputs of outcomes: agent, position among the agent's outputs of this step, topic and bytes.
fn emits(outcomes: &[Outcome]) -> impl Iterator<Item = (AgentId, usize, &str, &[u8])> {
    outcomes.iter().flat_map(|outcome| {
        let emitted = outcome.effects.iter().filter_map(|effect| match effect {
            Effect::Emit { topic, payload } => Some((topic.as_str(), payload.as_slice())),
            Effect::Send { .. }
            | Effect::Submit { .. }
            | Effect::Infer { .. }
            | Effect::Log(_)
            | Effect::Finish { .. } => None,
        });
        emitted
            .enumerate()
            .map(|(index, (topic, payload))| (outcome.agent, index, topic, payload))
    })
}
