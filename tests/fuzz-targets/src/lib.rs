//! Fuzz targets: everything that reads bytes of another process, of a file or of a person.
//!
//! A target takes any bytes. It panics when the reader does, or when a property of what was read does not hold. The
//! targets of `fuzz/` call these functions under libFuzzer, and `tests/corpus.rs` runs them with the [`driver`]: over
//! the corpus that `fuzz/corpus/` has for each of them, and over changes of it.
#![forbid(unsafe_code)]

pub mod driver;

mod checkpoint;
mod fault_plan;
mod fleet_file;
mod generation_request;
mod journal_frame;
mod message;
mod npy;
mod ring_record;

pub use checkpoint::checkpoint;
pub use fault_plan::{fault_plan, fault_plan_samples};
pub use fleet_file::fleet_file;
pub use generation_request::generation_request;
pub use journal_frame::{journal_frame, journal_frame_samples};
pub use message::{message, message_samples};
pub use npy::npy;
pub use ring_record::{ring_record, ring_record_samples};

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, that of its file in `fuzz/fuzz_targets/` and of its folder in `fuzz/corpus/`.
    pub name: &'static str,
    /// The function. It gives whether the bytes were accepted, as those of every file of the corpus are.
    pub run: fn(&[u8]) -> bool,
}

/// All targets.
pub const TARGETS: [Target; 8] = [
    Target {
        name: "checkpoint",
        run: checkpoint,
    },
    Target {
        name: "fault_plan",
        run: fault_plan,
    },
    Target {
        name: "fleet_file",
        run: fleet_file,
    },
    Target {
        name: "generation_request",
        run: generation_request,
    },
    Target {
        name: "journal_frame",
        run: journal_frame,
    },
    Target {
        name: "message",
        run: message,
    },
    Target {
        name: "npy",
        run: npy,
    },
    Target {
        name: "ring_record",
        run: ring_record,
    },
];

/// Encodes a value that was decoded from `bytes`, and requires that its encoding means the same and needs no more bytes:
/// a decoder that makes much of few bytes would let another process fill the memory.
fn check_round_trip<T, const LIMIT: usize>(bytes: &[u8], value: &T)
where
    T: bincode::Encode + bincode::Decode<()>,
{
    let encoded = shm_protocol::codec::encode(value);
    assert!(
        encoded.len() <= bytes.len(),
        "{} bytes were decoded to what takes {}",
        bytes.len(),
        encoded.len()
    );
    let again: T =
        shm_protocol::codec::decode::<T, LIMIT>(&encoded).expect("it was encoded just now");
    assert_eq!(shm_protocol::codec::encode(&again), encoded);
}
