//! The operating-system calls: memfd, seals, mappings, futex, inherited
//! descriptors.
//!
//! All `unsafe` of this crate is here. [`SharedMemory`] is the real
//! [`crate::ring::Memory`]; its twins for model checking are in the tests.

mod checksum;
mod copy;
pub(crate) mod crash;
mod futex;
pub mod inherited;
pub(crate) mod life;
mod mapping;
mod memfd;
mod sealed;
mod shared;

pub(crate) use checksum::checksum_words;
pub(crate) use mapping::Access;
pub(crate) use memfd::{RESIZE_SEALS, create, is_sealed, seal};
pub(crate) use rustix::fs::SealFlags;
pub use sealed::{SealedMap, sealed_memory};
pub use shared::SharedMemory;
