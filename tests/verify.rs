//! `lockstep verify` finds every byte that is not as it was written, in the
//! journal, in the kept components and models and in the outbox, and names file
//! and place; and it executes nothing. A journal that was cut never passes for
//! one that ended in good order.

use shm_protocol::agent_to_supervisor::{Effect, Outcome, Status};
use shm_protocol::id::{AgentId, Tick};
use std::fs;
use std::path::Path;
use supervisor::fleet::Durability;
use supervisor::journal::{JournalReader, JournalWriter, create_run_dir, verify};
use supervisor::record::{SealReason, TickRecord};
use supervisor::rundir::RunDir;
use test_support::{Place, agent, files, fleet};

/// Bytes of a record's header, where its payload's length stands in it, and bytes of its digest.
const HEADER_BYTES: usize = 96;
const LENGTH_AT: usize = 40;
const DIGEST_BYTES: usize = 32;

/// A run of few bytes, so that each of them can be damaged.
fn tiny_run() -> Place {
    let place = Place::new();
    let agents = [
        agent("one", "counter", "settings = { emit_every = 1 }"),
        agent("two", "pingpong", "settings = { peer = \"one\" }"),
    ];
    place.write("fleet.toml", fleet("ticks = 4", &agents));
    place.fine(&["run", "fleet.toml", "--dir", "run"]);
    place
}

/// Where each record begins.
fn starts(journal: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut start = 0;
    while start < journal.len() {
        starts.push(start);
        let length = &journal[start + LENGTH_AT..start + LENGTH_AT + 8];
        let payload = u64::from_le_bytes(length.try_into().expect("eight bytes"));
        start += HEADER_BYTES + usize::try_from(payload).expect("a short record") + DIGEST_BYTES;
    }
    starts
}

/// What the library says of a run: the message, if it does not verify.
fn reason(run: &Path) -> Option<String> {
    RunDir::read(run)
        .map_err(|error| error.to_string())
        .and_then(|run| verify(&run).map_err(|error| error.to_string()))
        .err()
}

#[test]
fn every_flipped_byte_of_a_journal_is_found_and_named() {
    let place = tiny_run();
    let (run, segment) = (place.path("run"), place.segment("run"));
    let sound = fs::read(&segment).expect("a journal");
    let starts = starts(&sound);
    assert_eq!(starts.len(), 6, "a header, four ticks and a seal");
    for position in 0..sound.len() {
        for flipped in [0x01, 0x80] {
            let mut damaged = sound.clone();
            damaged[position] ^= flipped;
            fs::write(&segment, &damaged).expect("a damaged journal");
            let reason = reason(&run)
                .unwrap_or_else(|| panic!("byte {position} flipped by {flipped:#x} is not found"));
            let start = starts
                .iter()
                .rfind(|start| **start <= position)
                .expect("the first begins at 0");
            assert!(
                reason.contains("00000001.lkj") && reason.contains(&format!("at byte {start}")),
                "byte {position} in the record at {start}: {reason}"
            );
        }
    }
    fs::write(&segment, &sound).expect("the sound journal");
    assert_eq!(reason(&run), None);
}

#[test]
fn the_binary_says_so_with_exit_code_1() {
    let place = tiny_run();
    let segment = place.segment("run");
    let sound = fs::read(&segment).expect("a journal");
    let starts = starts(&sound);
    // In each record: the first byte, one within the header, one within the payload, the last of the digest.
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(sound.len());
        for position in [*start, start + 33, start + HEADER_BYTES, end - 1] {
            let mut damaged = sound.clone();
            damaged[position] ^= 0x10;
            fs::write(&segment, &damaged).expect("a damaged journal");
            let said = place.lockstep(&["verify", "run", "--json"]).with_code(1);
            let said = said.naming(&["00000001.lkj", &format!("at byte {start}")]);
            let json = said.json();
            assert_eq!(json["verifies"], false);
            assert!(
                json["reason"]
                    .as_str()
                    .is_some_and(|reason| said.err.contains(reason)),
                "{said}"
            );
        }
    }
    // A damaged tick is named; nothing else may be done with such a run either.
    let mut damaged = sound.clone();
    damaged[starts[3] + HEADER_BYTES] ^= 1;
    fs::write(&segment, &damaged).expect("a damaged journal");
    for command in [
        &["verify", "run"][..],
        &["replay", "run"],
        &["inspect", "run"],
        &["diff", "run", "run"],
    ] {
        place
            .lockstep(command)
            .with_code(1)
            .naming(&["tick 3 should be"]);
    }
}

#[test]
fn a_journal_that_was_cut_never_passes_for_whole() {
    let place = tiny_run();
    let (run, segment) = (place.path("run"), place.segment("run"));
    let sound = fs::read(&segment).expect("a journal");
    let starts = starts(&sound);
    // Without its outbox, which would be ahead of the journal.
    fs::remove_file(run.join("outbox.jsonl")).expect("an outbox");
    // What was once on the disk is missed.
    for start in &starts[1..] {
        fs::write(&segment, &sound[..*start]).expect("a cut journal");
        place
            .lockstep(&["verify", "run"])
            .with_code(1)
            .naming(&["synced up to tick 4"]);
    }
    fs::remove_file(run.join("synced")).expect("what is on the disk");
    for length in 0..sound.len() {
        fs::write(&segment, &sound[..length]).expect("a cut journal");
        let verified = RunDir::read(&run)
            .map_err(|error| error.to_string())
            .and_then(|run| verify(&run).map_err(|error| error.to_string()));
        match verified {
            Err(reason) => assert!(length < starts[1], "cut at {length}: {reason}"),
            Ok(verified) => {
                let whole = starts.iter().filter(|start| **start <= length).count() as u64;
                assert_eq!(verified.sealed, None, "cut at {length}");
                assert_eq!(verified.ticks.0, (whole - 2).min(4), "cut at {length}");
                assert_eq!(
                    verified.torn.is_some(),
                    !starts.contains(&length),
                    "cut at {length}"
                );
            }
        }
    }
    // The outbox knows of ticks that the journal has lost.
    let place = tiny_run();
    fs::remove_file(place.path("run/synced")).expect("what is on the disk");
    fs::write(place.segment("run"), &sound[..starts[3]]).expect("a cut journal");
    place
        .lockstep(&["verify", "run"])
        .with_code(1)
        .naming(&["outbox.jsonl", "line 3"]);
}

#[test]
fn bytes_behind_the_end_are_found() {
    let place = tiny_run();
    let segment = place.segment("run");
    let sound = fs::read(&segment).expect("a journal");
    for more in [&b"x"[..], &[0; 4096], &sound] {
        fs::write(&segment, [&sound, more].concat()).expect("a longer journal");
        place
            .lockstep(&["verify", "run"])
            .with_code(1)
            .naming(&["00000001.lkj", "sealed"]);
    }
}

#[test]
fn records_in_another_order_are_found() {
    let place = tiny_run();
    let segment = place.segment("run");
    let sound = fs::read(&segment).expect("a journal");
    let starts = starts(&sound);
    let record =
        |index: usize| &sound[starts[index]..starts.get(index + 1).copied().unwrap_or(sound.len())];
    for order in [
        &[0, 1, 3, 2, 4, 5][..],
        &[0, 1, 3, 4, 5],
        &[0, 1, 1, 2, 3, 4, 5],
        &[1, 2, 3, 4, 5],
        &[0, 1, 2, 3, 5],
    ] {
        let journal: Vec<u8> = order
            .iter()
            .flat_map(|index| record(*index))
            .copied()
            .collect();
        fs::write(&segment, journal).expect("a journal in another order");
        place
            .lockstep(&["verify", "run"])
            .with_code(1)
            .naming(&["00000001.lkj", "at byte"]);
    }
}

#[test]
fn a_missing_or_foreign_file_is_named() {
    let place = tiny_run();
    // The same run with ticks so large that its journal has two files.
    let from = RunDir::read(&place.path("run")).expect("a run");
    let (header, _) = JournalReader::open(&from).expect("a journal");
    let to = create_run_dir(&place.path("large")).expect("a new run");
    for agent in &header.agents {
        to.put_object(&from.object(&agent.component).expect("a component"))
            .expect("a copy of it");
    }
    let mut writer =
        JournalWriter::create(&to, &header, Durability::Process).expect("a new journal");
    let effects = vec![Effect::Send {
        to: AgentId(0),
        payload: vec![7; 12 << 20],
    }];
    let outcomes = vec![Outcome {
        agent: AgentId(0),
        status: Status::Completed,
        fuel_used: 1,
        effects,
    }];
    let record = TickRecord {
        outcomes,
        ..TickRecord::default()
    };
    for tick in 1..=7 {
        writer.append(Tick(tick), &record).expect("a tick");
    }
    writer.seal(SealReason::Finished).expect("a seal");
    drop(to);
    assert_eq!(files(&place.path("large/journal")).len(), 2);
    place.verified("large");
    let (first, second) = (
        place.segment("large"),
        place.path("large/journal/00000002.lkj"),
    );
    // A flipped byte in the second file is found there.
    let mut bytes = fs::read(&second).expect("the second file");
    bytes[5000] ^= 1;
    fs::write(&second, &bytes).expect("a damaged file");
    place
        .lockstep(&["verify", "large"])
        .with_code(1)
        .naming(&["00000002.lkj", "at byte 0"]);
    bytes[5000] ^= 1;
    fs::write(&second, &bytes).expect("the sound file");
    place.verified("large");
    fs::rename(&first, place.path("aside")).expect("a file");
    place
        .lockstep(&["verify", "large"])
        .with_code(1)
        .naming(&["00000001.lkj", "missing"]);
    fs::rename(place.path("aside"), &first).expect("a file");
    fs::rename(&second, place.path("aside")).expect("a file");
    let verified = place.verified("large");
    assert!(
        verified["sealed"].is_null(),
        "a journal without its last file has no seal: {verified}"
    );
    place.write("large/journal/notes.txt", "mine");
    place
        .lockstep(&["verify", "large"])
        .with_code(1)
        .naming(&["notes.txt"]);
}

#[test]
fn a_damaged_component_or_model_is_found() {
    let place = Place::new();
    place.fine(&["demo", "--agents", "1", "--ticks", "3", "--dir", "run"]);
    let objects = files(&place.path("run/objects"));
    assert_eq!(objects.len(), 3, "two components and a model");
    for (name, sound) in &objects {
        let (path, name) = (place.path("run/objects").join(name), name.to_string_lossy());
        for position in [0, sound.len() / 2, sound.len() - 1] {
            let mut damaged = sound.clone();
            damaged[position] ^= 4;
            fs::write(&path, damaged).expect("a damaged object");
            place
                .lockstep(&["verify", "run"])
                .with_code(1)
                .naming(&[&name, "damaged"]);
        }
        fs::remove_file(&path).expect("an object");
        place
            .lockstep(&["verify", "run"])
            .with_code(1)
            .naming(&[&name, "missing"]);
        fs::write(&path, sound).expect("the sound object");
    }
    place.verified("run");
}

#[test]
fn every_flipped_byte_of_an_outbox_is_found_and_its_line_named() {
    let place = tiny_run();
    let (run, outbox) = (place.path("run"), place.path("run/outbox.jsonl"));
    let sound = fs::read(&outbox).expect("an outbox");
    assert_eq!(sound.iter().filter(|byte| **byte == b'\n').count(), 4);
    for position in 0..sound.len() {
        let mut damaged = sound.clone();
        damaged[position] ^= 1;
        fs::write(&outbox, &damaged).expect("a damaged outbox");
        let reason = reason(&run).unwrap_or_else(|| panic!("byte {position} is not found"));
        let line = 1 + sound[..position]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        assert!(
            reason.contains("outbox.jsonl") && reason.contains(&format!("line {line}")),
            "byte {position}: {reason}"
        );
    }
    let place_of = |line: &str| {
        place
            .lockstep(&["verify", "run"])
            .with_code(1)
            .naming(&["outbox.jsonl", line])
    };
    let lines: Vec<&[u8]> = sound.split_inclusive(|byte| *byte == b'\n').collect();
    fs::write(&outbox, [lines[0], lines[2], lines[3]].concat()).expect("an outbox with a hole");
    place_of("line 2");
    fs::write(&outbox, [&sound[..], lines[3]].concat()).expect("an outbox with a line twice");
    place_of("line 5");
    // A sealed run has its whole outbox.
    fs::write(&outbox, &sound[..sound.len() - 1]).expect("a cut outbox");
    place_of("outbox");
    fs::write(&outbox, &sound).expect("the sound outbox");
    place.verified("run");
}
