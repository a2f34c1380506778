//! The single-producer single-consumer ring over shared memory.
//!
//! A ring is a range of bytes that one end writes and the other reads, and two words that each end keeps for the other:
//! how far it has consumed, and whether it sleeps. Records begin at cache lines with a header of 64 bytes whose first
//! word, the sequence, is stored last. A reader polls the sequence at its next position and needs nothing else from the
//! writer; the writer reads the reader's progress only when the ring seems to be full.
//!
//! The modules, split by how they are verified:
//!
//! * `cursor`: positions and free space, pure, tested exhaustively;
//! * `header`: the 64 bytes and their checks, tested with random bytes;
//! * `writer`, `producer`, `consumer`, `bell`: the algorithm with its
//!   orderings, generic over [`SegmentMemory`], model-checked with loom;
//! * [`layout`]: the byte table of `docs/formats/ring.md`.

mod bell;
mod consumer;
mod cursor;
mod error;
mod header;
pub mod layout;
mod memory;
mod producer;
#[cfg(test)]
mod tests;
mod writer;

pub use bell::{Bell, Sleeper, Wake, ring_doorbell};
pub use consumer::{Consumer, RecordInPlace, SharedConsumer};
pub use error::{PushError, RingViolation};
pub use header::RecordHeader;
pub use memory::SegmentMemory;
pub use producer::{Producer, Reservation, RingTerms, SharedProducer};
