//! The conversation of `demo --llm`, as it is spoken.

use super::output::counted;
use super::progress::View;
use shm_protocol::agent_to_supervisor::Effect;
use shm_protocol::id::AgentId;
use supervisor::record::TickRecord;

/// What an agent emits of a turn that it writes, and of one that is done.
const GROWS: &str = "text";
const DONE: &str = "said";
const FAILED: &str = "failed";

/// What two agents say.
#[derive(Debug)]
pub(super) struct Conversation {
    names: Vec<String>,
    /// What each is in the middle of saying.
    saying: Vec<String>,
    /// Turns that were not shown yet.
    said: Vec<String>,
    turns: u64,
}

impl Conversation {
    /// Of agents with these names, which are written as names of people are.
    pub(super) fn new(names: impl Iterator<Item = String>) -> Conversation {
        let names: Vec<String> = names.map(|name| capital(&name)).collect();
        Conversation {
            saying: vec![String::new(); names.len()],
            names,
            said: Vec::new(),
            turns: 0,
        }
    }

    fn take(&mut self, agent: AgentId, topic: &str, payload: &[u8]) {
        let text = String::from_utf8_lossy(payload);
        let (Some(name), Some(saying)) = (
            self.names.get(agent.index()),
            self.saying.get_mut(agent.index()),
        ) else {
            return;
        };
        match topic {
            GROWS => saying.push_str(&text),
            DONE => {
                self.said.push(format!("{name}: {}", plain(&text)));
                self.turns += 1;
                saying.clear();
            }
            FAILED => self
                .said
                .push(format!("{name} cannot speak: {}", plain(&text))),
            _ => {}
        }
    }
}

impl View for Conversation {
    fn note(&mut self, record: &TickRecord) {
        for outcome in &record.outcomes {
            for effect in &outcome.effects {
                if let Effect::Emit { topic, payload } = effect {
                    self.take(outcome.agent, topic, payload);
                }
            }
        }
    }

    fn picture(&self) -> String {
        let speaking = self.names.iter().zip(&self.saying);
        let speaking = speaking.filter(|(_, saying)| !saying.is_empty());
        let lines = speaking.map(|(name, saying)| format!("{name}: {}", plain(saying)));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    fn closing_line(&self) -> Option<String> {
        Some(format!("said        {}", counted(self.turns, "turn")))
    }
}

/// A word with a capital.
fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

/// Text without what could do something to a terminal.
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
    fn a_turn_grows_and_is_said() {
        let mut conversation = Conversation::new(["nell", "abel"].map(str::to_owned).into_iter());
        conversation.take(AgentId(1), GROWS, b"Good ");
        conversation.take(AgentId(1), GROWS, b"evening.\x1b[2J");
        assert_eq!(conversation.picture(), "Abel: Good evening. [2J");
        conversation.take(AgentId(1), DONE, b"Good evening.");
        assert_eq!(conversation.picture(), "");
        assert_eq!(conversation.lines(), ["Abel: Good evening."]);
        assert!(conversation.lines().is_empty());
        conversation.take(AgentId(0), FAILED, b"no model");
        conversation.take(AgentId(7), DONE, b"nobody");
        assert_eq!(conversation.lines(), ["Nell cannot speak: no model"]);
        assert_eq!(
            conversation.closing_line().as_deref(),
            Some("said        1 turn")
        );
    }
}
