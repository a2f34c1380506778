//! The order in which a host is loaded, at its first start and at every restart: one command after the other, a bounded
//! number of them unanswered.

use shm_protocol::limit;
use std::collections::VecDeque;

/// The loads that a host has still to be told of, and the number of those that it has not answered.
#[derive(Debug)]
pub struct LoadSequence<L> {
    left: VecDeque<L>,
    unanswered: usize,
    max_unanswered: usize,
}

impl<L> LoadSequence<L> {
    /// Agents, several of which are under way.
    pub fn agents(loads: impl IntoIterator<Item = L>) -> LoadSequence<L> {
        LoadSequence {
            left: loads.into_iter().collect(),
            unanswered: 0,
            max_unanswered: limit::COMMANDS_OUTSTANDING / 2,
        }
    }

    /// Models, one after the other, as each may take all the memory there is for a while. The setup of the engine is the
    /// first command, and the caller has sent it.
    pub fn models_after_setup(loads: impl IntoIterator<Item = L>) -> LoadSequence<L> {
        LoadSequence {
            left: loads.into_iter().collect(),
            unanswered: 1,
            max_unanswered: 1,
        }
    }

    /// The next load, if there is one and the host may be told of it now.
    pub fn next_to_send(&mut self) -> Option<L> {
        if self.unanswered >= self.max_unanswered {
            return None;
        }
        let load = self.left.pop_front()?;
        self.unanswered += 1;
        Some(load)
    }

    /// Counts the reply to one command.
    pub fn on_reply(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// Adds loads behind the others.
    pub fn extend(&mut self, loads: impl IntoIterator<Item = L>) {
        self.left.extend(loads);
    }

    /// True once everything is loaded.
    pub fn is_done(&self) -> bool {
        self.left.is_empty() && self.unanswered == 0
    }
}

#[cfg(test)]
mod tests {
    use super::LoadSequence;
    use shm_protocol::limit;

    #[test]
    fn models_are_loaded_one_after_the_other() {
        let mut models = LoadSequence::models_after_setup([1, 2]);
        assert_eq!(models.next_to_send(), None);
        models.on_reply();
        assert_eq!(models.next_to_send(), Some(1));
        assert_eq!(models.next_to_send(), None);
        models.on_reply();
        models.extend([3]);
        assert_eq!(models.next_to_send(), Some(2));
        models.on_reply();
        assert_eq!(models.next_to_send(), Some(3));
        assert!(!models.is_done());
        models.on_reply();
        assert!(models.is_done());
    }

    #[test]
    fn a_bounded_number_of_agents_is_under_way() {
        let mut agents = LoadSequence::agents(0..limit::COMMANDS_OUTSTANDING);
        let sent = std::iter::from_fn(|| agents.next_to_send()).count();
        assert_eq!(sent, limit::COMMANDS_OUTSTANDING / 2);
        agents.on_reply();
        assert_eq!(agents.next_to_send(), Some(sent));
    }
}
