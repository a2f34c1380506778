//! A segment: its memory, identity, seals and mapping.

use super::error::LinkError;
use crate::id::Incarnation;
use crate::limit;
use crate::ring::layout::{
    CAPACITY_AT, CONTROL_BYTES, IDENTITY_BYTES, INCARNATION_AT, MAGIC, MAGIC_AT, MAY_FAULT_AT,
    VERSION, VERSION_AT,
};
use crate::sys::{self, Access, RESIZE_SEALS, SealFlags, SharedMemory};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The direction of a segment's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Down,
    Up,
}

impl Direction {
    pub(super) fn name(self) -> &'static str {
        match self {
            Direction::Down => "down",
            Direction::Up => "up",
        }
    }

    /// The seals of a segment when it is passed to the host.
    fn seals(self) -> SealFlags {
        match self {
            Direction::Down => RESIZE_SEALS | SealFlags::FUTURE_WRITE,
            Direction::Up => RESIZE_SEALS,
        }
    }
}

/// Creates a segment, maps it for the supervisor, and seals it. `may_fault` allows faults to be armed.
pub(super) fn create(
    direction: Direction,
    capacity_bytes: usize,
    incarnation: Incarnation,
    may_fault: bool,
) -> Result<(OwnedFd, SharedMemory), LinkError> {
    let bytes = CONTROL_BYTES + capacity_bytes;
    let segment = direction.name();
    let failed = |action| {
        move |source: io::Error| LinkError::System {
            action,
            segment,
            bytes,
            source,
        }
    };
    let fd = sys::create(&format!("lockstep-{segment}"), bytes as u64).map_err(failed("create"))?;
    sys::write_at(&fd, &identity(capacity_bytes, incarnation), 0).map_err(failed("write"))?;
    let may_fault = u32::from(may_fault).to_le_bytes();
    sys::write_at(&fd, &may_fault, MAY_FAULT_AT as u64).map_err(failed("write"))?;
    let access = match direction {
        Direction::Down => Access::ReadWrite,
        Direction::Up => Access::Read,
    };
    let memory = SharedMemory::map(&fd, bytes, access).map_err(failed("map"))?;
    // Sealed after mapping: the seal forbids new writable mappings and keeps the existing one.
    sys::seal(&fd, direction.seals()).map_err(failed("seal"))?;
    Ok((fd, memory))
}

/// Checks a segment that was passed to a host, and maps it for the host. Also returns its capacity.
pub(super) fn attach(
    direction: Direction,
    fd: &OwnedFd,
    incarnation: Incarnation,
) -> Result<(SharedMemory, usize), LinkError> {
    let segment = direction.name();
    let foreign = |reason| LinkError::Foreign { segment, reason };
    if !sys::is_sealed(fd, direction.seals()) {
        return Err(foreign("it lacks seals"));
    }
    let capacity_bytes = check_size_and_identity(fd, incarnation).map_err(foreign)?;
    let bytes = CONTROL_BYTES + capacity_bytes;
    let access = match direction {
        Direction::Down => Access::Read,
        Direction::Up => Access::ReadWrite,
    };
    let memory = SharedMemory::map(fd, bytes, access).map_err(|source| LinkError::System {
        action: "map",
        segment,
        bytes,
        source,
    })?;
    Ok((memory, capacity_bytes))
}

/// Checks the size and the constant fields, and returns the capacity.
fn check_size_and_identity(fd: impl AsFd, incarnation: Incarnation) -> Result<usize, &'static str> {
    let size = sys::size(fd.as_fd()).map_err(|_| "its size is unknown")?;
    let capacity_bytes = usize::try_from(size)
        .ok()
        .and_then(|size| size.checked_sub(CONTROL_BYTES));
    let capacity_bytes = capacity_bytes.ok_or("it has no control page")?;
    if !capacity_bytes.is_power_of_two() || capacity_bytes < limit::MIN_RING_BYTES {
        return Err("its size is not that of a ring");
    }
    let mut found = [0; IDENTITY_BYTES];
    sys::read_at(fd.as_fd(), &mut found, 0).map_err(|_| "it cannot be read")?;
    let expected = identity(capacity_bytes, incarnation);
    let differs = |from: usize, to: usize| found[from..to] != expected[from..to];
    if differs(MAGIC_AT, VERSION_AT) {
        return Err("it does not begin with the magic number");
    }
    if differs(VERSION_AT, INCARNATION_AT) {
        return Err("its layout has another version");
    }
    if differs(INCARNATION_AT, CAPACITY_AT) {
        return Err("it is of another incarnation");
    }
    if differs(CAPACITY_AT, IDENTITY_BYTES) {
        Err("it names another capacity")
    } else {
        Ok(capacity_bytes)
    }
}

/// The bytes at the beginning of a segment.
fn identity(capacity_bytes: usize, incarnation: Incarnation) -> [u8; IDENTITY_BYTES] {
    let mut bytes = [0; IDENTITY_BYTES];
    bytes[MAGIC_AT..VERSION_AT].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[VERSION_AT..INCARNATION_AT].copy_from_slice(&VERSION.to_le_bytes());
    bytes[INCARNATION_AT..CAPACITY_AT].copy_from_slice(&incarnation.0.to_le_bytes());
    bytes[CAPACITY_AT..].copy_from_slice(&(capacity_bytes as u64).to_le_bytes());
    bytes
}
