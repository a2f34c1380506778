//! Changes of models that somebody outside asks of a live run: as the event loop is given them. The requests come
//! from [`crate::control`].

use crate::record::{Digest, ModelChange, VersionPin};
use shm_protocol::boot::Extent;
use shm_protocol::id::{ModelId, Tick};
use shm_protocol::inference_to_supervisor::RefusedProvider;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;

/// A source of requests to change models.
pub trait ChangeSource {
    /// The next request, if there is one; `open` is the tick that is open.
    fn next(&mut self, open: Tick) -> Option<PendingChange>;
}

/// A requested change.
#[derive(Debug)]
pub struct PendingChange {
    /// The model.
    pub model: ModelId,
    /// The change.
    pub change: ModelChange<Box<ProbedVersion>>,
    /// Takes the first tick in which it holds, once that is as durable as the run promises, or why it cannot be.
    pub answer: Sender<Result<Tick, String>>,
}

/// A version that was loaded in a host of its own, and is fit for the run.
#[derive(Debug)]
pub struct ProbedVersion {
    /// Its pin.
    pub pin: VersionPin,
    /// Providers that were refused.
    pub refused: Vec<RefusedProvider>,
    /// Sealed memory with the files of all versions that the run has had, and of this one.
    pub memory: OwnedFd,
    /// The place of each file in that memory.
    pub files: BTreeMap<Digest, Extent>,
}
