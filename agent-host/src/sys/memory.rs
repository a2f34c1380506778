//! The linear memory of an agent, allocated by this crate so that its bytes can be read and replaced between two steps.
//!
//! The layout is the engine's own: a guard region, the maximum size of the memory, and a second guard region, all
//! reserved at once, with only the current bytes of the memory accessible. A memory never moves.

use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap,
};
use std::cell::RefCell;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

/// A reservation of address space with one memory, which begins behind the first guard region.
pub(super) struct MemoryReservation {
    start: NonNull<u8>,
    guard: usize,
    capacity: usize,
    /// Bytes that can be read and written. The number only grows.
    accessible: AtomicUsize,
}

// SAFETY: the pointer is to a mapping that belongs to this value alone and that any thread may use. Nothing in this
// file uses it but the unsafe functions, whose callers guarantee that no other access happens at the same time.
unsafe impl Send for MemoryReservation {}
// SAFETY: as above; the one field that changes is atomic.
unsafe impl Sync for MemoryReservation {}

impl MemoryReservation {
    fn new(guard: usize, capacity: usize, accessible: usize) -> io::Result<MemoryReservation> {
        let total = guard + capacity + guard;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses where, so nothing that exists is replaced.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), total, ProtFlags::empty(), flags) }?;
        let start = NonNull::new(start.cast()).expect("the kernel never maps the first page");
        let reservation = MemoryReservation {
            start,
            guard,
            capacity,
            accessible: AtomicUsize::new(0),
        };
        reservation.grow_to(accessible)?;
        Ok(reservation)
    }

    fn total(&self) -> usize {
        self.guard + self.capacity + self.guard
    }

    fn base(&self) -> NonNull<u8> {
        // SAFETY: the mapping is longer than the guard region at its beginning.
        unsafe { self.start.add(self.guard) }
    }

    fn len(&self) -> usize {
        self.accessible.load(Ordering::Relaxed)
    }

    /// Makes more bytes accessible. The new bytes are zero.
    fn grow_to(&self, bytes: usize) -> io::Result<()> {
        let now = self.len();
        if bytes > self.capacity {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        if bytes > now {
            let flags = MprotectFlags::READ | MprotectFlags::WRITE;
            // SAFETY: the range lies within the mapping, behind the accessible bytes, so there is no reference to it.
            unsafe { mprotect(self.base().add(now).as_ptr().cast(), bytes - now, flags) }?;
            self.accessible.store(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The bytes of the memory.
    ///
    /// # Safety
    /// Nothing writes to the memory while the slice lives: no code of its agent runs.
    pub(super) unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: these bytes are mapped for reading as long as this value lives, anonymous memory is initialized
        // to zero, and the caller excludes writers.
        unsafe { std::slice::from_raw_parts(self.base().as_ptr(), self.len()) }
    }

    /// The bytes of the memory, for writing.
    ///
    /// # Safety
    /// Nothing else reads or writes the memory while the slice lives: no code of its agent runs, and there is no other
    /// slice of it.
    #[allow(
        clippy::mut_from_ref,
        reason = "the engine shares this value; the caller guarantees that the slice is the only one"
    )]
    pub(super) unsafe fn bytes_mut(&self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the caller excludes readers too.
        unsafe { std::slice::from_raw_parts_mut(self.base().as_ptr(), self.len()) }
    }

    /// Makes all bytes zero by releasing their pages.
    ///
    /// # Safety
    /// As for [`MemoryReservation::bytes_mut`].
    pub(super) unsafe fn clear(&self) -> io::Result<()> {
        if self.len() > 0 {
            // SAFETY: the range is anonymous private memory of this value, whose pages read as zero afterwards, and
            // the caller excludes other accesses.
            unsafe {
                madvise(
                    self.base().as_ptr().cast(),
                    self.len(),
                    Advice::LinuxDontNeed,
                )
            }?;
        }
        Ok(())
    }
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        // SAFETY: the mapping belongs to this value, and every access to it needs a reference to this value.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.total()) };
        unmapped.expect("a whole mapping of ours can be unmapped");
    }
}

/// The engine's handle of a memory.
struct HostLinearMemory(Arc<MemoryReservation>);

// SAFETY: the base never moves, exactly `byte_size` bytes behind it are accessible, the rest of the reservation and the
// guard region behind it are mapped and not accessible, and growth adds bytes that are zero.
unsafe impl LinearMemory for HostLinearMemory {
    fn byte_size(&self) -> usize {
        self.0.len()
    }

    fn byte_capacity(&self) -> usize {
        self.0.capacity
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        Ok(self.0.grow_to(new_size)?)
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.base().as_ptr()
    }
}

/// The memory of the instance that is being made.
#[derive(Default)]
pub(super) struct ExpectedMemory {
    /// Its size, if it differs from the declared one.
    pub(super) bytes: Option<usize>,
    /// The memory, once it is made.
    pub(super) memory: Option<Arc<MemoryReservation>>,
    /// The system's error, if it could not be made.
    pub(super) error: Option<io::Error>,
}

thread_local! {
    /// The memory that this thread expects. The engine does not tell the creator for which instance a memory is.
    static EXPECTED: RefCell<Option<ExpectedMemory>> = const { RefCell::new(None) };
}

/// Calls `make`, which makes one instance, and returns the instance's memory with its result.
///
/// # Panics
/// When `make` calls this function again.
pub(super) fn with_expected_memory<R>(
    bytes: Option<usize>,
    make: impl FnOnce() -> R,
) -> (R, ExpectedMemory) {
    /// Clears the expectation even if `make` panics, so that a later memory is not mistaken for this one.
    struct ResetOnDrop;
    impl Drop for ResetOnDrop {
        fn drop(&mut self) {
            EXPECTED.take();
        }
    }
    let expected = ExpectedMemory {
        bytes,
        ..ExpectedMemory::default()
    };
    assert!(
        EXPECTED.replace(Some(expected)).is_none(),
        "instances are made one after another"
    );
    let reset = ResetOnDrop;
    let result = make();
    let expected = EXPECTED.take().expect("nothing else takes it");
    drop(reset);
    (result, expected)
}

/// Creates the memories of agents for the engine.
pub(crate) struct AgentMemoryCreator;

// SAFETY: a memory is zero, has the reservation and the guard region that are asked for, and is used by nobody else but
// through `GuestStore`, which does so only while no code of its instance can run.
unsafe impl MemoryCreator for AgentMemoryCreator {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved_size_in_bytes: Option<usize>,
        guard_size_in_bytes: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        EXPECTED.with_borrow_mut(|expected| {
            let wanted = expected.as_ref().and_then(|expected| expected.bytes);
            let bytes = wanted.unwrap_or(minimum);
            let capacity = reserved_size_in_bytes
                .ok_or("the engine reserves no address space for the memory")?;
            let max_bytes = maximum.map_or(capacity, |maximum| maximum.min(capacity));
            if bytes < minimum || bytes > max_bytes {
                return Err(format!(
                    "a memory of {bytes} bytes, where its component has {minimum} to {max_bytes}"
                ));
            }
            if let Some(expected) = expected
                && expected.memory.is_some()
            {
                return Err("an instance has one memory".to_owned());
            }
            let reservation = MemoryReservation::new(guard_size_in_bytes, capacity, bytes);
            match (reservation, expected) {
                (Ok(reservation), expected) => {
                    let reservation = Arc::new(reservation);
                    if let Some(expected) = expected {
                        expected.memory = Some(Arc::clone(&reservation));
                    }
                    Ok(Box::new(HostLinearMemory(reservation)) as Box<dyn LinearMemory>)
                }
                (Err(error), expected) => {
                    let text = error.to_string();
                    if let Some(expected) = expected {
                        expected.error = Some(error);
                    }
                    Err(text)
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: usize = 1 << 20;
    const CAPACITY: usize = 1 << 30;

    #[test]
    fn a_memory_grows_in_place_and_can_be_cleared() {
        let memory = MemoryReservation::new(GUARD, CAPACITY, 1 << 16).expect("address space");
        let base = memory.base();
        // SAFETY: this test is the only one that uses the memory, one slice after the other.
        unsafe {
            memory.bytes_mut().fill(7);
            memory.grow_to(1 << 18).expect("memory");
            assert_eq!((memory.base(), memory.len()), (base, 1 << 18));
            assert!(memory.bytes()[..1 << 16].iter().all(|byte| *byte == 7));
            assert!(memory.bytes()[1 << 16..].iter().all(|byte| *byte == 0));
            memory.clear().expect("our own memory");
            assert!(memory.bytes().iter().all(|byte| *byte == 0));
        }
        memory
            .grow_to(CAPACITY + 1)
            .expect_err("there is no more address space");
        assert_eq!(memory.len(), 1 << 18);
    }

    #[test]
    fn everything_around_a_memory_is_reserved_and_closed() {
        let memory = MemoryReservation::new(GUARD, CAPACITY, 1 << 16).expect("address space");
        let start = memory.start.as_ptr() as usize;
        let open = start + GUARD;
        let maps = std::fs::read_to_string("/proc/self/maps").expect("this process");
        let mut covered = start;
        for line in maps.lines() {
            let (range, rest) = line.split_once(' ').expect("a range");
            let (from, to) = range.split_once('-').expect("a range");
            let parse = |text| usize::from_str_radix(text, 16).expect("a number");
            let (from, to) = (parse(from), parse(to));
            // Closed neighbours of another memory may be part of the same line.
            if to <= start || from >= start + memory.total() {
                continue;
            }
            assert!(from <= covered, "a hole at {covered:x}");
            covered = to;
            let is_open = from == open && to == open + (1 << 16);
            assert_eq!(rest.starts_with("rw-p"), is_open, "{line}");
            assert!(is_open || rest.starts_with("---p"), "{line}");
        }
        assert!(covered >= start + memory.total());
    }
}
