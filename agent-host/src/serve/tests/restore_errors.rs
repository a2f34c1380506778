//! The promise: records that are not the state of an agent are refused with a reason, and never restored.

use super::image::Images;
use super::supervisor::{Given, Host, bare, numbered};
use shm_protocol::agent_state::{
    PAGE_BYTES, Page, RESTORE, SNAPSHOT, SavedInstance, Snapshot, StateRecord,
};
use shm_protocol::id::AgentId;

/// The error of a host for records that are not the state of a `counter` agent. `spoil` changes valid ones.
fn refused(spoil: impl FnOnce(&mut Vec<StateRecord>)) -> String {
    let given = Given::new("counter");
    let mut host = Host::start(std::slice::from_ref(&given));
    host.tick(1, &[0]);
    let mut records = Images::of(host.snapshot(1, true)).records(2);
    host.drain();
    assert!(records.len() > 2);
    spoil(&mut records);
    let mut host = Host::start(&[given.restored()]);
    for record in &records {
        host.push(RESTORE, 1, record);
    }
    host.ask(2, vec![numbered((0, Vec::new()))]);
    host.end().expect_err("the records are wrong").to_string()
}

fn size(record: &mut StateRecord) -> &mut u64 {
    match &mut record.life {
        SavedInstance::Running { memory_bytes, .. } => memory_bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn records_that_do_not_fit_are_refused() {
    let prefix = "agent 0 cannot be restored: ";
    let expect = |text: &str, spoil: &dyn Fn(&mut Vec<StateRecord>)| {
        let said = refused(spoil);
        assert!(said.starts_with(prefix) && said.contains(text), "{said}");
    };
    expect(
        "a step of tick 2 comes before the last record",
        &|records| {
            records.pop();
        },
    );
    expect("a step of tick 2 comes before the last record", &Vec::clear);
    expect("it expects no state", &|records| {
        let last = records.last().expect("some").clone();
        records.push(last);
    });
    expect("its records belong to different states", &|records| {
        records[1].next_request.0 += 1
    });
    expect("its records belong to different states", &|records| {
        records[1].life = SavedInstance::Halted
    });
    expect(
        "memory of 17825792 bytes is not possible; the limit is 16777216",
        &|records| {
            *size(&mut records[0]) = 17 << 20;
        },
    );
    expect("memory of 131073 bytes", &|records| {
        *size(&mut records[0]) = 131_073
    });
    expect(
        "a memory of 65536 bytes, where its component has",
        &|records| {
            *size(&mut records[0]) = 65_536;
        },
    );
    expect("has 2 globals, and its component has 1", &|records| {
        if let SavedInstance::Running { globals, .. } = &mut records[0].life {
            globals.push(1);
        }
    });
    expect("page 4096 is outside of its memory of", &|records| {
        records[0].pages[1].index = 4096;
    });
    expect("page 4294967295 is outside of its memory of", &|records| {
        records[0].pages[1].index = u32::MAX;
    });
    expect("is out of order", &|records| records[0].pages.swap(0, 1));
    expect("is out of order", &|records| {
        let page = records[0].pages[1].clone();
        records[1].pages.insert(0, page);
    });
    expect("has 4095 bytes, where a page has 4096", &|records| {
        records[0].pages[0].bytes.pop();
    });
    expect("page 0 is outside of its memory of 0 bytes", &|records| {
        records.truncate(1);
        records[0].life = SavedInstance::Failed;
        let bytes = vec![1; PAGE_BYTES];
        records[0].pages = vec![Page { index: 0, bytes }];
    });
}

#[test]
fn a_state_for_another_agent_is_refused() {
    let said = refused(|records| records[0].agent = AgentId(7));
    assert_eq!(
        said,
        "a record of tick 1 is for agent 7, which this host has not loaded"
    );
    let mut host = Host::start(&[Given::new("counter")]);
    let records = Images::of(host.snapshot(0, true)).records(50);
    host.push(RESTORE, 0, &records[0]);
    let said = host
        .end()
        .expect_err("it was not loaded for that")
        .to_string();
    assert_eq!(said, "agent 0 cannot be restored: it expects no state");
}

#[test]
fn a_snapshot_before_the_state_is_restored_is_refused() {
    let mut host = Host::start(&[Given::new("counter").restored()]);
    host.push(SNAPSHOT, 3, &Snapshot { full: true });
    let said = host.end().expect_err("too early").to_string();
    assert!(
        said.contains("a snapshot comes before the last record of its state"),
        "{said}"
    );
}

#[test]
fn an_agent_that_cannot_be_captured_cannot_be_restored() {
    let load = std::panic::catch_unwind(|| bare(&[Given::new("vector").restored()]));
    let panicked = load.err().expect("it is refused");
    let said = panicked.downcast_ref::<String>().expect("a text");
    assert!(said.contains("Opaque"), "{said}");
}
