//! What the twin promises those who test with it.

use super::*;
use std::collections::BTreeSet;

#[test]
fn a_power_cut_keeps_synced_files_under_synced_names() {
    let disk = MemoryDisk::new();
    let (folder, kept, lost) = (
        Path::new("/run"),
        Path::new("/run/kept"),
        Path::new("/run/lost"),
    );
    disk.create_dir(folder).unwrap();
    let file = disk.create_new(kept).unwrap();
    file.append(b"one").unwrap();
    file.sync().unwrap();
    file.append(b"two").unwrap();
    disk.sync_dir(folder).unwrap();
    disk.create_new(lost).unwrap().sync().unwrap();
    let after = disk.after_power_cut();
    assert_eq!(after.read(kept).unwrap(), b"one");
    assert_eq!(after.read(lost), None);
    assert_eq!(disk.after_process_death().read(kept).unwrap(), b"onetwo");
}

#[test]
fn the_call_that_was_named_fails_in_the_way_that_was_named() {
    for (fault, left) in [
        (DiskFault::Before, ""),
        (DiskFault::After, "word"),
        (DiskFault::Short, "wo"),
        (DiskFault::NoSpace, "wo"),
    ] {
        let disk = MemoryDisk::new();
        let file = disk.create_new(Path::new("/file")).unwrap();
        disk.fail_call(1, fault);
        let done = file.append(b"word");
        assert_eq!(done.is_ok(), fault == DiskFault::Short);
        assert_eq!(disk.read(Path::new("/file")).unwrap(), left.as_bytes());
        assert_eq!(file.append(b"word").unwrap(), 4);
    }
}

/// A disk with two files, one with a synced part, and changes of all kinds behind it.
fn changed() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let folder = Path::new("/run");
    disk.create_dir(folder).unwrap();
    let file = disk.create_new(&folder.join("a")).unwrap();
    file.append(&[1; 700]).unwrap();
    file.sync().unwrap();
    disk.sync_dir(folder).unwrap();
    file.append(&[2; 2000]).unwrap();
    disk.create_new(&folder.join("b"))
        .unwrap()
        .append(b"b")
        .unwrap();
    file.append(&[3; 100]).unwrap();
    disk.rename(&folder.join("b"), &folder.join("c")).unwrap();
    disk
}

#[test]
fn a_power_cut_keeps_all_synced_and_any_unsynced_bytes() {
    let disk = changed();
    let whole = disk.read(Path::new("/run/a")).unwrap();
    let mut seen = BTreeSet::new();
    let mut holes = 0;
    for seed in 0..400 {
        let after = disk.after_power_cut_with(seed);
        let file = after.read(Path::new("/run/a")).unwrap();
        assert!(file.len() <= whole.len() && file[..700] == [1; 700]);
        let lost = |at: &usize| file[*at] == 0;
        assert!((0..file.len()).all(|at| file[at] == whole[at] || lost(&at)));
        holes += u32::from(
            (700..file.len())
                .find(lost)
                .is_some_and(|at| file[at..].iter().any(|byte| *byte != 0)),
        );
        seen.insert((
            file,
            after.read(Path::new("/run/b")),
            after.read(Path::new("/run/c")),
        ));
        let again = disk.after_power_cut_with(seed);
        assert_eq!(
            again.read(Path::new("/run/a")),
            after.read(Path::new("/run/a"))
        );
    }
    assert!(
        seen.len() > 40 && holes > 20,
        "{} kinds, {holes} with a hole",
        seen.len()
    );
    assert!(seen.iter().any(|(file, ..)| *file == whole));
    assert!(seen.iter().any(|(file, ..)| file.len() == 700));
    assert!(seen.iter().any(|(_, b, _)| b.is_some()));
    assert!(seen.iter().any(|(_, _, c)| c.as_deref() == Some(b"b")));
}

#[test]
fn a_failed_sync_has_lost_its_data_for_good() {
    let disk = MemoryDisk::new();
    let path = Path::new("/file");
    let file = disk.create_new(path).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.append(b"lost").unwrap();
    disk.fail_call(disk.calls(), DiskFault::Before);
    assert!(file.sync().is_err());
    file.sync().unwrap();
    assert_eq!(disk.read(path).unwrap(), b"lost");
    assert_eq!(disk.after_power_cut().read(path).unwrap(), b"");
    // Written again, it is a change again.
    file.write_at(b"lost", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.after_power_cut().read(path).unwrap(), b"lost");
}

#[test]
fn after_a_crash_no_call_does_anything() {
    let disk = MemoryDisk::new();
    let file = disk.create_new(Path::new("/file")).unwrap();
    disk.crash_at(2, DiskFault::After);
    file.append(b"a").unwrap();
    assert!(file.append(b"b").is_err());
    assert!(file.append(b"c").is_err() && file.truncate(0).is_err());
    assert!(disk.create_new(Path::new("/other")).is_err());
    assert_eq!(disk.read(Path::new("/file")).unwrap(), b"ab");
}

#[test]
fn what_is_written_in_place_stays_in_place() {
    let disk = MemoryDisk::new();
    let file = disk.open_write(Path::new("/file")).unwrap();
    file.write_at(b"word", 2).unwrap();
    file.write_at(b"aa", 0).unwrap();
    assert_eq!(disk.read(Path::new("/file")).unwrap(), b"aaword");
}
