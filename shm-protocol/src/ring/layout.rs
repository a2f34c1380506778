//! The layout of a segment. The byte table is in `docs/formats/ring.md`; the assertions at the end check it.
//!
//! A segment is written by one end only. It is one control page, followed by the data of the ring that this end writes.
//! The control page also holds this end's words about the ring of the other direction, so that no word of the link has
//! two writers.

/// First word of a segment: `LOCKRING` in ASCII.
pub const MAGIC: u64 = u64::from_le_bytes(*b"LOCKRING");

/// Version of this layout and of the record header.
pub const VERSION: u32 = 2;

/// Bytes before the data: one page, so that the data is aligned to pages.
pub const CONTROL_BYTES: usize = 4096;

/// Bytes from one control word to the next. Two cache lines, because processors fetch lines in pairs.
pub const WORD_STRIDE: usize = 128;

/// Offset of the magic number, a u64.
pub const MAGIC_AT: usize = 0;
/// Offset of the version, a u32.
pub const VERSION_AT: usize = 8;
/// Offset of the incarnation, a u32.
pub const INCARNATION_AT: usize = 12;
/// Offset of the capacity in bytes, a u64.
pub const CAPACITY_AT: usize = 16;
/// Bytes of the four fields above, which never change.
pub const IDENTITY_BYTES: usize = 24;
/// Offset of a u32 of the segment down, which never changes: 1 if faults may be armed, otherwise 0.
pub const MAY_FAULT_AT: usize = 24;

/// Offset of the futex word on which the other end sleeps, a u32. Incremented to wake it.
pub const DOORBELL_AT: usize = WORD_STRIDE;
/// Offset of the position up to which this end has consumed the other ring, a u64.
pub const CONSUMED_AT: usize = 2 * WORD_STRIDE;
/// Offset of the waiting word, a u64: zero, or [`FOR_RECORDS`] or [`FOR_SPACE`] and the number of the sleep.
pub const WAITING_AT: usize = 3 * WORD_STRIDE;

/// Offset of the faults that the supervisor has armed, in the segment down. See [`crate::fault`].
pub const FAULT_SLOTS_AT: usize = 4 * WORD_STRIDE;
/// Bytes of one armed fault: its mark, its tick, and its subject; the last word is zero.
pub const FAULT_SLOT_BYTES: usize = 32;
/// Offset of the marks of the faults that have fired, in the segment up: one u64 for each slot.
pub const FIRED_AT: usize = 4 * WORD_STRIDE;

/// Offset of a node of the host's robust list, in the segment up: a u64 for the kernel, then the life word, a u32 with
/// the number of the host's main thread. The kernel sets [`OWNER_DIED`] in it when that thread dies, before it frees
/// the memory of the process.
pub const LIFE_AT: usize = 8 * WORD_STRIDE;
/// Offset of a count of the reports of progress, in the segment up: a u64.
pub const PROGRESS_AT: usize = 9 * WORD_STRIDE;
/// Bit of the life word: the thread is dead.
pub const OWNER_DIED: u32 = 0x4000_0000;

/// Bit of the waiting word: this end sleeps until there is a record for it.
pub const FOR_RECORDS: u64 = 1;
/// Bit of the waiting word: this end sleeps until there is space for its records.
pub const FOR_SPACE: u64 = 2;
/// Shift of the number of the sleep, which makes the words of different sleeps different.
pub const SLEEP_SHIFT: u32 = 2;

/// Alignment of records and payloads, and the granularity of positions: a cache line.
pub const LINE: usize = 64;

/// Bytes of a record header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of the dimensions, which follow the header of a tensor with a rank above zero.
pub const DIMS_BYTES: usize = 64;

/// Minimum capacity of a ring. [`super::cursor`] needs less, but a smaller ring is not worth its control page.
pub const MIN_CAPACITY: usize = 1024;

/// The largest payload is this fraction of the capacity, so that the record and
/// the padding before it take at most half of the ring.
pub const PAYLOAD_FRACTION: usize = 4;

/// A reader publishes freed space once it is this fraction of the capacity, because each publication takes a cache line
/// from the writer.
pub const FREE_FRACTION: usize = 8;

/// Kind of a record that only fills the end of the ring.
pub const PAD: u16 = u16::MAX;

/// Flag of a record whose payload checksum is filled in.
pub const PAYLOAD_CHECKED: u32 = 1;

/// Offset of the sequence, a u64.
pub const SEQUENCE_AT: usize = 0;
/// Offset of the tick, a u64.
pub const TICK_AT: usize = 8;
/// Offset of the correlation, a u64.
pub const CORRELATION_AT: usize = 16;
/// Offset of the payload's length in bytes, a u64.
pub const PAYLOAD_BYTES_AT: usize = 24;
/// Offset of the subject, a u32.
pub const SUBJECT_AT: usize = 32;
/// Offset of the incarnation, a u32.
pub const RECORD_INCARNATION_AT: usize = 36;
/// Offset of the kind, a u16.
pub const KIND_AT: usize = 40;
/// Offset of the element type, a u8; zero if the payload is no tensor.
pub const DTYPE_AT: usize = 42;
/// Offset of the rank, a u8.
pub const RANK_AT: usize = 43;
/// Offset of the flags, a u32.
pub const FLAGS_AT: usize = 44;
/// Offset of eight bytes that are zero.
pub const RESERVED_AT: usize = 48;
/// Offset of the payload's CRC32C, a u32; zero without [`PAYLOAD_CHECKED`].
pub const PAYLOAD_CHECKSUM_AT: usize = 56;
/// Offset of the CRC32C of header and dimensions, taken with this field as zero.
pub const HEADER_CHECKSUM_AT: usize = 60;

const _: () = assert!(
    cfg!(target_endian = "little"),
    "the words of the ring are little-endian and are used in place"
);
const _: () = assert!(
    size_of::<usize>() == 8,
    "positions are u64 and offsets usize"
);
const _: () = assert!(MAGIC_AT + 8 == VERSION_AT && VERSION_AT + 4 == INCARNATION_AT);
const _: () = assert!(INCARNATION_AT + 4 == CAPACITY_AT && CAPACITY_AT + 8 == IDENTITY_BYTES);
const _: () = assert!(IDENTITY_BYTES <= DOORBELL_AT && WAITING_AT + 8 <= CONTROL_BYTES);
const _: () = assert!(MAY_FAULT_AT == IDENTITY_BYTES && MAY_FAULT_AT + 4 <= DOORBELL_AT);
const _: () = assert!(
    WAITING_AT + WORD_STRIDE <= FAULT_SLOTS_AT
        && FAULT_SLOTS_AT + crate::limit::FAULT_SLOTS * FAULT_SLOT_BYTES <= CONTROL_BYTES
        && FIRED_AT + crate::limit::FAULT_SLOTS * 8 <= LIFE_AT
        && LIFE_AT + 16 <= PROGRESS_AT
        && PROGRESS_AT + 8 <= CONTROL_BYTES
        && FAULT_SLOT_BYTES >= 3 * 8
);
const _: () = assert!(WORD_STRIDE >= 2 * LINE && CONTROL_BYTES.is_multiple_of(LINE));
const _: () = assert!(SEQUENCE_AT + 8 == TICK_AT && TICK_AT + 8 == CORRELATION_AT);
const _: () = assert!(CORRELATION_AT + 8 == PAYLOAD_BYTES_AT && PAYLOAD_BYTES_AT + 8 == SUBJECT_AT);
const _: () =
    assert!(SUBJECT_AT + 4 == RECORD_INCARNATION_AT && RECORD_INCARNATION_AT + 4 == KIND_AT);
const _: () =
    assert!(KIND_AT + 2 == DTYPE_AT && DTYPE_AT + 1 == RANK_AT && RANK_AT + 1 == FLAGS_AT);
const _: () = assert!(FLAGS_AT + 4 == RESERVED_AT && RESERVED_AT + 8 == PAYLOAD_CHECKSUM_AT);
const _: () = assert!(
    PAYLOAD_CHECKSUM_AT + 4 == HEADER_CHECKSUM_AT && HEADER_CHECKSUM_AT + 4 == HEADER_BYTES
);
const _: () = assert!(
    HEADER_BYTES == LINE && DIMS_BYTES == crate::limit::RANK * 8 && DIMS_BYTES.is_multiple_of(LINE)
);
/// The largest record, with as much padding before it and the header that must stay free after it.
const LARGEST_NEED: usize =
    2 * (MIN_CAPACITY / PAYLOAD_FRACTION + HEADER_BYTES + DIMS_BYTES) + HEADER_BYTES;
/// A reader that has taken everything has published all but this fraction. The space that the writer then sees must
/// hold the largest record, or both would wait for each other.
const _: () = assert!(LARGEST_NEED <= MIN_CAPACITY - MIN_CAPACITY / FREE_FRACTION);
