//! The promise of a resume: wherever the writer stopped, the finished journal is that of a writer that never did, byte
//! for byte; and a damaged journal is never resumed.

use super::super::frame::HEADER_BYTES;
use super::super::testing::{Small, header, record};
use super::super::{JournalError, JournalMark, JournalReader, JournalWriter, MarkFault, verify};
use super::{boundaries, read_all, segment};
use crate::fleet::Durability;
use crate::journal::create_run_dir_on;
use crate::record::{SealReason, hex};
use crate::rundir::RunDir;
use crate::sys::disk::Disk;
use crate::sys::memory_disk::MemoryDisk;
use shm_protocol::id::Tick;
use std::path::Path;
use std::sync::Arc;

const LEVELS: [Durability; 3] = [Durability::Process, Durability::Batch, Durability::Sync];
/// Small enough that a run of a few ticks has segments of one, of several and of nothing but the seal.
const SEGMENT_SIZES: [u64; 3] = [600, 1500, 1 << 20];

/// The files of a journal.
pub(super) fn files(disk: &MemoryDisk) -> Vec<Vec<u8>> {
    let folder = Path::new("/run/journal");
    let names = disk.list(folder).unwrap();
    names
        .into_iter()
        .map(|name| disk.read(&folder.join(name)).unwrap())
        .collect()
}

/// Puts files in place of those of a journal, of which nothing is known to be on the disk.
pub(super) fn put_files(disk: &MemoryDisk, files: &[Vec<u8>]) {
    let _ = disk.remove_file(Path::new("/run/synced"));
    for name in disk.list(Path::new("/run/journal")).unwrap() {
        disk.remove_file(&Path::new("/run/journal").join(name))
            .unwrap();
    }
    for (number, bytes) in (1..).zip(files) {
        disk.write(&segment(number), bytes);
    }
}

pub(super) fn open(disk: &MemoryDisk) -> RunDir {
    RunDir::read_on(Arc::new(disk.clone()), Path::new("/run"))
        .unwrap()
        .locked()
        .unwrap()
}

/// Goes on with a run up to its last tick and seals it.
pub(super) fn finish(run: &RunDir, small: Small) -> Result<super::super::Truncation, JournalError> {
    let (_, mut read) = JournalReader::open(run)?;
    while read.next_tick()?.is_some() {}
    let (mut writer, cut) =
        JournalWriter::resume_with(run, read, small.durability, small.segment_bytes)?;
    assert_eq!(
        writer.durable(),
        writer.committed(),
        "what was read is durable"
    );
    for tick in writer.committed().0 + 1..=small.ticks {
        writer.append(Tick(tick), &record(tick))?;
    }
    writer.wait_durable()?;
    writer.seal(SealReason::Finished)?;
    Ok(cut)
}

#[test]
fn a_run_cut_anywhere_and_resumed_has_the_files_of_a_whole_one() {
    for (durability, segment_bytes) in LEVELS
        .into_iter()
        .flat_map(|level| SEGMENT_SIZES.map(|bytes| (level, bytes)))
    {
        let small = Small {
            durability,
            segment_bytes,
            ..Small::default()
        };
        let (disk, run) = small.write();
        let whole = files(&disk);
        drop(run);
        let run = open(&disk);
        let header_end = boundaries(&whole[0])[1];
        for (position, file) in whole.iter().enumerate() {
            // The file of length zero is that of a writer that died right after it had made it.
            for cut in 0..=file.len() {
                let mut left = whole[..=position].to_vec();
                left[position].truncate(cut);
                put_files(&disk, &left);
                let place =
                    format!("{durability:?}, {segment_bytes}, file {position} cut at {cut}");
                if position == 0 && cut < header_end {
                    assert!(
                        matches!(finish(&run, small), Err(JournalError::NotBegun { .. })),
                        "{place}"
                    );
                    continue;
                }
                let said = finish(&run, small).unwrap_or_else(|error| panic!("{place}: {error}"));
                assert!(files(&disk) == whole, "{place}: other bytes");
                let at = boundaries_before(file, cut);
                if !(position + 1 == whole.len() && cut == file.len()) {
                    assert_eq!(
                        (said.bytes, said.seal),
                        ((cut - at) as u64, None),
                        "{place}"
                    );
                }
            }
        }
    }
}

/// The end of the last whole record that is not longer than `cut`.
fn boundaries_before(file: &[u8], cut: usize) -> usize {
    boundaries(file)
        .into_iter()
        .filter(|at| *at <= cut)
        .max()
        .unwrap()
}

#[test]
fn a_seal_is_cut_and_the_run_may_get_longer() {
    for segment_bytes in SEGMENT_SIZES {
        for ticks in 0..12 {
            let short = Small {
                ticks,
                segment_bytes,
                ..Small::default()
            };
            let long = Small { ticks: 12, ..short };
            let (disk, _) = short.write();
            let (expected, _) = long.write();
            let cut = finish(&open(&disk), long).unwrap();
            assert_eq!(cut.seal, Some(SealReason::Finished));
            assert!(
                cut.bytes > HEADER_BYTES as u64 && cut.to_string().contains("seal"),
                "{cut}"
            );
            assert!(
                files(&disk) == files(&expected),
                "{segment_bytes}, {ticks} ticks"
            );
        }
    }
}

#[test]
fn a_damaged_end_is_cut_and_said() {
    let small = Small {
        seal: false,
        ..Small::default()
    };
    let (disk, _) = small.write();
    let (expected, _) = Small::default().write();
    let whole = files(&disk);
    let last = boundaries(&whole[0])[4];
    let mut damaged = whole.clone();
    damaged[0][last + HEADER_BYTES + 3] ^= 1;
    put_files(&disk, &damaged);
    let cut = finish(&open(&disk), small).unwrap();
    assert_eq!(
        (cut.offset, cut.bytes),
        (last as u64, (whole[0].len() - last) as u64)
    );
    assert!(
        cut.damage.is_some() && cut.to_string().contains("damaged"),
        "{cut}"
    );
    assert!(files(&disk) == files(&expected));
}

#[test]
fn corruption_is_never_gone_on_with() {
    let small = Small {
        segment_bytes: 1500,
        ..Small::default()
    };
    let (disk, _) = small.write();
    let whole = files(&disk);
    let run = open(&disk);
    for (file, bytes) in whole.iter().enumerate() {
        for at in boundaries(bytes).windows(2) {
            let is_last = file + 1 == whole.len() && at[1] == bytes.len();
            let mut damaged = whole.clone();
            damaged[file][at[0] + HEADER_BYTES + 1] ^= 1;
            put_files(&disk, &damaged);
            let refused = matches!(finish(&run, small), Err(JournalError::Corrupt { .. }));
            assert_eq!(refused, !is_last, "file {file}, record at {}", at[0]);
            if refused {
                assert!(files(&disk) == damaged, "what is refused was changed");
            }
        }
    }
}

#[test]
fn from_every_mark_the_rest_is_read_as_from_the_beginning() {
    for segment_bytes in SEGMENT_SIZES {
        let disk = MemoryDisk::new();
        let run = create_run_dir_on(Arc::new(disk.clone()), Path::new("/run")).unwrap();
        let mut writer =
            JournalWriter::create_with(&run, &header(1), Durability::Process, segment_bytes)
                .unwrap();
        let mut marks = vec![writer.mark()];
        for tick in 1..=9 {
            writer.append(Tick(tick), &record(tick)).unwrap();
            marks.push(writer.mark());
        }
        writer.seal(SealReason::Finished).unwrap();
        let (_, entries, _) = read_all(&run).unwrap();
        let (_, mut slow) = JournalReader::open(&run).unwrap();
        for (ticks, mark) in marks.iter().enumerate() {
            assert_eq!((slow.mark(), mark.tick), (*mark, Tick(ticks as u64)));
            slow.next_tick().unwrap();
            let (read, mut reader) = JournalReader::open_at(&run, mark).unwrap();
            assert_eq!((read, reader.mark()), (header(1), *mark));
            let rest: Vec<_> = reader.entries().collect::<Result<_, _>>().unwrap();
            assert_eq!(rest, entries[ticks..]);
            assert!(reader.seal().is_some());
            assert_eq!(reader.mark(), marks[9]);
        }
    }
}

#[test]
fn a_run_is_gone_on_with_from_a_mark_as_from_its_beginning() {
    let small = Small {
        segment_bytes: 1500,
        ..Small::default()
    };
    let (disk, run) = Small {
        ticks: 3,
        seal: false,
        ..small
    }
    .write();
    let (_, mut reader) = JournalReader::open(&run).unwrap();
    reader.next_tick().unwrap();
    let mark = reader.mark();
    let run = open(&disk);
    let (_, mut reader) = JournalReader::open_at(&run, &mark).unwrap();
    assert_eq!(reader.entries().count(), 2);
    let (mut writer, _) = JournalWriter::resume_with(&run, reader, Durability::Sync, 1500).unwrap();
    assert_eq!(writer.committed(), Tick(3));
    writer.append(Tick(4), &record(4)).unwrap();
    writer.seal(SealReason::Finished).unwrap();
    assert!(files(&disk) == files(&small.write().0));
}

#[test]
fn a_mark_that_is_not_in_this_journal_is_refused() {
    let (_, run) = Small {
        segment_bytes: 600,
        ..Small::default()
    }
    .write();
    let (_, _, reader) = read_all(&run).unwrap();
    let mark = reader.mark();
    let refused =
        |mark: JournalMark| match JournalReader::open_at(&run, &mark).map(drop).unwrap_err() {
            error @ JournalError::Mark { .. } => error,
            other => panic!("{other}"),
        };
    let beyond = [
        JournalMark {
            offset: 1 << 20,
            ..mark
        },
        JournalMark {
            segment: 99,
            ..mark
        },
        JournalMark { segment: 0, ..mark },
        JournalMark {
            segment: u64::MAX,
            ..mark
        },
    ];
    for mark in beyond {
        let error = refused(mark);
        assert!(
            matches!(
                &error,
                JournalError::Mark {
                    reason: MarkFault::Beyond { .. },
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            error.to_string().contains(&mark.offset.to_string()),
            "{error}"
        );
    }
    let elsewhere = [
        JournalMark {
            offset: mark.offset - 1,
            ..mark
        },
        JournalMark { offset: 0, ..mark },
        JournalMark {
            chain: [7; 32],
            ..mark
        },
        JournalMark { segment: 1, ..mark },
    ];
    for mark in elsewhere {
        let error = refused(mark);
        let JournalError::Mark {
            reason: MarkFault::Chain { found, expected },
            ..
        } = &error
        else {
            panic!("{error}");
        };
        let message = error.to_string();
        assert!(
            message.contains(&hex(found)) && message.contains(&hex(expected)),
            "{message}"
        );
    }
    // With the digest of another tick, the next record shows it.
    let (_, mut reader) = JournalReader::open_at(
        &run,
        &JournalMark {
            tick: Tick(2),
            ..mark
        },
    )
    .unwrap();
    assert!(matches!(
        reader.next_tick(),
        Err(JournalError::Corrupt { .. })
    ));
}

#[test]
fn a_run_that_was_gone_on_with_verifies() {
    let small = Small {
        segment_bytes: 600,
        ..Small::default()
    };
    let (disk, _) = small.write();
    let run = open(&disk);
    finish(&run, small).unwrap();
    assert_eq!(verify(&run).unwrap(), verify(&small.write().1).unwrap());
}

#[test]
#[should_panic(expected = "after its last tick")]
fn who_has_not_read_to_the_end_may_not_go_on() {
    let (disk, _) = Small::default().write();
    let run = open(&disk);
    let (_, read) = JournalReader::open(&run).unwrap();
    let _ = JournalWriter::resume(&run, read, Durability::Process);
}
