//! One checkpoint and its file: everything but the pages, which it names by digest and location.
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | magic |
//! | 8 | 1 | version of the encoding |
//! | 9 | 1 | version of what is encoded |
//! | 10 | n | [`Checkpoint`], encoded |
//! | 10 + n | 32 | BLAKE3 of the bytes before |

use super::error::CheckpointError;
use crate::journal::JournalMark;
use crate::planted::{Bug, planted};
use crate::record::Digest;
use crate::record::RunId;
use crate::rundir::OutboxMark;
use bincode::{Decode, Encode};
use shm_protocol::agent_state::SavedInstance;
use shm_protocol::id::RequestId;
use shm_protocol::{codec, limit};
use std::path::Path;

const MAGIC: [u8; 8] = *b"LKCHECKP";
/// The version of [`Checkpoint`]. It changes with its fields; 0 had no outbox.
const VERSION: u8 = 1;
const HEADER_BYTES: usize = MAGIC.len() + size_of::<u16>();
const DIGEST_BYTES: usize = size_of::<Digest>();

/// The state of a run after a committed tick.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Checkpoint {
    /// The run.
    pub run: [u8; 16],
    /// The build that made it.
    pub build: Build,
    /// The mark of the journal.
    pub mark: JournalMark,
    /// The mark of the outbox.
    pub outbox: OutboxMark,
    /// The state of the schedule, for [`crate::tick::TickMachine::restore`].
    pub machine: Vec<u8>,
    /// The images of the agents, by number; none where its state is not kept.
    pub agents: Vec<Option<AgentImage>>,
}

/// The versions on which the state of an agent depends.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Build {
    /// Of Lockstep.
    pub lockstep: String,
    /// Of wasmtime, with its settings.
    pub wasmtime: String,
}

impl std::fmt::Display for Build {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "lockstep {} with wasmtime {}",
            self.lockstep, self.wasmtime
        )
    }
}

/// The state of one agent.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AgentImage {
    /// Its instance, without the pages.
    pub instance: SavedInstance,
    /// The number of its next request.
    pub next_request: RequestId,
    /// Its pages that are not zero, in the order of their numbers.
    pub pages: Vec<(u32, PageLocation)>,
}

/// The location of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PageLocation {
    /// The number of the file.
    pub page_file: u32,
    /// Its position in the file, in pages.
    pub slot: u32,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
}

/// The versions in the file. That of the encoding has been alone in its two bytes, and is still below 256.
fn versions() -> [u8; 2] {
    const {
        assert!(codec::VERSION <= 0xff, "the version fits a byte");
    }
    [codec::VERSION.to_le_bytes()[0], VERSION]
}

impl Checkpoint {
    /// The bytes of its file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC);
        bytes.extend(versions());
        codec::encode_into(self, &mut bytes);
        let digest = blake3::hash(&bytes);
        bytes.extend(digest.as_bytes());
        bytes
    }

    /// Reads a file, of this run and this build.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(
        path: &Path,
        bytes: &[u8],
        run: RunId,
        build: &Build,
    ) -> Result<Checkpoint, CheckpointError> {
        let damaged = |reason| CheckpointError::Damaged {
            path: path.to_path_buf(),
            reason,
        };
        let (covered, digest) = bytes
            .split_last_chunk::<DIGEST_BYTES>()
            .filter(|(covered, _)| covered.len() >= HEADER_BYTES)
            .ok_or_else(|| damaged("it is too short"))?;
        if blake3::hash(covered) != *digest && !planted(Bug::SkipManifestDigest) {
            return Err(damaged("its digest does not match"));
        }
        if covered[..MAGIC.len()] != MAGIC {
            return Err(damaged("it has no checkpoint header"));
        }
        if covered[MAGIC.len()..HEADER_BYTES] != versions() {
            return Err(damaged("it has another format version"));
        }
        let checkpoint =
            codec::decode::<Checkpoint, { limit::TICK_RECORD_BYTES }>(&covered[HEADER_BYTES..])
                .map_err(|_| damaged("it cannot be decoded"))?;
        if checkpoint.run != run.0 {
            return Err(CheckpointError::OtherRun {
                path: path.to_path_buf(),
                found: RunId(checkpoint.run),
                expected: run,
            });
        }
        if checkpoint.build != *build {
            return Err(CheckpointError::OtherBuild {
                path: path.to_path_buf(),
                found: checkpoint.build.to_string(),
                expected: build.to_string(),
            });
        }
        Ok(checkpoint)
    }

    /// All pages that it names.
    pub fn pages(&self) -> impl Iterator<Item = &PageLocation> {
        let images = self.agents.iter().flatten();
        images.flat_map(|image| image.pages.iter().map(|(_, at)| at))
    }
}
