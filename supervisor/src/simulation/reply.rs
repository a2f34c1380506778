//! What a simulated host publishes.

use bincode::Encode;
use shm_protocol::codec;
use shm_protocol::ring::RecordHeader;

/// A record on its way up.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) header: RecordHeader,
    pub(super) payload: Vec<u8>,
}

impl Reply {
    pub(super) fn encoded<T: Encode>(header: RecordHeader, value: &T) -> Reply {
        Reply {
            header,
            payload: codec::encode(value),
        }
    }
}

/// What a host makes of a command or a record.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) replies: Vec<Reply>,
    /// What becomes of it after it has published them, because of what it was made to do.
    pub(super) ends: Ends,
}

/// What becomes of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// It goes on.
    No,
    /// It crashes.
    Crashed,
    /// It hangs.
    Hangs,
}

impl Done {
    pub(super) fn of(replies: Vec<Reply>) -> Done {
        Done {
            replies,
            ends: Ends::No,
        }
    }

    pub(super) fn silent() -> Done {
        Done::of(Vec::new())
    }
}
