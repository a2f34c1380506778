//! The name of a run.

use super::digest::hex;
use std::fmt;

/// Names a run: the first half of the digest of its encoded header. Equal fleets with equal seeds have equal names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(pub [u8; 16]);

impl RunId {
    /// The name of the run with this encoded header.
    #[must_use]
    pub fn of(header_payload: &[u8]) -> RunId {
        let mut id = [0; 16];
        id.copy_from_slice(&blake3::hash(header_payload).as_bytes()[..16]);
        RunId(id)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
