//! One life of a simulated host, and the place in which one follows the other.

use crate::simulation::agent_host::AgentHost;
use crate::simulation::engine_host::EngineHost;
use crate::simulation::reply::Reply;
use shm_protocol::id::Incarnation;
use std::collections::VecDeque;
use std::time::Duration;

/// What the supervisor hears of a host, at some time.
#[derive(Debug)]
pub(super) enum SimHostEvent {
    Record(Reply),
    InvalidRing,
    /// Its process has ended, with this status as the system has it.
    Exited(i32),
}

/// It was killed from outside.
pub(super) const KILLED: i32 = 9;
/// It has crashed: a segmentation fault.
pub(super) const CRASHED: i32 = 11;

#[derive(Debug)]
pub(super) enum Inside {
    Agents(AgentHost),
    Engine(EngineHost),
}

/// One life of a host.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) incarnation: Incarnation,
    pub(super) inside: Inside,
    pub(super) is_welcome: bool,
    /// What it has published, in its order.
    pub(super) up: VecDeque<(Duration, SimHostEvent)>,
    /// Something went wrong with it: the supervisor may end it, and it does nothing more.
    pub(super) is_doomed: bool,
    pub(super) has_exited: bool,
    /// It has said something else than before: the supervisor must end it.
    pub(super) is_suspect: bool,
    /// It works until then, and is gone.
    pub(super) dies_at: Option<Duration>,
    /// It reports progress until then.
    pub(super) reports_until: Duration,
    /// Its ring takes nothing until then.
    pub(super) full_until: Duration,
}

/// Where the incarnations of a host live.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) life: Option<Life>,
    /// How often it is still refused to start one.
    pub(super) refusals: u64,
}

impl Life {
    pub(super) fn new(incarnation: Incarnation, inside: Inside) -> Life {
        Life {
            incarnation,
            inside,
            is_welcome: false,
            up: VecDeque::new(),
            is_doomed: false,
            is_suspect: false,
            has_exited: false,
            dies_at: None,
            reports_until: Duration::ZERO,
            full_until: Duration::ZERO,
        }
    }

    /// When it is heard of next.
    pub(super) fn next_at(&self) -> Option<Duration> {
        let first = self.up.front().map(|(at, _)| *at);
        first.into_iter().chain(self.dies_at).min()
    }

    /// What is heard of it then.
    pub(super) fn hear(&mut self) -> Option<SimHostEvent> {
        let first = self.up.front().map(|(at, _)| *at);
        if let Some(dies_at) = self.dies_at
            && first.is_none_or(|first| dies_at < first)
        {
            // What it was about to say it never says.
            self.up.clear();
            (self.dies_at, self.is_doomed) = (None, true);
            return Some(SimHostEvent::Exited(KILLED));
        }
        self.up.pop_front().map(|(_, event)| event)
    }

    /// Whether its process is gone, heard of or not.
    pub(super) fn is_gone(&self) -> bool {
        let exits =
            |(_, event): &(Duration, SimHostEvent)| matches!(event, SimHostEvent::Exited(_));
        self.has_exited || self.up.iter().any(exits)
    }
}
