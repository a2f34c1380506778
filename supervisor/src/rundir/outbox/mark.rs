//! The beginning of an outbox, by its length and its digest.
//!
//! A checkpoint has the mark of the outbox at its tick. A resume from there makes no line before that tick again, so it
//! first checks that the file still begins with exactly those bytes: a file may have been cut, rotated or edited, and a
//! power cut may have taken unsynced bytes.

use crate::planted::{Bug, planted};
use crate::record::Digest;
use crate::sys::disk::{File, read_fully};
use bincode::{Decode, Encode};
use std::io;

/// Bytes of the file that are read at a time.
const WINDOW_BYTES: usize = 64 << 10;

/// The beginning of an outbox: all lines of the ticks up to one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OutboxMark {
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of these bytes.
    pub digest: Digest,
}

/// Hashes the lines of an outbox one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct OutboxHasher {
    bytes: u64,
    hasher: blake3::Hasher,
}

impl OutboxHasher {
    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// The length and the digest of all bytes that it has taken.
    pub(super) fn mark(&self) -> OutboxMark {
        OutboxMark {
            bytes: self.bytes,
            digest: *self.hasher.finalize().as_bytes(),
        }
    }

    /// A hasher that has taken the bytes of a mark from the beginning of a file; none when the file begins otherwise.
    pub(super) fn of_beginning(
        file: &dyn File,
        mark: &OutboxMark,
    ) -> io::Result<Option<OutboxHasher>> {
        let mut taken = OutboxHasher::default();
        let mut window = vec![0; WINDOW_BYTES];
        while taken.bytes < mark.bytes {
            let left = usize::try_from(mark.bytes - taken.bytes).unwrap_or(usize::MAX);
            let wanted = left.min(WINDOW_BYTES);
            let read = read_fully(file, &mut window[..wanted], taken.bytes)?;
            taken.update(&window[..read]);
            if read < wanted {
                break;
            }
        }
        let is_equal = taken.mark() == *mark || planted(Bug::ContinueBehindGap);
        Ok(is_equal.then_some(taken))
    }
}
