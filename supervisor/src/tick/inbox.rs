//! Messages that wait for an agent, within bounds.

use crate::planted::{Bug, planted};
use shm_protocol::id::AgentId;
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::AgentEvent;

/// Messages that wait for one agent until its next step.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    events: Vec<AgentEvent>,
    bytes: usize,
}

impl Inbox {
    /// Adds a message, or answers false when the inbox is full.
    ///
    /// The bounds are part of the run's definition: how many fit never depends on the machine.
    pub(super) fn accept(&mut self, sender: AgentId, payload: &[u8], max_bytes: usize) -> bool {
        let bytes = self.bytes.saturating_add(payload.len());
        if self.events.len() >= limit::INBOX_MESSAGES || bytes > max_bytes {
            return false;
        }
        self.bytes = bytes;
        self.events.push(AgentEvent::Message {
            sender,
            payload: payload.to_vec(),
        });
        true
    }

    /// An inbox with these messages, as they were saved.
    pub(super) fn with_events(mut events: Vec<AgentEvent>) -> Inbox {
        if planted(Bug::SwapMessages) {
            events.reverse();
        }
        let size = |event: &AgentEvent| match event {
            AgentEvent::Message { payload, .. } => payload.len(),
            AgentEvent::Inference { .. } => 0,
        };
        let bytes = events.iter().map(size).sum();
        Inbox { events, bytes }
    }

    /// Its messages, in the order of their arrival.
    pub(super) fn events(&self) -> &[AgentEvent] {
        &self.events
    }

    /// Takes all messages out, in the order of their arrival.
    pub(super) fn take(&mut self) -> Vec<AgentEvent> {
        self.bytes = 0;
        std::mem::take(&mut self.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inbox_refuses_more_than_its_bound_until_it_is_taken() {
        let mut inbox = Inbox::default();
        assert!(inbox.accept(AgentId(1), &[0; 60], 100));
        assert!(!inbox.accept(AgentId(2), &[0; 60], 100));
        assert!(inbox.accept(AgentId(3), &[0; 40], 100));
        let senders: Vec<AgentId> = inbox
            .take()
            .into_iter()
            .map(|event| match event {
                AgentEvent::Message { sender, .. } => sender,
                AgentEvent::Inference { .. } => unreachable!("only messages went in"),
            })
            .collect();
        assert_eq!(senders, [AgentId(1), AgentId(3)]);
        assert!(inbox.accept(AgentId(2), &[0; 100], 100));
    }
}
