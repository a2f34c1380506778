//! The live view of `demo --llm`: the conversation of its agents.

use super::output::grouped;
use super::progress::LiveView;
use shm_protocol::agent_to_supervisor::Effect;
use shm_protocol::id::AgentId;
use supervisor::record::TickRecord;

/// Topics that an agent emits for a turn: its deltas, its whole text, its failure.
const DELTA: &str = "text";
const TURN: &str = "said";
const FAILED: &str = "failed";

/// The turns of all agents.
#[derive(Debug)]
pub(super) struct ConversationView {
    names: Vec<String>,
    /// The unfinished turn of each agent.
    unfinished: Vec<String>,
    /// Finished turns that were not shown yet.
    finished: Vec<String>,
    turns: u64,
}

impl ConversationView {
    /// The view of agents with these names, which are shown with a capital letter.
    pub(super) fn new(names: impl Iterator<Item = String>) -> ConversationView {
        let names: Vec<String> = names.map(|name| capital(&name)).collect();
        ConversationView {
            unfinished: vec![String::new(); names.len()],
            names,
            finished: Vec::new(),
            turns: 0,
        }
    }

    fn take(&mut self, agent: AgentId, topic: &str, payload: &[u8]) {
        let text = String::from_utf8_lossy(payload);
        let (Some(name), Some(unfinished)) = (
            self.names.get(agent.index()),
            self.unfinished.get_mut(agent.index()),
        ) else {
            return;
        };
        match topic {
            DELTA => unfinished.push_str(&text),
            TURN => {
                self.finished.push(format!("{name}: {}", plain(&text)));
                self.turns += 1;
                unfinished.clear();
            }
            FAILED => self
                .finished
                .push(format!("{name} failed: {}", plain(&text))),
            _ => {}
        }
    }
}

impl LiveView for ConversationView {
    fn update(&mut self, record: &TickRecord) {
        for outcome in &record.outcomes {
            for effect in &outcome.effects {
                if let Effect::Emit { topic, payload } = effect {
                    self.take(outcome.agent, topic, payload);
                }
            }
        }
    }

    fn render(&self) -> String {
        let speaking = self.names.iter().zip(&self.unfinished);
        let speaking = speaking.filter(|(_, unfinished)| !unfinished.is_empty());
        let lines = speaking.map(|(name, unfinished)| format!("{name}: {}", plain(unfinished)));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn new_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.finished)
    }

    fn closing_line(&self) -> Option<String> {
        Some(format!("turns       {}", grouped(self.turns)))
    }
}

/// A word with a capital letter.
fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

/// Text without control characters, which could act on the terminal.
fn plain(text: &str) -> String {
    let letters = text.trim().chars();
    letters
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_grows_and_is_shown_when_finished() {
        let mut conversation =
            ConversationView::new(["nell", "abel"].map(str::to_owned).into_iter());
        conversation.take(AgentId(1), DELTA, b"Good ");
        conversation.take(AgentId(1), DELTA, b"evening.\x1b[2J");
        assert_eq!(conversation.render(), "Abel: Good evening. [2J");
        conversation.take(AgentId(1), TURN, b"Good evening.");
        assert_eq!(conversation.render(), "");
        assert_eq!(conversation.new_lines(), ["Abel: Good evening."]);
        assert!(conversation.new_lines().is_empty());
        conversation.take(AgentId(0), FAILED, b"no model");
        conversation.take(AgentId(7), TURN, b"nobody");
        assert_eq!(conversation.new_lines(), ["Nell failed: no model"]);
        assert_eq!(
            conversation.closing_line().as_deref(),
            Some("turns       1")
        );
    }
}
