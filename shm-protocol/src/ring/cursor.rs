//! Cursor arithmetic: positions, records and free space. Pure, and tested exhaustively for small rings.
//!
//! A position counts bytes from the first one ever written, so it never wraps (at 100 GB/s a u64 lasts five years) and
//! distinguishes laps. Records begin at multiples of [`LINE`] and never cross the end of the ring.

use super::layout::{
    DIMS_BYTES, FREE_FRACTION, HEADER_BYTES, LINE, MIN_CAPACITY, PAYLOAD_FRACTION,
};

/// Bytes of the data of a ring: a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity(u64);

impl Capacity {
    /// `None` if the number is not a power of two, or less than [`MIN_CAPACITY`].
    pub(super) fn new(bytes: usize) -> Option<Capacity> {
        (bytes.is_power_of_two() && bytes >= MIN_CAPACITY).then_some(Capacity(bytes as u64))
    }

    pub(super) fn bytes(self) -> u64 {
        self.0
    }

    /// The position as an offset into the data.
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "layout asserts that a usize has 64 bits"
    )]
    pub(super) fn offset(self, position: u64) -> usize {
        (position & (self.0 - 1)) as usize
    }

    /// Bytes from the position to the end of the ring; the whole capacity at the beginning.
    #[inline]
    pub(super) fn to_end(self, position: u64) -> u64 {
        self.0 - (position & (self.0 - 1))
    }

    pub(super) fn max_payload_bytes(self) -> u64 {
        self.0 / PAYLOAD_FRACTION as u64
    }

    /// Freed bytes after which the reader publishes its progress.
    #[inline]
    pub(super) fn progress_step(self) -> u64 {
        self.0 / FREE_FRACTION as u64
    }

    /// The span of a record when `head` is the first free position.
    #[inline]
    pub(super) fn place(self, head: u64, record_bytes: u64) -> RecordSpan {
        let room = self.to_end(head);
        let pad_bytes = if record_bytes <= room { 0 } else { room };
        let start = head + pad_bytes;
        RecordSpan {
            pad_bytes,
            start,
            end: start + record_bytes,
        }
    }

    /// True if a record that ends at `end` overwrites only what is consumed.
    ///
    /// The header after the record must be free as well, because its sequence is cleared before the record is
    /// published.
    #[inline]
    pub(super) fn has_room(self, end: u64, consumed: u64) -> bool {
        end + HEADER_BYTES as u64 - consumed <= self.0
    }
}

/// The span of a record in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordSpan {
    /// Bytes of padding before the record; zero if it fits before the end of the ring.
    pub(super) pad_bytes: u64,
    /// Position of its header.
    pub(super) start: u64,
    /// Position after it.
    pub(super) end: u64,
}

/// Bytes of a record in the ring. The payload must be at most the capacity, which rules out an overflow.
#[inline]
pub(super) fn record_bytes(payload_bytes: u64, has_dims: bool) -> u64 {
    payload_offset(has_dims) + payload_bytes.next_multiple_of(LINE as u64)
}

/// Bytes from a record's header to its payload.
#[inline]
pub(super) fn payload_offset(has_dims: bool) -> u64 {
    if has_dims {
        (HEADER_BYTES + DIMS_BYTES) as u64
    } else {
        HEADER_BYTES as u64
    }
}

/// The sequence of a record at this position: different at every position of every lap, and never zero.
#[inline]
pub(super) fn sequence(position: u64) -> u64 {
    position + 1
}

/// True if a reader can have progressed to `reported`, after it had reported `known` and `head` was written.
#[inline]
pub(super) fn is_possible_progress(reported: u64, known: u64, head: u64) -> bool {
    (known..=head).contains(&reported) && reported.is_multiple_of(LINE as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: usize = MIN_CAPACITY;

    fn small() -> Capacity {
        Capacity::new(SMALL).expect("a power of two")
    }

    #[test]
    fn only_powers_of_two_are_capacities() {
        for bytes in 0..4 * SMALL {
            assert_eq!(
                Capacity::new(bytes).is_some(),
                [SMALL, 2 * SMALL].contains(&bytes),
                "{bytes}"
            );
        }
    }

    #[test]
    fn every_record_lies_in_one_lap_and_pads_fill_to_its_end() {
        let ring = small();
        for head in (0..3 * SMALL as u64).step_by(LINE) {
            for payload in 0..=ring.max_payload_bytes() {
                for has_dims in [false, true] {
                    let bytes = record_bytes(payload, has_dims);
                    let place = ring.place(head, bytes);
                    assert!(
                        bytes.is_multiple_of(LINE as u64)
                            && bytes >= payload + payload_offset(has_dims)
                    );
                    assert_eq!(place.end - place.start, bytes);
                    assert_eq!(place.start, head + place.pad_bytes);
                    assert_eq!(
                        place.start / ring.bytes(),
                        (place.end - 1) / ring.bytes(),
                        "one lap"
                    );
                    if place.pad_bytes > 0 {
                        assert_eq!(ring.offset(place.start), 0);
                        assert!(
                            place.pad_bytes < bytes,
                            "padding only where the record did not fit"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn room_is_exactly_what_overwrites_nothing() {
        let ring = small();
        for consumed in (0..=SMALL as u64).step_by(LINE) {
            for end in (consumed..consumed + 2 * SMALL as u64).step_by(LINE) {
                let touched = (consumed..end + HEADER_BYTES as u64).step_by(LINE).count();
                assert_eq!(
                    ring.has_room(end, consumed),
                    touched <= SMALL / LINE,
                    "{consumed} {end}"
                );
            }
        }
    }

    #[test]
    fn an_empty_ring_takes_the_largest_record() {
        let ring = small();
        let largest = record_bytes(ring.max_payload_bytes(), true);
        for head in (0..2 * SMALL as u64).step_by(LINE) {
            let told = head
                .saturating_sub(ring.progress_step() - 1)
                .next_multiple_of(LINE as u64);
            assert!(
                ring.has_room(ring.place(head, largest).end, told),
                "stuck at {head}"
            );
        }
    }

    #[test]
    fn sequences_differ_wherever_a_reader_could_confuse_them() {
        let mut seen = std::collections::BTreeSet::new();
        for position in (0..8 * SMALL as u64).step_by(LINE) {
            assert!(sequence(position) != 0 && seen.insert(sequence(position)));
        }
    }

    #[test]
    fn progress_is_possible_only_forward_and_up_to_the_head() {
        for known in (0..512).step_by(LINE) {
            for head in (known..1024).step_by(LINE) {
                for reported in 0..1200 {
                    let possible = reported >= known && reported <= head && reported % 64 == 0;
                    assert_eq!(is_possible_progress(reported, known, head), possible);
                }
            }
        }
    }
}
