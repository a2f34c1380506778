//! Reports of progress. The promise: a host that works for long is told from one that hangs, without a record in its
//! ring. Alone in a program of its own, because a process has one word.

mod common;

use common::INCARNATION;
use shm_protocol::limit::MIN_RING_BYTES;
use shm_protocol::link::{HostDescriptors, HostLink, LinkSizes, SupervisorLink};
use shm_protocol::progress;

#[test]
fn the_supervisor_sees_what_a_host_reports() {
    progress::report();
    let sizes = LinkSizes {
        down_bytes: MIN_RING_BYTES,
        up_bytes: MIN_RING_BYTES,
    };
    let (mut supervisor, descriptors) = SupervisorLink::create(sizes, INCARNATION).expect("a link");
    let HostDescriptors { down, up, bell } = descriptors;
    let host = HostLink::attach(down, up, bell, INCARNATION).expect("attaching");
    assert_eq!(supervisor.progress(), 0, "nobody listened before");
    for reports in 1..=3 {
        progress::report();
        assert_eq!(supervisor.progress(), reports);
    }
    assert!(supervisor.up.is_empty(), "no record was needed");
    drop(host);
    assert!(supervisor.arm(), "nor is there anything to be awake for");
}
