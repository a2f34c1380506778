//! Records that can be recognised, and processes to exchange them with.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(missing_docs, reason = "helpers of tests")]

use command_fds::CommandFdExt;
use shm_protocol::id::{Incarnation, Tick};
use shm_protocol::link::HostDescriptors;
use shm_protocol::ring::RecordHeader;
use shm_protocol::tensor::{DType, Shape};
use std::process::{Child, Command};
use test_support::TestRng;
use test_support::host_process::link_mappings;

pub(crate) const INCARNATION: Incarnation = Incarnation(7);
const ROLE: &str = "SHM_PROTOCOL_TEST_ROLE";

/// Record number `number`: everything about it follows from the number.
pub(crate) fn record(number: u64, limit: u64, payload: &mut Vec<u8>) -> RecordHeader {
    let mut random = TestRng::new(number + 1);
    let bytes = match random.below(50) {
        0 => random.below(limit + 1),
        1..=5 => 0,
        _ => random.below(600),
    };
    *payload = random.bytes(usize::try_from(bytes).expect("small"));
    let mut header = RecordHeader::new(u16::try_from(number % 100).expect("small"), Tick(number));
    header.incarnation = INCARNATION;
    header.subject = u32::try_from(random.below(1 << 32)).expect("32 bits");
    header.correlation = random.next_u64();
    header.tensor = match number % 3 {
        0 => Some((DType::U8, Shape::new(&[1, bytes]).expect("two dimensions"))),
        1 if bytes == 1 => Some((DType::I8, Shape::new(&[]).expect("a scalar"))),
        _ => None,
    };
    header
}

/// Starts this test program again as the other end. `entry` is the test that plays the part.
pub(crate) fn start(entry: &str, role: &str, descriptors: HostDescriptors) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command
        .args([entry, "--exact", "--nocapture"])
        .env(ROLE, role);
    command
        .fd_mappings(link_mappings(descriptors).into())
        .expect("distinct descriptors");
    command.spawn().expect("a process")
}

/// The part that this process plays, if it was started by [`start`].
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}
