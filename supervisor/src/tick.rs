//! The tick as a pure state machine: (state, input) → (state, actions).
//!
//! It has no clock, thread, process, file or random source. The event loop performs the actions on the real world and
//! feeds the results back; a replay feeds the journal instead, through the same code.
//!
//! * [`order`]: the total order of agents in a tick, the smallest file;
//! * [`RunPlan`]: agents, models and limits of a run;
//! * [`TickMachine`]: the state, with [`TickInput`] and [`TickAction`];
//! * `inbox`: messages that wait for an agent, within bounds;
//! * `requests`: inference requests between their tick and their delivery;
//! * `rounds`: awaits within the steps of a tick;
//! * `batch`: requests that go to the engine together;
//! * `finite`: the check for numbers that are not finite;
//! * `generations`: generations of language models, delta by delta;
//! * `recorded_answers`: answers of a journal that the engine is not asked for again;
//! * `saved`: the state of the machine in a checkpoint;
//! * `check`: checks of what hosts send.
//!
//! The invariant: a committed tick is a function of the plan and of the outcomes and results alone. The order of their
//! arrival is not observable; nothing here looks at it.

mod action;
mod batch;
mod check;
mod finite;
mod generations;
mod inbox;
mod machine;
pub mod order;
mod plan;
mod planned;
mod recorded_answers;
mod requests;
mod rounds;
mod run_end;
mod saved;
#[cfg(test)]
mod tests;
mod version_timeline;
mod violation;

pub use action::{TickAction, TickInput};
pub use batch::{InferenceBatch, Member};
pub use machine::{PlanMismatch, TickMachine};
pub use plan::RunPlan;
pub use planned::{PlannedAgent, PlannedModel};
pub use recorded_answers::RecordedAnswers;
pub use rounds::AwaitedRequest;
pub use run_end::RunEnd;
pub use version_timeline::{VersionSpan, VersionTimeline};
pub use violation::Violation;
