//! The append-only record of a run.
//!
//! * [`record`]: what is journaled, with `verdict`: decisions that change a run;
//! * [`frame`], [`segment`]: how a record and its files look, byte for byte;
//! * [`JournalWriter`]: appends, at a level of durability;
//! * [`JournalReader`]: reads and checks everything, a record at a time;
//! * [`Mark`]: a place from which to read or write on;
//! * [`verify`]: whether a run directory is whole;
//! * [`diff`], [`inspect`]: what differs between two runs and what happened in one, for people.
//!
//! The invariant: every byte of every file is covered by a check, and every
//! record by the digest of the next, so that the last digest names the whole run.

#![forbid(unsafe_code)]

pub(crate) mod check;
mod error;
pub mod frame;
mod mark;
mod reader;
mod run_state;
pub mod segment;
mod sync_marker;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use error::{JournalError, RecordFault};
pub use frame::{RunId, hex};
pub use mark::{JournalMark, MarkFault};
pub use reader::{JournalEntry, JournalReader, Torn, TornKind};
pub use run_state::{create_run_dir, create_run_dir_on, discard_run_dir};
pub use verify::{VerifyReport, verify};
pub use writer::{JournalWriter, Truncation};
