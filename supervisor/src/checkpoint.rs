//! Checkpoints: the state of every agent at a committed tick, from which a restarted host and a resumed run begin.
//!
//! * [`Checkpoint`]: one checkpoint and its file;
//! * [`CheckpointReader`], [`CheckpointWriter`]: the folder with the checkpoints and the pages that they share;
//! * `page_file`: files of pages;
//! * `agent_image`: the state of an agent, built from the records of its host;
//! * [`Collector`]: makes the next checkpoint from the records of hosts;
//! * [`Checkpointer`]: runs the collector beside the ticks, on its own thread.
//!
//! The invariant: a checkpoint with its final name is whole, and every page is checked against its digest when it is
//! read. So the worst effect of a lost or damaged file is a longer replay.

mod agent_image;
mod base_state;
mod checkpointer;
mod collector;
mod error;
mod manifest;
mod page_file;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use base_state::BaseState;
pub use checkpointer::{CheckpointOutcome, Checkpointer};
pub use collector::Collector;
pub use error::CheckpointError;
pub use manifest::{AgentImage, Build, Checkpoint, PageLocation};
pub use reader::CheckpointReader;
pub use writer::CheckpointWriter;
