//! The tick as a pure state machine: (state, input) → (state, actions).
//!
//! No clock, thread, process, file or random source is in here. A shell
//! performs the actions on the real world and feeds back what happened; replay
//! feeds the journal instead, through the same code.
//!
//! * [`order`]: the total order of agents in a tick, the smallest file;
//! * [`Plan`]: what does not change during a run;
//! * [`Machine`]: the state, with [`Input`] and [`Action`];
//! * `inbox`: what waits for agents, within bounds;
//! * `requests`: inference requests between their tick and their delivery;
//! * `rounds`: what agents wait for within their steps;
//! * `batch`: which requests go to the engine together;
//! * `finite`: whether tensors hold only finite numbers;
//! * `texts`: what language models write, piece by piece;
//! * `foretold`: what is known of requests that were given up;
//! * `saved`: what a checkpoint keeps of the machine;
//! * `check`: what no sound host says.
//!
//! The invariant: what is committed is a function of the plan and of the
//! outcomes and results alone. The order in which they arrive is not
//! observable; nothing here looks at it.

mod action;
mod batch;
mod check;
mod finite;
mod generations;
mod inbox;
mod machine;
pub mod order;
mod plan;
mod recorded_answers;
mod requests;
mod rounds;
mod saved;
#[cfg(test)]
mod tests;
mod version_timeline;
mod violation;

pub use action::{Action, Input};
pub use batch::{Batch, Member};
pub use machine::{PlanMismatch, RunEnd, TickMachine};
pub use plan::{PlannedAgent, PlannedGenerator, PlannedModel, RunPlan};
pub use recorded_answers::RecordedAnswers;
pub use rounds::AwaitedRequest;
pub use version_timeline::{VersionSpan, VersionTimeline};
pub use violation::Violation;
