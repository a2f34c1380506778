//! The seal: the last record of a run that ended in good order.

use bincode::{Decode, Encode};

/// The last record of a run that ended in good order. A resume removes it, so it is no part of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Seal {
    /// Committed ticks.
    pub ticks: u64,
    /// The reason for the end.
    pub reason: SealReason,
}

/// The reason for which a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SealReason {
    /// All requested ticks are done.
    Finished,
    /// A stop was requested.
    Stopped,
    /// A host died or an agent or model was at fault; the message of that launch names it.
    Failed,
}
