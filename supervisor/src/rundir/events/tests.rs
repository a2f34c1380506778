use super::*;
use crate::journal::{create_run_dir_on, discard_run_dir};
use crate::sys::disk::Disk;
use crate::sys::memory_disk::{DiskFault, MemoryDisk};
use std::path::Path;

fn run() -> (MemoryDisk, RunDir) {
    let disk = MemoryDisk::new();
    let run = create_run_dir_on(Arc::new(disk.clone()), Path::new("/run")).unwrap();
    (disk, run)
}

fn every() -> Vec<RunEvent> {
    let (host, incarnation, tick) = (HostId(1), Incarnation(2), Tick(17));
    let text = |text: &str| text.to_owned();
    vec![
        RunEvent::FaultFired {
            rule: 1,
            kind: text("kill"),
            point: text("after-write-before-commit"),
            tick,
            target: text("agent `b`"),
        },
        RunEvent::HostLost {
            host,
            role: text("agents"),
            incarnation,
            tick,
            cause: text("killed by signal 9"),
        },
        RunEvent::HostRestarted {
            host,
            role: text("agents"),
            incarnation,
            tick,
            checkpoint: Some(16),
            reexecuted: 1,
            ms: 3.5,
            cause: text("killed by signal 9"),
        },
        RunEvent::CheckpointFailed {
            tick,
            reason: text("disk full\nand more"),
        },
        RunEvent::OutboxRepaired {
            tick,
            found_bytes: 900,
            kept_bytes: 300,
            written_bytes: 1_200,
        },
        RunEvent::Resumed {
            tick,
            checkpoint: None,
            cut_bytes: 12,
            reexecuted: 17,
            ms: 80.25,
        },
        RunEvent::Verdict {
            tick,
            text: text("agent b is quarantined"),
        },
    ]
}

#[test]
fn what_was_written_is_read_and_each_is_one_line() {
    let (disk, run) = run();
    assert_eq!(EventLog::read(&run).unwrap(), Vec::new());
    let mut log = EventLog::open(&run).unwrap();
    every().iter().for_each(|event| log.append(event).unwrap());
    assert_eq!(EventLog::read(&run).unwrap(), every());
    let text = String::from_utf8(disk.read(&run.events()).unwrap()).unwrap();
    assert_eq!(text.lines().count(), every().len());
    let resumed = r#"{"event":"resumed","tick":17,"checkpoint":null,"cut_bytes":12,"reexecuted":17,"ms":80.25}"#;
    assert!(text.lines().any(|line| line == resumed), "{text}");
}

#[test]
fn a_log_cut_anywhere_keeps_earlier_lines_and_takes_new_ones() {
    let (disk, run) = run();
    let mut log = EventLog::open(&run).unwrap();
    every().iter().for_each(|event| log.append(event).unwrap());
    let whole = disk.read(&run.events()).unwrap();
    for cut in 0..=whole.len() {
        disk.write(&run.events(), &whole[..cut]);
        let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(
            EventLog::read(&run).unwrap(),
            every()[..lines],
            "cut at {cut}"
        );
        let mut log = EventLog::open(&run).unwrap();
        log.append(&every()[0]).unwrap();
        let read = EventLog::read(&run).unwrap();
        assert_eq!(read[..lines], every()[..lines]);
        assert_eq!(read.last(), Some(&every()[0]), "cut at {cut}");
        let is_torn = !whole[..cut].ends_with(b"\n") && cut > 0;
        // A line that lacks only its end is whole again.
        let torn = read[lines..read.len() - 1]
            .iter()
            .all(|event| matches!(event, RunEvent::Unreadable { .. }) || event == &every()[lines]);
        assert!(
            torn && read.len() == lines + 1 + usize::from(is_torn),
            "cut at {cut}: {read:?}"
        );
    }
}

#[test]
fn an_event_that_could_not_be_written_does_not_spoil_the_next() {
    for fault in DiskFault::ALL {
        let (disk, run) = run();
        let mut log = EventLog::open(&run).unwrap();
        disk.fail_call(disk.calls(), fault);
        assert!(log.append(&every()[0]).is_err(), "{fault:?}");
        log.append(&every()[1]).unwrap();
        let read = EventLog::read(&run).unwrap();
        assert_eq!(read.last(), Some(&every()[1]), "{fault:?}");
    }
}

#[test]
fn a_failed_start_takes_its_log_away() {
    let (disk, run) = run();
    EventLog::open(&run).unwrap().append(&every()[0]).unwrap();
    disk.create_dir(&run.checkpoints()).unwrap();
    disk.create_new(&run.checkpoints().join("left")).unwrap();
    discard_run_dir(run).unwrap();
    assert_eq!(disk.list(Path::new("/")).unwrap(), Vec::<String>::new());
}
