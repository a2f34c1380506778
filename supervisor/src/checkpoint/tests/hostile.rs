//! State records of hosts are checked before they are used.

use super::super::{CheckpointError, Collector};
use super::world::World;
use shm_protocol::agent_state::{PAGE_BYTES, PAGES_PER_RECORD, Page, SavedInstance, StateRecord};
use shm_protocol::codec;
use shm_protocol::id::{AgentId, RequestId, Tick};

fn record() -> StateRecord {
    StateRecord {
        agent: AgentId(0),
        next_request: RequestId(1),
        life: SavedInstance::Running {
            memory_bytes: 8 * PAGE_BYTES as u64,
            globals: vec![1],
        },
        pages: vec![page(1), page(3)],
        is_last: true,
    }
}

fn page(index: u32) -> Page {
    Page {
        index,
        bytes: vec![1; PAGE_BYTES],
    }
}

/// The reason for which a record is refused, as the first one or behind a good one that is not the last.
fn reason(earlier: Option<&StateRecord>, record: &StateRecord) -> String {
    let mut world = World::new(2, false);
    world.begin(1);
    let say = |collector: &mut Collector, record| {
        collector
            .state(Tick(1), AgentId(0), &codec::encode(record))
            .map(drop)
    };
    if let Some(earlier) = earlier {
        say(&mut world.collector, earlier).unwrap();
    }
    let pages = world.pack_pages();
    let error = say(&mut world.collector, record).expect_err("it was believed");
    assert_eq!(
        world.pack_pages(),
        pages,
        "pages of a refused record were written"
    );
    assert!(world.collector.needs_full() && !world.collector.is_pending());
    match error {
        CheckpointError::State {
            agent: AgentId(0),
            tick: Tick(1),
            reason,
        } => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn a_record_that_cannot_be_is_refused_and_nothing_of_it_is_kept() {
    let with = |change: &dyn Fn(&mut StateRecord)| {
        let mut changed = record();
        change(&mut changed);
        changed
    };
    let running = |memory_bytes| SavedInstance::Running {
        memory_bytes,
        globals: vec![1],
    };
    let cases: [(StateRecord, &str); 10] = [
        (
            with(&|record| record.agent = AgentId(1)),
            "belongs to agent 1",
        ),
        (
            with(&|record| record.pages.reverse()),
            "page 1 is out of order",
        ),
        (
            with(&|record| record.pages[1].index = 1),
            "page 1 is out of order",
        ),
        (
            with(&|record| record.pages[1].index = 8),
            "outside of its memory of 8 pages",
        ),
        (
            with(&|record| record.pages[1].index = u32::MAX),
            "outside of its memory",
        ),
        (
            with(&|record| record.pages[0].bytes.truncate(9)),
            "page 1 has 9 bytes",
        ),
        (
            with(&|record| record.life = running(17 * PAGE_BYTES as u64)),
            "over the limit of 65536",
        ),
        (
            with(&|record| record.life = running(5000)),
            "not a multiple of the page size",
        ),
        (
            with(&|record| record.life = SavedInstance::Failed),
            "outside of its memory of 0 pages",
        ),
        (
            with(&|record| {
                record.pages = (0..=u32::try_from(PAGES_PER_RECORD).unwrap())
                    .map(page)
                    .collect()
            }),
            "over the limit of 256",
        ),
    ];
    for (record, expected) in cases {
        let reason = reason(None, &record);
        assert!(reason.contains(expected), "{reason}");
    }
    let first = with(&|record| record.is_last = false);
    let later: [(StateRecord, &str); 4] = [
        (record(), "page 1 is out of order"),
        (
            with(&|record| record.pages = vec![page(3)]),
            "page 3 is out of order",
        ),
        (
            with(&|record| record.next_request = RequestId(2)),
            "two of its records disagree",
        ),
        (
            with(&|record| record.life = running(4 * PAGE_BYTES as u64)),
            "two of its records disagree",
        ),
    ];
    for (record, expected) in later {
        let reason = reason(Some(&first), &record);
        assert!(reason.contains(expected), "{reason}");
    }
    assert!(reason(Some(&record()), &record()).contains("it is already complete"));
}

#[test]
fn what_nobody_asked_for_and_what_is_no_record_is_refused() {
    let mut world = World::new(1, false);
    world.begin(5);
    let mut refused = |tick, agent, payload: &[u8]| match world.collector.state(
        Tick(tick),
        AgentId(agent),
        payload,
    ) {
        Err(CheckpointError::State { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let good = codec::encode(&record());
    assert!(refused(4, 0, &good).contains("it was not requested"));
    let other = codec::encode(&StateRecord {
        agent: AgentId(7),
        ..record()
    });
    assert!(refused(5, 7, &other).contains("there are 1 agents"));
    for cut in 0..good.len() {
        refused(5, 0, &good[..cut]);
    }
    refused(5, 0, &[&good[..], &[0]].concat());
    // A length that no memory has does not make anybody allocate it.
    refused(
        5,
        0,
        &[
            0, 1, 0, 252, 0, 0, 0, 255, 253, 255, 255, 255, 255, 255, 255, 255, 255,
        ],
    );
}
