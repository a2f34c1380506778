//! Messages with the state of an agent between two ticks: up for a snapshot, down for a restore.
//!
//! The supervisor requests a snapshot with a record of kind [`SNAPSHOT`] in the ring down, between the steps of two
//! ticks. The host answers with records of kind [`STATE`], one or more for each of its agents, the last of them marked.
//! A new incarnation gets the same state as records of kind [`RESTORE`], before its first steps.

use crate::id::{AgentId, RequestId};
use bincode::{Decode, Encode};

/// Record kind of [`Snapshot`], in the ring down. The tick of its header is the last one that the state includes.
pub const SNAPSHOT: u16 = 2;
/// Record kind of a [`StateRecord`] on its way down, for an agent that was loaded with
/// [`crate::supervisor_to_agent::LoadAgent::restored`].
pub const RESTORE: u16 = 3;
/// Record kind of a [`StateRecord`] on its way up. The tick of its header is that of the [`SNAPSHOT`].
pub const STATE: u16 = 105;

/// Bytes of a page of memory in a snapshot.
pub const PAGE_BYTES: usize = 4096;

/// Maximum pages of one [`StateRecord`], so that it fits every ring and does not delay the records behind it for long.
pub const PAGES_PER_RECORD: usize = 256;

/// A request for the state of all agents of a host that can be captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Snapshot {
    /// Send every page that is not zero, instead of the pages that changed since the last snapshot or restore.
    pub full: bool,
}

/// A part of an agent's state: some pages of its memory, and everything else.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct StateRecord {
    /// The agent.
    pub agent: AgentId,
    /// Number of its next request.
    pub next_request: RequestId,
    /// The state of its instance, except for the memory.
    pub life: SavedInstance,
    /// Pages in the order of their numbers, each at most once in all records of one state.
    pub pages: Vec<Page>,
    /// True for the last record of a state.
    pub is_last: bool,
}

/// The state of an agent's instance, except for the pages of its memory.
///
/// It also applies to the pages of earlier snapshots: without an instance all of them are dropped, and in a smaller
/// memory those beyond its end.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SavedInstance {
    /// It has an instance.
    Running {
        /// Size of its memory.
        memory_bytes: u64,
        /// Its mutable globals, as bits, in an order that is a function of the component.
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
    /// Its number, from the start of the memory.
    pub index: u32,
    /// Its [`PAGE_BYTES`] bytes, or none if all of them are zero.
    pub bytes: Vec<u8>,
}
