//! The promise of the run directory: one writer, nothing of others touched, nothing half-written.

mod outbox;

use super::*;
use crate::fleet::{Durability, Pace};
use crate::journal::testing::{Small, header, record};
use crate::journal::{
    JournalError, JournalWriter, create_run_dir, create_run_dir_on, discard_run_dir, verify,
};
use crate::record::RunId;
use crate::sys::memory_disk::{DiskFault, MemoryDisk};
use shm_protocol::id::Tick;

fn names() -> Vec<String> {
    header(1)
        .agents
        .into_iter()
        .map(|agent| agent.name)
        .collect()
}

fn memory() -> (MemoryDisk, RunDir) {
    let disk = MemoryDisk::new();
    let run = create_run_dir_on(Arc::new(disk.clone()), Path::new("/run")).unwrap();
    (disk, run)
}

#[test]
fn a_second_writer_is_refused_and_told_who_the_first_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/run");
    let run = create_run_dir(&path).unwrap();
    for refused in [create_run_dir(&path), RunDir::open(&path)] {
        let error = refused.unwrap_err();
        assert!(matches!(error, RunDirError::InUse { .. }));
        assert!(
            error
                .to_string()
                .contains(&format!("pid {}", std::process::id())),
            "{error}"
        );
    }
    assert!(RunDir::read(&path).is_ok());
    drop(run);
    assert!(RunDir::open(&path).is_ok());
}

#[test]
fn a_writer_of_the_journal_holds_the_lock() {
    let (disk, run) = memory();
    let writer = JournalWriter::create(&run, &header(1), Durability::Process).unwrap();
    drop(run);
    let again = || create_run_dir_on(Arc::new(disk.clone()), Path::new("/run"));
    assert!(matches!(again(), Err(RunDirError::InUse { .. })));
    drop(writer);
    let error = again().unwrap_err();
    assert!(matches!(error, RunDirError::AlreadyARun { .. }));
    assert!(error.to_string().contains("lockstep resume") && error.to_string().contains("--dir"));
}

#[test]
fn who_begins_where_a_run_is_hears_what_going_on_would_do() {
    let said = |small: Small, until: Option<u64>| {
        let (disk, run) = small.write();
        let launch = LaunchSettings {
            ticks: until,
            ..launch()
        };
        run.locked().unwrap().put_launch(&launch).unwrap();
        create_run_dir_on(Arc::new(disk), Path::new("/run"))
            .unwrap_err()
            .to_string()
    };
    let stopped = Small {
        seal: false,
        ..Small::default()
    };
    let text = said(stopped, Some(9));
    assert!(
        text.contains("stopped after tick 4")
            && text.contains("continue with tick 5, up to tick 9"),
        "{text}"
    );
    assert!(text.contains("`lockstep resume /run`"), "{text}");
    assert!(said(stopped, None).contains("would continue with tick 5;"));
    let text = said(Small::default(), Some(4));
    assert!(
        text.contains("finished with tick 4") && text.contains("nothing to do"),
        "{text}"
    );
}

#[test]
fn what_belongs_to_others_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "").unwrap();
    let error = create_run_dir(folder.path()).unwrap_err();
    assert!(
        matches!(&error, RunDirError::NotEmpty { entry, .. } if entry == "thesis.tex"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(matches!(
        RunDir::read(folder.path()),
        Err(RunDirError::NotARun { .. })
    ));
    assert!(matches!(
        RunDir::read(&folder.path().join("nothing")),
        Err(RunDirError::NotARun { .. })
    ));
}

#[test]
fn a_start_that_failed_leaves_nothing_and_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let run = create_run_dir(&path).unwrap();
    run.put_object(b"component").unwrap();
    discard_run_dir(run).unwrap();
    assert!(!path.exists());
    // As after a kill: nothing is tidied up.
    let run = create_run_dir(&path).unwrap();
    run.put_object(b"component").unwrap();
    drop(run);
    let run = create_run_dir(&path).unwrap();
    assert_eq!(run.files_in(&run.objects()).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn a_failed_start_removes_the_directories_it_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs/of-today/run");
    discard_run_dir(create_run_dir(&path).unwrap()).unwrap();
    assert!(!folder.path().join("runs").exists());
    // Another run in the same folder keeps it.
    let run = create_run_dir(&path).unwrap();
    let other = create_run_dir(&path.with_file_name("other")).unwrap();
    discard_run_dir(run).unwrap();
    assert!(!path.exists() && other.path().exists());
    discard_run_dir(other).unwrap();
    assert!(folder.path().join("runs/of-today").exists());
}

#[test]
fn a_header_that_could_not_be_written_is_no_run() {
    let (disk, run) = memory();
    disk.fail_call(disk.calls() + 2, DiskFault::NoSpace);
    let failed = JournalWriter::create(&run, &header(1), Durability::Process);
    assert!(matches!(failed, Err(JournalError::Write { tick: Tick(0), bytes, .. }) if bytes > 0));
    let journal = run.journal().join(crate::journal::segment::name(1));
    assert!(
        !disk.read(&journal).unwrap().is_empty(),
        "nothing of the header was written"
    );
    discard_run_dir(run).unwrap();
    assert_eq!(disk.list(Path::new("/")).unwrap(), Vec::<String>::new());
}

#[test]
fn a_run_without_ticks_can_be_discarded() {
    let (disk, run) = memory();
    drop(JournalWriter::create(&run, &header(1), Durability::Process).unwrap());
    discard_run_dir(run).unwrap();
    assert_eq!(disk.list(Path::new("/")).unwrap(), Vec::<String>::new());
}

#[test]
#[should_panic(expected = "a run with ticks is kept")]
fn a_run_with_ticks_is_not_discarded() {
    let (_, run) = Small {
        ticks: 1,
        ..Small::default()
    }
    .write();
    let _ = discard_run_dir(run.locked().unwrap());
}

#[test]
fn an_object_is_kept_once_and_checked() {
    let (disk, run) = memory();
    let digest = run.put_object(b"component").unwrap();
    let calls = disk.calls();
    assert_eq!(run.put_object(b"component").unwrap(), digest);
    assert_eq!(disk.calls(), calls, "it was written twice");
    assert_eq!(run.object(&digest).unwrap(), b"component");
    disk.write(&run.object_path(&digest), b"componenT");
    let message = run.object(&digest).unwrap_err().to_string();
    assert!(message.contains(&crate::record::hex(&digest)), "{message}");
    assert!(
        message.contains(&blake3::hash(b"componenT").to_hex().to_string()),
        "{message}"
    );
    run.put_object(b"component").unwrap();
    assert_eq!(run.object(&digest).unwrap(), b"component");
}

#[test]
fn an_object_survives_a_power_cut() {
    let (disk, run) = memory();
    let digest = run.put_object(b"component").unwrap();
    let after = RunDir::read_on(Arc::new(disk.after_power_cut()), Path::new("/run")).unwrap();
    assert_eq!(after.object(&digest).unwrap(), b"component");
}

#[test]
fn a_launch_comes_back_as_it_was() {
    let (_, run) = memory();
    let launch = launch();
    run.put_launch(&launch).unwrap();
    assert_eq!(run.launch().unwrap(), launch);
    assert!(
        String::from_utf8(run.get_file(&run.path.join(LAUNCH)).unwrap())
            .unwrap()
            .contains(r#""durability": "batch""#)
    );
}

fn launch() -> LaunchSettings {
    LaunchSettings {
        fleet: "examples/small.toml".to_owned(),
        hosts: 3,
        isolated: vec!["referee".to_owned()],
        durability: Durability::Batch,
        ticks: Some(7),
        deadline_ms: 250,
        strict_providers: true,
        agent_ready_ms: 2_000,
        inference_ready_ms: 30_000,
        load_ms: 60_000,
        checkpoint_ticks: 64,
        checkpoint_min_ms: 100,
        checkpoints_kept: 3,
        restarts: crate::fleet::RestartLimits::USUAL,
        hot_standby: false,
        pace: Pace::MilliHertz(2_500),
        on_provider_lost: crate::fleet::OnProviderLost::Stop,
    }
}

#[test]
fn lines_wait_for_their_tick_and_leave_in_order() {
    let (disk, run) = memory();
    let mut outbox = Outbox::open(&run, RunId([0xab; 16]), names()).unwrap();
    for tick in 1..=3 {
        outbox.push(Tick(tick), &record(tick).outcomes);
    }
    assert_eq!(disk.read(&run.outbox()).unwrap(), b"");
    outbox.release(Tick(2)).unwrap();
    let text = String::from_utf8(disk.read(&run.outbox()).unwrap()).unwrap();
    let run_id = "ab".repeat(16);
    let expected = format!(
        "{{\"key\":\"{run_id}:1:1:0\",\"tick\":1,\"agent\":\"referee\",\"topic\":\"score\",\"text\":\"1\"}}\n\
         {{\"key\":\"{run_id}:1:1:1\",\"tick\":1,\"agent\":\"referee\",\"topic\":\"raw\",\"base64\":\"/wA=\"}}\n"
    );
    assert_eq!(text, expected);
    let calls = disk.calls();
    outbox.release(Tick(2)).unwrap();
    assert_eq!(disk.calls(), calls, "an empty release touched the disk");
    outbox.release(Tick(3)).unwrap();
    assert_eq!(
        String::from_utf8(disk.read(&run.outbox()).unwrap())
            .unwrap()
            .lines()
            .count(),
        4
    );
    assert_eq!(outbox.waiting_bytes(), 0);
}

/// Cut anywhere, the outbox is made whole again from the journal, and no line is there twice.
#[test]
fn a_cut_outbox_is_made_whole_again() {
    let (disk, run) = Small {
        ticks: 5,
        ..Small::default()
    }
    .write();
    let whole = disk.read(&run.outbox()).unwrap();
    let run_id = verify(&run).unwrap().run_id;
    let run = run.locked().unwrap();
    for cut in 0..=whole.len() {
        disk.write(&run.outbox(), &whole[..cut]);
        let mut outbox = Outbox::open(&run, run_id, names()).unwrap();
        (1..=5).for_each(|tick| outbox.push(Tick(tick), &record(tick).outcomes));
        outbox.release(Tick(5)).unwrap();
        assert_eq!(disk.read(&run.outbox()).unwrap(), whole, "cut at {cut}");
    }
}

/// Whatever a power cut has made of it behind what was synced, the outbox is made whole again from the journal.
#[test]
fn a_damaged_end_of_an_outbox_is_written_anew() {
    let (disk, run) = Small {
        ticks: 5,
        ..Small::default()
    }
    .write();
    let whole = disk.read(&run.outbox()).unwrap();
    let run_id = verify(&run).unwrap().run_id;
    let run = run.locked().unwrap();
    for (synced, from) in [(0, 0), (1, whole.len() / 3)] {
        for hole in from..whole.len() {
            let mut left = whole.clone();
            left[hole] ^= 0x80;
            left.truncate(whole.len() - hole % 7);
            disk.write(&run.outbox(), &left);
            let mark = outbox::mark_after(run_id, synced);
            let opened = Outbox::open_at(&run, run_id, names(), &mark).unwrap();
            let mut outbox = opened.expect("what is marked is there");
            (synced + 1..=5).for_each(|tick| outbox.push(Tick(tick), &record(tick).outcomes));
            (synced + 1..=5).for_each(|tick| outbox.release(Tick(tick)).unwrap());
            assert_eq!(
                disk.read(&run.outbox()).unwrap(),
                whole,
                "synced up to {synced}, hole at {hole}"
            );
        }
    }
}

#[test]
fn an_outbox_of_another_run_is_refused() {
    let (_, run) = Small::default().write();
    let run = run.locked().unwrap();
    assert!(matches!(
        Outbox::open(&run, RunId([1; 16]), names()),
        Err(RunDirError::Outbox { .. })
    ));
}

#[test]
fn an_outbox_that_failed_takes_nothing_more() {
    let (disk, run) = memory();
    let mut outbox = Outbox::open(&run, RunId([0; 16]), names()).unwrap();
    outbox.push(Tick(1), &record(1).outcomes);
    disk.fail_call(disk.calls(), DiskFault::NoSpace);
    assert!(outbox.release(Tick(1)).is_err());
    // The lines of tick 1 are not there, whoever asks, and however often.
    assert!(matches!(
        outbox.release(Tick(1)),
        Err(RunDirError::OutboxPoisoned { .. })
    ));
    outbox.push(Tick(3), &record(3).outcomes);
    let calls = disk.calls();
    assert!(matches!(
        outbox.release(Tick(3)),
        Err(RunDirError::OutboxPoisoned { .. })
    ));
    assert!(matches!(
        outbox.sync(),
        Err(RunDirError::OutboxPoisoned { .. })
    ));
    assert_eq!(disk.calls(), calls);
}

#[test]
fn an_object_for_which_there_is_no_room_leaves_nothing() {
    let mut refused = 0;
    for call in 0..8 {
        let disk = MemoryDisk::for_one_thread();
        let run = create_run_dir_on(Arc::new(disk.clone()), Path::new("/run")).unwrap();
        disk.fail_call(disk.calls() + call, DiskFault::NoSpace);
        let kept = run.put_object(b"some bytes");
        let names = disk.list(&run.objects()).unwrap();
        match kept {
            Ok(_) => assert_eq!(names.len(), 1),
            // Once it has its name it is whole, and may stay.
            Err(_) => {
                refused += 1;
                assert!(
                    names.iter().all(|name| !name.ends_with(UNFINISHED)),
                    "{names:?}"
                );
            }
        }
    }
    assert!(refused > 2, "{refused}");
}
