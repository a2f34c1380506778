//! The promise of checkpoints: what is published is there whole or not at all,
//! what is restored is the state that was saved, bit for bit, and what is
//! damaged is found and named.

mod damage;
mod failures;
mod growth;
mod hostile;
mod world;

use super::{
    Build, CheckpointError, CheckpointOutcome, CheckpointReader, CheckpointWriter, Checkpointer,
};
use crate::sys::disk::Disk;
use crate::sys::memory_disk::DiskFault;
use shm_protocol::id::{AgentId, Tick};
use std::path::Path;
use world::{World, folder, names, outbox};

#[test]
fn what_is_restored_is_what_was_saved() {
    for is_synced in [false, true] {
        let mut world = World::new(3, is_synced);
        for tick in 1..=40 {
            world.work(tick);
            world.checkpoint(tick).unwrap();
            world.check(Tick(tick));
        }
        assert_eq!(
            world.shelf().newest_first().unwrap(),
            [40, 39, 38].map(Tick)
        );
    }
}

#[test]
fn only_what_has_changed_is_written() {
    let mut world = World::new(2, false);
    world.set_page(0, 1, 7);
    world.set_page(1, 0, 8);
    world.checkpoint(1).unwrap();
    let first = world.pack_pages();
    world.set_page(0, 2, 9);
    world.checkpoint(2).unwrap();
    assert_eq!((first, world.pack_pages()), (2, 3));
    world.checkpoint(3).unwrap();
    assert_eq!(world.pack_pages(), 3);
    world.check(Tick(3));
}

#[test]
fn equal_pages_are_kept_once_and_zero_ones_never() {
    let mut world = World::new(50, false);
    for agent in 0..50 {
        world.set_page(agent, 0, 7);
        world.set_page(agent, 1, 0);
        world.set_page(agent, 3, 7);
    }
    world.checkpoint(1).unwrap();
    assert_eq!(world.pack_pages(), 1);
    world.check(Tick(1));
}

#[test]
fn a_checkpoint_that_came_to_nothing_is_no_gap_in_what_is_told() {
    let mut world = World::new(2, false);
    world.work(1);
    world.checkpoint(1).unwrap();
    world.work(2);
    // Agent 1 never answers, and the next one begins.
    world.begin(2);
    world.answer(2, 0).unwrap();
    world.work(3);
    world.begin(3);
    world.restore(1, Tick(1));
    world.work_of(1, 3);
    world.begin(4);
    world.answer(4, 0).unwrap();
    world.answer(4, 1).unwrap();
    world.finish(4).unwrap();
    world.check(Tick(4));
    assert!(!world.collector.needs_full());
}

#[test]
fn parts_that_come_late_belong_to_what_they_were_asked_for() {
    let mut world = World::new(2, false);
    (1..=3).for_each(|tick| world.work(tick));
    world.checkpoint(3).unwrap();
    // A full state is requested and abandoned: pages that were zeroed meanwhile are missing in it.
    world.set_page(0, 0, 0);
    world.set_page(0, 1, 5);
    world.must_be_full = true;
    world.begin(4);
    world.collector.abandon();
    world.begin(5);
    world.answer(4, 0).unwrap();
    world.answer(4, 1).unwrap();
    world.must_be_full = false;
    world.begin(6);
    world.answer(6, 0).unwrap();
    world.answer(6, 1).unwrap();
    world.finish(6).unwrap();
    world.check(Tick(6));
}

#[test]
fn who_has_missed_something_needs_everything() {
    let mut world = World::new(2, false);
    world.work(1);
    world.checkpoint(1).unwrap();
    world.agents[0].memory = Some(vec![vec![9; 4096]; 6]);
    world.begin(2);
    // The last record of agent 0 is lost.
    let mut records = world.records(2, 0);
    records.pop().unwrap();
    assert!(!records.is_empty());
    for record in records {
        world.collector.state(Tick(2), AgentId(0), &record).unwrap();
    }
    world.work(3);
    assert!(
        world.checkpoint(3).unwrap().is_none(),
        "a state with a gap was published"
    );
    assert!(world.collector.needs_full());
    assert!(world.checkpoint(4).unwrap().is_some());
    world.check(Tick(4));
    assert!(!world.collector.needs_full());
}

/// The thread that writes may be behind: what was asked for before anybody knew of a failure is a difference to what was lost.
#[test]
fn a_difference_to_what_could_not_be_written_is_of_no_use() {
    let mut world = World::new(2, true);
    world.work(1);
    world.checkpoint(1).unwrap();
    world.set_page(0, 0, 9);
    world.disk.fail_call(world.disk.calls(), DiskFault::NoSpace);
    assert!(world.checkpoint(2).is_err());
    assert!(world.collector.needs_full());
    world.set_page(1, 0, 8);
    let machine = world.machine(3);
    world
        .collector
        .begin(Tick(3), machine, world.asked.clone(), false)
        .unwrap();
    world.note(3, false);
    assert!(
        world
            .answer(3, 0)
            .unwrap()
            .or(world.answer(3, 1).unwrap())
            .is_none()
    );
    assert!(
        world.finish(3).unwrap().is_none(),
        "pages that are not there were published"
    );
    assert!(world.checkpoint(4).unwrap().is_some());
    world.check(Tick(4));
}

#[test]
fn one_is_published_only_when_everything_is_there() {
    let mut world = World::new(2, true);
    world.work(1);
    world.begin(1);
    assert!(world.answer(1, 0).unwrap().is_none());
    assert!(world.collector.durable(Tick(1)).unwrap().is_none());
    assert!(world.answer(1, 1).unwrap().is_none());
    assert_eq!(world.shelf().newest_first().unwrap(), []);
    assert!(
        world
            .collector
            .committed(world.mark(1), outbox(1))
            .unwrap()
            .is_some()
    );
    world.check(Tick(1));
    world.work(2);
    world.begin(2);
    world.answer(2, 0).unwrap();
    world.answer(2, 1).unwrap();
    assert!(
        world
            .collector
            .committed(world.mark(2), outbox(2))
            .unwrap()
            .is_none()
    );
    assert!(world.collector.durable(Tick(1)).unwrap().is_none());
    assert!(world.collector.durable(Tick(2)).unwrap().is_some());
}

#[test]
fn an_agent_that_was_not_asked_is_not_in_it() {
    let mut world = World::new(3, false);
    world.work(1);
    world.asked = vec![AgentId(0), AgentId(2)];
    let published = world.checkpoint(1).unwrap().unwrap();
    let held: Vec<bool> = published.agents.iter().map(Option::is_some).collect();
    assert_eq!(held, [true, false, true]);
}

#[test]
fn a_checkpoint_of_another_run_or_build_is_refused() {
    let mut world = World::new(1, false);
    world.work(1);
    world.checkpoint(1).unwrap();
    let refused = |shelf: &CheckpointReader, tick| shelf.load(Tick(tick)).unwrap_err();
    let shelf = world.shelf();
    assert!(matches!(
        refused(&shelf, 2),
        CheckpointError::Missing { .. }
    ));
    let other = CheckpointReader::new(&world.run, crate::record::RunId([9; 16]), world::build());
    let error = refused(&other, 1);
    assert!(matches!(error, CheckpointError::OtherRun { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&"09".repeat(16)) && text.contains(&world::RUN.to_string()),
        "{text}"
    );
    let build = Build {
        wasmtime: "49".to_owned(),
        ..world::build()
    };
    let text = refused(&CheckpointReader::new(&world.run, world::RUN, build), 1).to_string();
    assert!(
        text.contains("wasmtime 48") && text.contains("wasmtime 49"),
        "{text}"
    );
    // Those of another run are ignored.
    let store = CheckpointWriter::open(other, 3, false).unwrap();
    drop(store);
    world.reopen();
    world.begin_anew();
    world.work(2);
    world.checkpoint(2).unwrap();
    world.check(Tick(2));
}

#[test]
fn what_a_start_that_failed_left_behind_is_swept() {
    let mut world = World::new(1, false);
    world.work(1);
    world.checkpoint(1).unwrap();
    world.disk.write(
        &folder().join("000000000009.checkpoint.unfinished"),
        b"half",
    );
    world
        .disk
        .write(&folder().join("00000099.pages"), &[1; 4096]);
    world.reopen();
    world.begin_anew();
    world.work(2);
    world.checkpoint(2).unwrap();
    world.check(Tick(2));
    let names = names(&world.disk);
    assert!(
        !names
            .iter()
            .any(|name| name.contains("unfinished") || name.contains("99")),
        "{names:?}"
    );
}

#[test]
fn checkpoints_after_the_end_of_the_journal_are_forgotten() {
    let mut world = World::new(1, false);
    for tick in 1..=3 {
        world.work(tick);
        world.checkpoint(tick).unwrap();
    }
    let store = CheckpointWriter::open(world.shelf(), 3, false).unwrap();
    store.forget_after(Tick(1)).unwrap();
    assert_eq!(world.shelf().newest_first().unwrap(), [Tick(1)]);
    world.check(Tick(1));
}

#[test]
fn a_thread_does_what_is_done_inline() {
    let mut world = World::new(3, true);
    let mut inline = World::new(3, true);
    let mut checkpointer = Checkpointer::start(world.take_collector()).unwrap();
    for tick in 1..=10 {
        world.work(tick);
        inline.work(tick);
        inline.checkpoint(tick).unwrap();
        let is_full = checkpointer.begin(Tick(tick), world.machine(tick), world.asked.clone());
        assert!(!is_full);
        for agent in 0..3 {
            for record in world.records(tick, agent) {
                checkpointer.state(Tick(tick), AgentId(agent), record);
            }
        }
        checkpointer.committed(world.mark(tick), outbox(tick));
        checkpointer.durable(Tick(tick), None);
        while checkpointer.is_pending() {
            std::thread::yield_now();
        }
    }
    let published: Vec<Tick> = checkpointer
        .take_outcomes()
        .into_iter()
        .map(|news| match news {
            CheckpointOutcome::Published(checkpoint) => checkpoint.mark.tick,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(published, (1..=10).map(Tick).collect::<Vec<_>>());
    drop(checkpointer);
    let read = |disk: &dyn Disk, name: &str| {
        let file = disk.open_read(&folder().join(name)).unwrap();
        let mut bytes = vec![0; usize::try_from(file.bytes().unwrap()).unwrap()];
        file.read_at(&mut bytes, 0).unwrap();
        bytes
    };
    assert_eq!(names(&world.disk), names(&inline.disk));
    for name in names(&world.disk) {
        assert!(
            read(&world.disk, &name) == read(&inline.disk, &name),
            "{name} differs"
        );
    }
    assert!(world.disk.list(Path::new("/run")).is_ok());
}

#[test]
fn an_inline_checkpointer_reports_its_result() {
    let mut world = World::new(1, false);
    let mut checkpointer = Checkpointer::inline(world.take_collector());
    checkpointer.begin(Tick(1), Vec::new(), vec![AgentId(0)]);
    assert!(checkpointer.is_pending());
    checkpointer.state(Tick(1), AgentId(0), b"nonsense".to_vec());
    assert!(!checkpointer.is_pending());
    let news = checkpointer.take_outcomes();
    assert!(
        matches!(
            &news[..],
            [CheckpointOutcome::Failed(CheckpointError::State {
                agent: AgentId(0),
                tick: Tick(1),
                ..
            })]
        ),
        "{news:?}"
    );
    assert!(
        checkpointer.begin(Tick(2), Vec::new(), vec![AgentId(0)]),
        "the next one is not full"
    );
}
