//! Journals that are damaged, cut or put together from others.

use super::*;

#[test]
fn a_cut_anywhere_leaves_the_records_before_it() {
    for seal in [false, true] {
        let (disk, run) = Small {
            seal,
            ..Small::default()
        }
        .write();
        let whole = disk.read(&segment(1)).unwrap();
        // Emitted lines do not matter here: only the journal is checked.
        disk.remove_file(&run.outbox()).unwrap();
        let boundaries = boundaries(&whole);
        for cut in 0..whole.len() {
            disk.write(&segment(1), &whole[..cut]);
            let records = boundaries.iter().filter(|at| **at <= cut).count() - 1;
            if records == 0 {
                assert!(
                    matches!(read_all(&run), Err(JournalError::NotBegun { .. })),
                    "cut at {cut}"
                );
                continue;
            }
            let (_, entries, reader) = read_all(&run).unwrap();
            assert_eq!(entries.len(), records - 1, "cut at {cut}");
            assert!(reader.seal().is_none());
            let (cut, last_whole) = (cut as u64, boundaries[records] as u64);
            let torn = reader
                .torn()
                .map(|torn| (torn.offset, torn.bytes, torn.kind.clone()));
            let expected =
                (cut > last_whole).then(|| (last_whole, cut - last_whole, TornKind::Unfinished));
            assert_eq!(torn, expected, "cut at {cut}");
            assert!(verify(&run).is_ok());
        }
    }
}

#[test]
fn every_flipped_bit_is_found() {
    for (seal, segment_bytes) in [(true, 600), (false, 600), (true, 1 << 20)] {
        let (disk, run) = Small {
            ticks: 3,
            seal,
            segment_bytes,
            ..Small::default()
        }
        .write();
        for name in disk.list(&run.journal()).unwrap() {
            let path = run.journal().join(name);
            let whole = disk.read(&path).unwrap();
            for bit in 0..whole.len() * 8 {
                let mut flipped = whole.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                disk.write(&path, &flipped);
                let error = verify(&run)
                    .expect_err("a flipped bit went unseen")
                    .to_string();
                assert!(error.contains(path.to_str().unwrap()), "bit {bit}: {error}");
            }
            disk.write(&path, &whole);
        }
        verify(&run).unwrap();
    }
}

#[test]
fn a_bad_last_record_is_torn_and_one_before_it_is_corruption() {
    let (disk, run) = Small {
        seal: false,
        ..Small::default()
    }
    .write();
    let whole = disk.read(&segment(1)).unwrap();
    let at = boundaries(&whole);
    let flip = |position: usize| {
        let mut bytes = whole.clone();
        bytes[position] ^= 0x10;
        disk.write(&segment(1), &bytes);
    };
    flip(at[2] + HEADER_BYTES + 3);
    match verify(&run).unwrap_err() {
        JournalError::Corrupt {
            offset,
            after,
            reason: RecordFault::Followed { follows, .. },
            ..
        } => {
            assert_eq!(
                (offset, after, follows),
                (at[2] as u64, Some(Tick(1)), at[3] as u64)
            );
        }
        other => panic!("{other}"),
    }
    flip(at[4] + HEADER_BYTES + 3);
    let (_, entries, reader) = read_all(&run).unwrap();
    assert_eq!(entries.len(), 3);
    assert!(matches!(
        reader.torn().unwrap().kind,
        TornKind::Damaged { .. }
    ));
    assert!(matches!(
        verify(&run),
        Err(JournalError::DamagedTail { .. })
    ));
}

#[test]
fn a_record_in_another_place_is_refused() {
    let (disk, run) = Small {
        seal: false,
        ..Small::default()
    }
    .write();
    let whole = disk.read(&segment(1)).unwrap();
    let at = boundaries(&whole);
    let part = |record: usize| &whole[at[record]..at[record + 1]];
    let arrangements = [
        [part(0), part(2), part(1), part(3), part(4)].concat(),
        [part(0), part(1), part(1), part(2), part(3)].concat(),
        [part(0), part(1), part(3), part(4)].concat(),
        [part(0), part(0), part(1), part(2)].concat(),
        [part(1), part(2)].concat(),
    ];
    for bytes in arrangements {
        disk.write(&segment(1), &bytes);
        assert!(matches!(
            verify(&run),
            Err(JournalError::Corrupt {
                reason: RecordFault::Order { .. },
                ..
            })
        ));
    }
}

#[test]
fn a_record_of_another_run_is_refused() {
    let (disk, run) = Small {
        seal: false,
        ..Small::default()
    }
    .write();
    let (other, _) = Small {
        seed: 2,
        seal: false,
        ..Small::default()
    }
    .write();
    let (bytes, other) = (
        disk.read(&segment(1)).unwrap(),
        other.read(&segment(1)).unwrap(),
    );
    let at = boundaries(&bytes);
    let spliced = [&bytes[..at[2]], &other[at[2]..]].concat();
    disk.write(&segment(1), &spliced);
    assert!(matches!(
        verify(&run),
        Err(JournalError::Corrupt {
            reason: RecordFault::Run { .. },
            ..
        })
    ));
}

#[test]
fn a_record_of_another_history_is_refused() {
    let (disk, run) = Small {
        seal: false,
        ..Small::default()
    }
    .write();
    let mut bytes = disk.read(&segment(1)).unwrap();
    let at = boundaries(&bytes);
    // A record that holds together and follows something that never happened.
    let mut header = FrameHeader::parse(bytes[at[3]..].first_chunk().unwrap()).unwrap();
    header.previous[0] ^= 1;
    bytes[at[3]..at[3] + HEADER_BYTES].copy_from_slice(&header.to_bytes());
    let digest = *blake3::hash(&bytes[at[3]..at[4] - DIGEST_BYTES]).as_bytes();
    bytes[at[4] - DIGEST_BYTES..at[4]].copy_from_slice(&digest);
    disk.write(&segment(1), &bytes);
    match verify(&run).unwrap_err() {
        JournalError::Corrupt {
            after,
            reason: RecordFault::Previous { .. },
            ..
        } => assert_eq!(after, Some(Tick(2))),
        other => panic!("{other}"),
    }
}

#[test]
fn segments_must_be_all_there_and_alone() {
    let small = Small {
        segment_bytes: 600,
        ..Small::default()
    };
    let (disk, run) = small.write();
    let segments = disk.list(&run.journal()).unwrap().len() as u64;
    assert!(segments >= 3);
    disk.write(&run.journal().join("notes"), b"");
    assert!(matches!(verify(&run), Err(JournalError::Foreign { .. })));
    disk.remove_file(&run.journal().join("notes")).unwrap();
    let second = disk.read(&segment(2)).unwrap();
    disk.write(&segment(2), b"");
    assert!(matches!(
        verify(&run),
        Err(JournalError::Corrupt {
            reason: RecordFault::Empty,
            ..
        })
    ));
    disk.write(&segment(2), &second[..second.len() - 1]);
    assert!(matches!(verify(&run), Err(JournalError::Corrupt { .. })));
    disk.remove_file(&segment(2)).unwrap();
    assert!(matches!(
        verify(&run),
        Err(JournalError::MissingSegment { .. })
    ));
    disk.write(&segment(2), &second);
    verify(&run).unwrap();
    // An empty last segment is what a death between making and writing it leaves.
    let (disk, run) = Small {
        seal: false,
        ..small
    }
    .write();
    let count = disk.list(&run.journal()).unwrap().len() as u64;
    disk.write(&segment(count + 1), b"");
    assert!(verify(&run).unwrap().torn.is_none());
}

#[test]
fn nothing_may_follow_a_seal() {
    let (disk, run) = Small::default().write();
    let whole = disk.read(&segment(1)).unwrap();
    disk.write(&segment(1), &[&whole[..], &[0]].concat());
    assert!(matches!(
        verify(&run),
        Err(JournalError::Corrupt {
            reason: RecordFault::AfterSeal,
            ..
        })
    ));
    disk.write(&segment(1), &whole);
    disk.write(&segment(2), &[]);
    assert!(matches!(
        verify(&run),
        Err(JournalError::Corrupt {
            reason: RecordFault::AfterSeal,
            ..
        })
    ));
}
