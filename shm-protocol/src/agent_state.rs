//! The state of an agent between two ticks, as it travels: up when a snapshot
//! is taken, down when it is restored.
//!
//! A host takes a snapshot when a record of kind [`SNAPSHOT`] reaches it, which
//! the supervisor puts into the ring down between the steps of two ticks. It
//! answers with records of kind [`STATE`], for each of its agents one or more,
//! the last of them marked. A new incarnation gets the same as records of kind
//! [`RESTORE`], before its first steps.

use crate::id::{AgentId, RequestId};
use bincode::{Decode, Encode};

/// Record kind of [`Snapshot`], in the ring down. The tick of its header is the last one that the state contains.
pub const SNAPSHOT: u16 = 2;
/// Record kind of a [`StateRecord`] on its way down, for an agent that was loaded with
/// [`crate::supervisor_to_agent::Load::restored`].
pub const RESTORE: u16 = 3;
/// Record kind of a [`StateRecord`] on its way up. The tick of its header is that of the [`SNAPSHOT`].
pub const STATE: u16 = 105;

/// Bytes of a page of memory in a snapshot.
pub const PAGE_BYTES: usize = 4096;

/// Most pages of one [`StateRecord`], so that it fits every ring and does not hold up the records behind it for long.
pub const PAGES_PER_RECORD: usize = 256;

/// Asks a host for the state of all its agents that can be captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Snapshot {
    /// Every page that is not zero, instead of those that changed since the last snapshot or since they were restored.
    pub full: bool,
}

/// A part of an agent's state: everything but the memory, and some of its pages.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct StateRecord {
    /// The agent.
    pub agent: AgentId,
    /// The number of its next request.
    pub next_request: RequestId,
    /// Whether it has an instance, and what that is beside its pages.
    pub life: SavedInstance,
    /// Pages, each at most once in all records of one state, in the order of their numbers.
    pub pages: Vec<Page>,
    /// No further record of this state follows.
    pub is_last: bool,
}

/// Whether an agent has an instance, and what that is beside its pages.
///
/// Where a snapshot says what has changed, it has changed this too: without an instance none of the earlier pages is
/// left, and in a smaller memory none of those beyond its end.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SavedInstance {
    /// It has one.
    Running {
        /// Size of its memory.
        memory_bytes: u64,
        /// Its variables outside of the memory, as bits, in an order that is a function of the component.
        globals: Vec<u64>,
    },
    /// Its last step failed, and the next one begins with a new instance.
    Failed,
    /// It takes no further steps.
    Halted,
}

/// A page of memory.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Page {
    /// Its number, counted from the start of the memory.
    pub index: u32,
    /// Its [`PAGE_BYTES`] bytes, or none if all of them are zero.
    pub bytes: Vec<u8>,
}
