//! The append-only record of a run.
//!
//! * [`frame`], [`segment`]: the layout of a record and of its files, byte for byte;
//! * `check`: checks of decoded records;
//! * [`JournalWriter`]: appends, at a level of durability;
//! * [`JournalReader`]: reads and checks everything, a record at a time;
//! * [`JournalMark`]: a position from which reading or writing continues;
//! * [`verify`]: the check of a whole run directory.
//!
//! The invariant: every byte of every file is covered by a check, and every
//! record by the digest of the next, so that the last digest names the whole run.

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

pub use error::{JournalError, MarkFault, RecordFault};
pub use frame::HeaderFault;
pub use mark::JournalMark;
pub use reader::{JournalEntry, JournalReader, Torn, TornKind};
pub use run_state::{create_run_dir, create_run_dir_on, discard_run_dir, holds_run};
pub use verify::{VerifyReport, verify};
pub use writer::{JournalWriter, Truncation};
