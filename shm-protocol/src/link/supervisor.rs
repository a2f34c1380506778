//! The supervisor's end of a link.

use super::error::LinkError;
use super::segment::{self, Direction};
use crate::fault::ArmedFaults;
use crate::id::Incarnation;
use crate::limit;
use crate::progress;
use crate::ring::layout::{FOR_RECORDS, FOR_SPACE};
use crate::ring::{Bell, RingTerms, SharedConsumer, SharedProducer, Sleeper};
use crate::sys::{self, SharedMemory, life};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Capacities of the rings, rounded up to powers of two of at least [`limit::MIN_RING_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSizes {
    /// Bytes of the ring that the supervisor writes.
    pub down_bytes: usize,
    /// Bytes of the ring that the host writes.
    pub up_bytes: usize,
}

/// The descriptors of a link for the host, to be passed at the numbers of [`crate::boot`].
#[derive(Debug)]
pub struct HostDescriptors {
    /// For [`crate::boot::TO_HOST`].
    pub down: OwnedFd,
    /// For [`crate::boot::FROM_HOST`].
    pub up: OwnedFd,
    /// For [`crate::boot::BELL`].
    pub bell: OwnedFd,
}

/// The supervisor's end of a link.
#[derive(Debug)]
pub struct SupervisorLink {
    /// Records for the host.
    pub down: SharedProducer,
    /// Records from the host.
    pub up: SharedConsumer,
    /// The segment that the host writes, for its life word.
    up_memory: SharedMemory,
    bell: OwnedFd,
    sleeper: Sleeper<SharedMemory>,
    /// True if the bell may have been rung since it was last cleared.
    is_armed: bool,
    /// The faults armed in the host, if the link allows faults.
    faults: Option<ArmedFaults>,
}

impl SupervisorLink {
    /// Creates memory and bell for one incarnation of a host.
    ///
    /// # Errors
    /// When the system lacks memory or descriptors.
    pub fn create(
        sizes: LinkSizes,
        incarnation: Incarnation,
    ) -> Result<(SupervisorLink, HostDescriptors), LinkError> {
        SupervisorLink::create_with(sizes, incarnation, false)
    }

    /// Like [`SupervisorLink::create`], and allows fault injection into the host if `may_fault` holds.
    ///
    /// # Errors
    /// As [`SupervisorLink::create`].
    pub fn create_with(
        sizes: LinkSizes,
        incarnation: Incarnation,
        may_fault: bool,
    ) -> Result<(SupervisorLink, HostDescriptors), LinkError> {
        let down_bytes = ring_bytes(sizes.down_bytes, Direction::Down)?;
        let up_bytes = ring_bytes(sizes.up_bytes, Direction::Up)?;
        let (down_fd, down) = segment::create(Direction::Down, down_bytes, incarnation, may_fault)?;
        let (up_fd, up) = segment::create(Direction::Up, up_bytes, incarnation, false)?;
        let failed = |action| {
            move |source: io::Error| LinkError::System {
                action,
                segment: "bell",
                bytes: 8,
                source,
            }
        };
        let bell = sys::event::create().map_err(failed("create"))?;
        let bell_of_host = bell.try_clone().map_err(failed("duplicate"))?;
        let link = SupervisorLink {
            up_memory: up.clone(),
            faults: may_fault.then(|| ArmedFaults::new(down.clone(), up.clone())),
            down: SharedProducer::new(
                down.clone(),
                up.clone(),
                Bell::Doorbell(down.clone()),
                down_terms(down_bytes, incarnation),
            ),
            up: SharedConsumer::new(
                up,
                down.clone(),
                Bell::Doorbell(down.clone()),
                up_terms(up_bytes, incarnation),
            ),
            bell,
            sleeper: Sleeper::new(down),
            is_armed: false,
        };
        Ok((
            link,
            HostDescriptors {
                down: down_fd,
                up: up_fd,
                bell: bell_of_host,
            },
        ))
    }

    /// The faults armed in the host. `None` if the link does not allow faults.
    pub fn faults(&mut self) -> Option<&mut ArmedFaults> {
        self.faults.as_mut()
    }

    /// True if the host's life word says that the host is dying. It changes before the process descriptor signals,
    /// which happens once the memory of the process is freed. It is a hint: a caller that acts on it kills the host.
    #[must_use]
    pub fn is_dying(&self) -> bool {
        life::is_marked(&self.up_memory)
    }

    /// Number of progress reports of the host; see [`crate::progress`].
    #[must_use]
    pub fn progress(&self) -> u64 {
        progress::of(&self.up_memory)
    }

    /// The descriptor that becomes readable when the host rings, for epoll.
    #[must_use]
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Announces that the supervisor is about to sleep, so that the host rings for a record, and for space if the last
    /// record down did not fit. `false` if one of them is there already: then nothing is announced, do not sleep.
    #[must_use]
    pub fn arm(&mut self) -> bool {
        let starved_for = self.down.starved_for();
        self.sleeper.announce(if starved_for.is_some() {
            FOR_RECORDS | FOR_SPACE
        } else {
            FOR_RECORDS
        });
        self.is_armed = true;
        // A violation prevents the sleep as well, and the next push returns it.
        let has_space = |bytes| !matches!(self.down.has_space_for(bytes), Ok(false));
        let is_needed = !self.up.is_empty() || starved_for.is_some_and(has_space);
        if is_needed {
            self.disarm();
        }
        !is_needed
    }

    /// Withdraws the announcement once the supervisor is awake, and clears the bell.
    pub fn disarm(&mut self) {
        if self.is_armed {
            self.is_armed = false;
            self.sleeper.withdraw();
            // There is usually nothing to read. A ring after this causes a spurious wake-up of the next sleep.
            sys::event::reset(&self.bell);
        }
    }
}

/// Payloads down have no checksum, because the host trusts the supervisor and no other process can write there.
pub(super) fn down_terms(capacity_bytes: usize, incarnation: Incarnation) -> RingTerms {
    RingTerms {
        capacity_bytes,
        incarnation,
        payload_checksums: false,
    }
}

/// Payloads up have a checksum. It detects a copy that was taken while a faulty host was writing.
pub(super) fn up_terms(capacity_bytes: usize, incarnation: Incarnation) -> RingTerms {
    RingTerms {
        capacity_bytes,
        incarnation,
        payload_checksums: true,
    }
}

fn ring_bytes(asked: usize, direction: Direction) -> Result<usize, LinkError> {
    asked
        .max(limit::MIN_RING_BYTES)
        .checked_next_power_of_two()
        .ok_or_else(|| LinkError::System {
            action: "create",
            segment: direction.name(),
            bytes: asked,
            source: io::ErrorKind::OutOfMemory.into(),
        })
}

/// The host's side of the bell.
pub(super) fn event(bell: OwnedFd) -> Bell {
    Bell::Event(Arc::new(bell))
}
