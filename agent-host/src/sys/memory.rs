//! The memory of an agent, in address space of our own, so that its bytes can
//! be read and replaced between two steps.
//!
//! The layout is the one that the engine would make: a guard region, what the
//! memory may become at most, and a guard region again, all of it reserved at
//! once and nothing of it accessible but the bytes that the memory has now. It
//! never moves.
#![allow(unsafe_code, reason = "each block says why it is sound")]

use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap,
};
use std::cell::RefCell;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

/// Address space with one memory in it. The memory begins behind the first guard region.
pub(super) struct Reservation {
    start: NonNull<u8>,
    guard: usize,
    capacity: usize,
    /// Bytes that can be read and written. It only grows.
    accessible: AtomicUsize,
}

// SAFETY: the pointer is to a mapping that belongs to this value alone and that any thread may use. Nothing in this
// file goes through it but the two functions that are unsafe, whose callers answer for what happens at the same time.
unsafe impl Send for Reservation {}
// SAFETY: as above; the one field that changes is atomic.
unsafe impl Sync for Reservation {}

impl Reservation {
    fn new(guard: usize, capacity: usize, accessible: usize) -> io::Result<Reservation> {
        let total = guard + capacity + guard;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses where, so nothing that exists is replaced.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), total, ProtFlags::empty(), flags) }?;
        let start = NonNull::new(start.cast()).expect("the kernel never maps the first page");
        let reservation = Reservation {
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

    /// Makes more of it accessible. What is new is zero.
    fn grow_to(&self, bytes: usize) -> io::Result<()> {
        let now = self.len();
        if bytes > self.capacity {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        if bytes > now {
            let flags = MprotectFlags::READ | MprotectFlags::WRITE;
            // SAFETY: the range lies within the mapping, behind what is accessible, so nobody has a reference to it.
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
        // SAFETY: these bytes are mapped for reading as long as this value lives, anonymous memory is zero from the
        // start, and the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(self.base().as_ptr(), self.len()) }
    }

    /// The bytes of the memory, to be replaced.
    ///
    /// # Safety
    /// Nothing else reads or writes the memory while the slice lives: no code of its agent runs, and there is no other
    /// slice of it.
    #[allow(
        clippy::mut_from_ref,
        reason = "the engine shares this value; that the slice is the only one is the caller's duty"
    )]
    pub(super) unsafe fn bytes_mut(&self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the caller keeps readers away too.
        unsafe { std::slice::from_raw_parts_mut(self.base().as_ptr(), self.len()) }
    }

    /// Makes all bytes zero by giving their pages back.
    ///
    /// # Safety
    /// As for [`Reservation::bytes_mut`].
    pub(super) unsafe fn clear(&self) -> io::Result<()> {
        if self.len() > 0 {
            // SAFETY: the range is anonymous private memory of this value, whose pages read as zero afterwards, and
            // the caller has seen to it that nobody looks.
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

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the mapping belongs to this value, and whoever could reach it held a reference to this value.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.total()) };
        unmapped.expect("a whole mapping of ours can be unmapped");
    }
}

/// What the engine holds of a memory.
struct Linear(Arc<Reservation>);

// SAFETY: the base never moves, exactly `byte_size` bytes behind it are accessible, the rest of the reservation and the
// guard region behind it are mapped and not accessible, and growth adds bytes that are zero.
unsafe impl LinearMemory for Linear {
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

/// What is known of the memory that an instance in the making gets.
#[derive(Default)]
pub(super) struct Expected {
    /// Its size, if it is not the one that the component declares.
    pub(super) bytes: Option<usize>,
    /// The memory, once it is made.
    pub(super) made: Option<Arc<Reservation>>,
    /// Why the machine did not give it.
    pub(super) failed: Option<io::Error>,
}

thread_local! {
    /// The instance that this thread is making. The engine does not say for which one it wants a memory.
    static EXPECTED: RefCell<Option<Expected>> = const { RefCell::new(None) };
}

/// Calls `make`, which makes one instance, and gives what became of the instance's memory.
///
/// # Panics
/// When `make` calls this again.
pub(super) fn pair<R>(bytes: Option<usize>, make: impl FnOnce() -> R) -> (R, Expected) {
    /// Forgets the expectation even if `make` panics, so that no later memory is taken for this one.
    struct Forget;
    impl Drop for Forget {
        fn drop(&mut self) {
            EXPECTED.take();
        }
    }
    let expected = Expected {
        bytes,
        ..Expected::default()
    };
    assert!(
        EXPECTED.replace(Some(expected)).is_none(),
        "one instance is made after the other"
    );
    let forget = Forget;
    let made = make();
    let expected = EXPECTED.take().expect("nobody else takes it");
    drop(forget);
    (made, expected)
}

/// Makes the memories of agents.
pub(crate) struct Memories;

// SAFETY: a memory is zero, has the reservation and the guard region that are asked for, and is used by nobody else but
// through `Guest`, which does so only while no code of its instance can run.
unsafe impl MemoryCreator for Memories {
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
            let capacity = reserved_size_in_bytes.ok_or("a memory is reserved as a whole")?;
            let most = maximum.map_or(capacity, |maximum| maximum.min(capacity));
            if bytes < minimum || bytes > most {
                return Err(format!(
                    "a memory of {bytes} bytes, where its component has {minimum} to {most}"
                ));
            }
            if let Some(expected) = expected
                && expected.made.is_some()
            {
                return Err("an instance has one memory".to_owned());
            }
            let reservation = Reservation::new(guard_size_in_bytes, capacity, bytes);
            match (reservation, expected) {
                (Ok(reservation), expected) => {
                    let reservation = Arc::new(reservation);
                    if let Some(expected) = expected {
                        expected.made = Some(Arc::clone(&reservation));
                    }
                    Ok(Box::new(Linear(reservation)) as Box<dyn LinearMemory>)
                }
                (Err(error), expected) => {
                    let text = error.to_string();
                    if let Some(expected) = expected {
                        expected.failed = Some(error);
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
        let memory = Reservation::new(GUARD, CAPACITY, 1 << 16).expect("address space");
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
        let memory = Reservation::new(GUARD, CAPACITY, 1 << 16).expect("address space");
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
