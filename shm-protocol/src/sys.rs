//! The operating-system calls: memfd, seals, mappings, futex, event counters, inherited descriptors, the tie to the
//! parent, rights and limits of the own process.
//!
//! All `unsafe` code of this crate is here. [`SharedMemory`] is the [`crate::ring::SegmentMemory`] of the product;
//! those for model checking are in the tests.

mod checksum;
mod copy;
pub(crate) mod crash;
pub(crate) mod event;
mod futex;
pub mod inherited;
pub(crate) mod life;
mod mapping;
mod memfd;
pub mod own_process;
pub(crate) mod parent;
mod sealed;
mod shared;

pub(crate) use checksum::checksum_words;
pub(crate) use mapping::Access;
pub(crate) use memfd::{RESIZE_SEALS, create, is_sealed, read_at, seal, size, write_at};
pub(crate) use rustix::fs::SealFlags;
pub use sealed::{SealedMap, sealed_memory};
pub use shared::SharedMemory;
