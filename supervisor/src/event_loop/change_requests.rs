//! Changes of models that somebody outside asks of a live run: what the event loop is given. Where the requests come
//! from is [`crate::control`].

use crate::record::{Digest, VersionPin};
use shm_protocol::boot::Extent;
use shm_protocol::id::{ModelId, Tick};
use shm_protocol::inference_to_supervisor::RefusedProvider;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;

/// Who asks for changes of models.
pub trait ChangeSource {
    /// What is asked for next, if anything is; `open` is the tick that is open.
    fn next(&mut self, open: Tick) -> Option<PendingChange>;
}

/// What is asked for.
#[derive(Debug)]
pub struct PendingChange {
    /// The model.
    pub model: ModelId,
    /// What is to become of it.
    pub to: ToBecome,
    /// Takes the first tick in which it holds, once that is as durable as the run promises, or why it cannot be.
    pub answer: Sender<Result<Tick, String>>,
}

/// What is to become of a model.
#[derive(Debug)]
pub enum ToBecome {
    /// It answers no requests.
    Unloaded,
    /// It answers requests again.
    Loaded,
    /// It is another version.
    Version(Box<ProbedVersion>),
}

/// A version that was looked at.
#[derive(Debug)]
pub struct ProbedVersion {
    /// What it is.
    pub pin: VersionPin,
    /// Providers that were refused.
    pub refused: Vec<RefusedProvider>,
    /// Sealed memory with the files of all versions that the run has had, and of this one.
    pub memory: OwnedFd,
    /// Where in it which file is.
    pub files: BTreeMap<Digest, Extent>,
}
