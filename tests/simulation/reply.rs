//! What a simulated host publishes.

use bincode::Encode;
use shm_protocol::codec;
use shm_protocol::ring::Header;

/// A record on its way up.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
}

impl Reply {
    pub(super) fn encoded<T: Encode>(header: Header, value: &T) -> Reply {
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
    /// It ends after it has published them, because of what it was made to do.
    pub(super) dies: bool,
}

impl Done {
    pub(super) fn of(replies: Vec<Reply>) -> Done {
        Done {
            replies,
            dies: false,
        }
    }

    pub(super) fn silent() -> Done {
        Done::of(Vec::new())
    }
}
