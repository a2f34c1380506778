//! The state of every agent at a committed tick, on the disk: what a host that
//! is lost and a run that is resumed begin with.
//!
//! * [`Checkpoint`]: what one holds, and its file;
//! * [`Shelf`], [`Store`]: the folder with checkpoints and the pages that they share, to read and to add to;
//! * `page_file`: files of pages;
//! * `known`: what is known of an agent, out of what its host says;
//! * [`Collector`]: makes the next checkpoint out of what hosts say;
//! * [`Checkpointer`]: does so beside the ticks, on a thread of its own.
//!
//! The invariant: a checkpoint that has its name is whole, and every page is
//! checked against its digest when it is read. So the worst that a lost or
//! damaged file can do is a longer replay.

#![forbid(unsafe_code)]

mod agent_image;
mod checkpointer;
mod collector;
mod error;
mod manifest;
mod page_file;
mod store;
#[cfg(test)]
mod tests;

pub use checkpointer::{CheckpointOutcome, Checkpointer};
pub use collector::Collector;
pub use error::CheckpointError;
pub use manifest::{AgentImage, Build, Checkpoint, PageLocation};
pub use store::{CheckpointReader, CheckpointWriter};
