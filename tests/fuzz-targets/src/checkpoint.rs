//! Files of checkpoints.

use crate::check_round_trip;
use shm_protocol::{codec, limit};
use std::path::Path;
use supervisor::checkpoint::{Build, Checkpoint};
use supervisor::record::RunId;

/// Bytes of magic and versions, before the encoded checkpoint.
const HEADER_BYTES: usize = 10;

/// Bytes of the digest at the end.
const DIGEST_BYTES: usize = 32;

/// Reads a checkpoint. The digest is made to fit, because no change would be read further than to it. Run and build are
/// those that the bytes name.
pub fn checkpoint(bytes: &[u8]) -> bool {
    let Some((covered, _)) = bytes
        .split_last_chunk::<DIGEST_BYTES>()
        .filter(|(covered, _)| covered.len() >= HEADER_BYTES)
    else {
        assert!(read(bytes, RunId([0; 16]), &nobody()).is_none());
        return false;
    };
    let encoded = &covered[HEADER_BYTES..];
    let (run, build) = match codec::decode::<Checkpoint, { limit::TICK_RECORD_BYTES }>(encoded) {
        Ok(decoded) => {
            check_round_trip::<_, { limit::TICK_RECORD_BYTES }>(encoded, &decoded);
            (RunId(decoded.run), decoded.build)
        }
        Err(_) => (RunId([0; 16]), nobody()),
    };
    let whole = [covered, blake3::hash(covered).as_bytes()].concat();
    let Some(checkpoint) = read(&whole, run, &build) else {
        return false;
    };
    let written = checkpoint.to_bytes();
    assert_eq!(read(&written, run, &build).as_ref(), Some(&checkpoint));
    if let Some(last) = whole.len().checked_sub(1) {
        let mut damaged = whole;
        damaged[last] ^= 1;
        assert!(read(&damaged, run, &build).is_none(), "a wrong digest");
    }
    true
}

fn read(bytes: &[u8], run: RunId, build: &Build) -> Option<Checkpoint> {
    Checkpoint::parse(Path::new("checkpoint"), bytes, run, build).ok()
}

fn nobody() -> Build {
    Build {
        lockstep: String::new(),
        wasmtime: String::new(),
    }
}
