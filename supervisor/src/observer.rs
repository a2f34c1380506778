//! Who wants to see a run while it goes on. Observers cannot change it.

use crate::record::{RunHeader, TickRecord};
use crate::rundir::RunEvent;
use shm_protocol::agent_to_supervisor::{LogLine, Ready};
use shm_protocol::id::{AgentId, Tick};

/// Somebody who watches a run. Called on the supervisor's thread, so it must be quick.
pub trait Observer {
    /// A stage of the start begins.
    fn stage(&mut self, _what: &str) {}
    /// The hosts said which layers of confinement hold.
    fn confined(&mut self, _hosts: &[Ready]) {}
    /// An agent said something while its `init` ran.
    fn init_log(&mut self, _agent: AgentId, _line: &LogLine) {}
    /// Everything is loaded; the first tick follows.
    fn begins(&mut self, _header: &RunHeader) {}
    /// Something happened around the run.
    fn event(&mut self, _event: &RunEvent) {}
    /// A tick was committed.
    fn committed(&mut self, _tick: Tick, _record: &TickRecord) {}
}

/// Nobody.
#[derive(Debug, Default)]
pub struct NoopObserver;

impl Observer for NoopObserver {}
