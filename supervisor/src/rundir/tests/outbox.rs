//! The promise of a resumed outbox: the bytes before the mark are those that the run wrote there, or no line is written
//! behind them.

use super::{memory, names};
use crate::journal::testing::{Small, record};
use crate::journal::{create_run_dir, verify};
use crate::record::RunId;
use crate::rundir::{Outbox, OutboxMark, RunDir, RunDirError};
use crate::sys::disk::Disk;
use crate::sys::memory_disk::{DiskFault, MemoryDisk};
use shm_protocol::id::Tick;
use std::path::Path;

const TICKS: u64 = 5;
/// The tick after which the outbox is marked.
const MARKED: u64 = 3;

/// An outbox that has the lines of all ticks, in a run that is locked.
struct Written {
    disk: MemoryDisk,
    run: RunDir,
    run_id: RunId,
    whole: Vec<u8>,
    mark: OutboxMark,
}

impl Written {
    fn new() -> Written {
        let (disk, run) = Small {
            ticks: TICKS,
            ..Small::default()
        }
        .write();
        let run_id = verify(&run).unwrap().run_id;
        Written {
            whole: disk.read(&run.outbox()).unwrap(),
            run: run.locked().unwrap(),
            mark: mark_after(run_id, MARKED),
            disk,
            run_id,
        }
    }

    fn marked_bytes(&self) -> usize {
        usize::try_from(self.mark.bytes).unwrap()
    }

    fn open_at_mark(&self) -> Result<Option<Outbox>, RunDirError> {
        Outbox::open_at(&self.run, self.run_id, names(), &self.mark)
    }

    fn open(&self) -> Result<Outbox, RunDirError> {
        Outbox::open(&self.run, self.run_id, names())
    }

    /// Pushes the ticks after `from`, and gives the mark of the file then.
    fn push_after(&self, from: u64, outbox: &mut Outbox) -> Vec<u8> {
        (from + 1..=TICKS).for_each(|tick| outbox.push(Tick(tick), &record(tick).outcomes));
        outbox.release(Tick(TICKS)).unwrap();
        outbox.sync().unwrap();
        self.disk.read(&self.run.outbox()).unwrap()
    }
}

/// The mark of an outbox after a tick.
pub(super) fn mark_after(run_id: RunId, tick: u64) -> OutboxMark {
    let (_, run) = memory();
    let mut outbox = Outbox::open(&run, run_id, names()).unwrap();
    (1..=tick).for_each(|tick| outbox.push(Tick(tick), &record(tick).outcomes));
    outbox.mark()
}

#[test]
fn a_mark_is_what_the_file_is_once_nothing_waits() {
    let written = Written::new();
    let marked = &written.whole[..written.marked_bytes()];
    assert_eq!(written.mark.digest, *blake3::hash(marked).as_bytes());
    // The same after a resume from a mark.
    let mut outbox = written.open_at_mark().unwrap().unwrap();
    written.push_after(MARKED, &mut outbox);
    assert_eq!(outbox.mark(), mark_after(written.run_id, TICKS));
}

/// Every way in which the marked part of a file can be something else, with a name for each.
fn damaged(whole: &[u8], marked: usize) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for at in 0..marked {
        all.push((format!("cut at {at}"), whole[..at].to_vec()));
        let mut flipped = whole.to_vec();
        flipped[at] ^= 1;
        all.push((format!("a bit flipped at {at}"), flipped));
        let mut holed = whole.to_vec();
        holed.drain(at..(at + 1 + at % 97).min(marked));
        all.push((format!("a hole at {at}"), holed));
        let mut zeroed = whole.to_vec();
        zeroed[at..marked].fill(0);
        all.push((format!("zeros from {at} on"), zeroed));
    }
    let with_returns = String::from_utf8(whole.to_vec()).unwrap();
    let with_returns = with_returns.replace('\n', "\r\n");
    all.push(("other line ends".to_owned(), with_returns.into_bytes()));
    let half = whole
        .iter()
        .take(marked / 2)
        .rposition(|byte| *byte == b'\n');
    let second_half = whole[half.unwrap() + 1..].to_vec();
    all.push(("the first half is gone".to_owned(), second_half));
    all
}

#[test]
fn an_outbox_that_differs_before_the_mark_is_written_anew() {
    let written = Written::new();
    let (whole, marked) = (&written.whole, written.marked_bytes());
    for (what, damaged) in damaged(whole, marked) {
        written.disk.write(&written.run.outbox(), &damaged);
        assert!(written.open_at_mark().unwrap().is_none(), "{what}");
        assert_eq!(
            written.disk.read(&written.run.outbox()).unwrap(),
            damaged,
            "{what}: refused and changed"
        );
        let mut outbox = written.open().unwrap();
        assert_eq!(written.push_after(0, &mut outbox), *whole, "{what}");
        let pairs = damaged.iter().zip(whole.iter());
        let common = pairs.take_while(|(left, right)| left == right).count();
        assert_eq!(outbox.kept_bytes(), common as u64, "{what}");
    }
}

#[test]
fn a_file_that_is_gone_or_was_replaced_is_written_whole() {
    let written = Written::new();
    let path = written.run.outbox();
    for replaced in [false, true] {
        let moved = path.with_extension("1");
        written.disk.rename(&path, &moved).unwrap();
        if replaced {
            written.disk.write(&path, b"");
        }
        assert!(written.open_at_mark().unwrap().is_none());
        let mut outbox = written.open().unwrap();
        assert_eq!(written.push_after(0, &mut outbox), written.whole);
        assert_eq!(written.disk.read(&moved).unwrap(), written.whole);
    }
}

#[test]
fn what_stands_behind_the_last_line_of_a_finished_run_is_cut() {
    let written = Written::new();
    for excess in [
        &b"{\"hello\":1}\n"[..],
        b"{\"key\":",
        &written.whole[written.marked_bytes()..],
    ] {
        let longer = [&written.whole[..], excess].concat();
        written.disk.write(&written.run.outbox(), &longer);
        let mut outbox = written.open_at_mark().unwrap().unwrap();
        assert_eq!(written.push_after(MARKED, &mut outbox), written.whole);
    }
}

#[test]
fn outbox_damage_behind_a_mark_is_repaired_at_resume() {
    let written = Written::new();
    let marked = written.marked_bytes();
    for at in marked..written.whole.len() {
        let mut damaged = written.whole.clone();
        damaged[at] ^= 1;
        written.disk.write(&written.run.outbox(), &damaged);
        let mut outbox = written
            .open_at_mark()
            .unwrap()
            .expect("the marked part is whole");
        assert_eq!(written.push_after(MARKED, &mut outbox), written.whole);
        assert_eq!(outbox.kept_bytes(), at as u64);
    }
}

#[test]
fn outbox_lines_of_another_run_are_refused_and_left_alone() {
    let written = Written::new();
    let others = Written::others();
    let (marked, lines) = (written.marked_bytes(), count_lines(&written.whole));
    let mixed = [written.whole.as_slice(), b"half a line\n", &others].concat();
    for (file, offset, line) in [
        (others.clone(), 0, 1),
        (mixed, written.whole.len() + 12, lines + 2),
        (
            [&written.whole[..marked], &others].concat(),
            marked,
            count_lines(&written.whole[..marked]) + 1,
        ),
    ] {
        written.disk.write(&written.run.outbox(), &file);
        let at_mark = written.open_at_mark().and_then(|opened| match opened {
            Some(outbox) => Ok(outbox),
            None => written.open(),
        });
        for refused in [at_mark, written.open()] {
            let error = refused.unwrap_err();
            let found = match &error {
                RunDirError::Outbox { offset, line, .. } => (*offset, *line),
                _ => panic!("{error}"),
            };
            assert_eq!(found, (offset as u64, line as u64), "{error}");
            assert!(error.to_string().contains(&"01".repeat(16)), "{error}");
        }
        assert_eq!(written.disk.read(&written.run.outbox()).unwrap(), file);
    }
}

impl Written {
    /// Lines of another run, more of them than are read at a time.
    fn others() -> Vec<u8> {
        let (disk, run) = memory();
        let mut outbox = Outbox::open(&run, RunId([1; 16]), names()).unwrap();
        (1..=1_000).for_each(|tick| outbox.push(Tick(tick), &record(tick).outcomes));
        outbox.release(Tick(1_000)).unwrap();
        disk.read(&run.outbox()).unwrap()
    }
}

fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// A change of the outbox file during a run.
#[derive(Clone, Copy, Debug)]
enum Meddling {
    Truncated,
    Cut,
    AppendedTo,
    Renamed,
    Replaced,
}

impl Meddling {
    const ALL: [Meddling; 5] = [
        Meddling::Truncated,
        Meddling::Cut,
        Meddling::AppendedTo,
        Meddling::Renamed,
        Meddling::Replaced,
    ];

    fn happen(self, disk: &dyn Disk, path: &Path) {
        let file = disk.open_append(path).unwrap();
        let bytes = file.bytes().unwrap();
        match self {
            Meddling::Truncated => file.truncate(0).unwrap(),
            Meddling::Cut => file.truncate(bytes - 1).unwrap(),
            Meddling::AppendedTo => drop(file.append(b"\n").unwrap()),
            Meddling::Renamed => disk.rename(path, &path.with_extension("1")).unwrap(),
            Meddling::Replaced => {
                disk.rename(path, &path.with_extension("1")).unwrap();
                drop(disk.create_new(path).unwrap());
            }
        }
    }

    /// The error of the run.
    fn said(self, run: &RunDir) -> RunDirError {
        let mut outbox = Outbox::open(run, RunId([1; 16]), names()).unwrap();
        outbox.push(Tick(1), &record(1).outcomes);
        outbox.release(Tick(1)).unwrap();
        self.happen(&**run.disk(), &run.outbox());
        outbox.push(Tick(3), &record(3).outcomes);
        let released = outbox.release(Tick(3));
        let ended = match self {
            // The writer has the file open and continues to write to it under its other name, until the run is sealed.
            Meddling::Renamed | Meddling::Replaced => released.and_then(|()| outbox.sync()),
            _ => released,
        };
        assert!(
            matches!(outbox.sync(), Err(RunDirError::OutboxPoisoned { .. })),
            "{self:?}: it can be sealed"
        );
        ended.expect_err("it was altered")
    }
}

#[test]
fn a_run_whose_outbox_is_cut_or_replaced_stops() {
    for meddling in Meddling::ALL {
        let folder = tempfile::tempdir().unwrap();
        let real = create_run_dir(&folder.path().join("run")).unwrap();
        for run in [memory().1, real] {
            let text = meddling.said(&run).to_string();
            assert!(
                text.contains("outbox.jsonl") && text.contains("`lockstep resume`"),
                "{meddling:?}: {text}"
            );
        }
    }
}

/// After a sync that failed, the file only looks as if it had what was written.
#[test]
fn what_could_not_be_brought_to_the_disk_is_not_what_was_marked() {
    let written = Written::new();
    let mut outbox = written.open_at_mark().unwrap().unwrap();
    written
        .disk
        .fail_call(written.disk.calls(), DiskFault::Before);
    assert!(outbox.sync_existing().is_err());
    drop(outbox);
    assert!(written.open_at_mark().unwrap().is_none());
    let mut outbox = written.open().unwrap();
    assert_eq!(written.push_after(0, &mut outbox), written.whole);
}
