//! The readers of foreign bytes stand whatever they get. The promises: no input of the corpus and no change of one makes
//! a reader panic or breaks a property that its target states; every file of the corpus is accepted, so that changes
//! begin with something that is read to its end; and every target has a file for libFuzzer.
//!
//! `LOCKSTEP_FUZZ_INPUTS` is how many changed inputs each target gets, `LOCKSTEP_FUZZ_SEED` which.

use fuzz_targets::{
    TARGETS, Target, driver, fault_plan_samples, journal_frame_samples, message_samples,
    ring_record_samples,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Changed inputs of each target, some seconds for all of them.
const INPUTS: u64 = 4_000;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn corpus_folder(name: &str) -> PathBuf {
    PathBuf::from(test_support::repository("fuzz/corpus")).join(name)
}

/// The corpus of a target, by the names of its files.
fn corpus(target: &Target) -> BTreeMap<String, Vec<u8>> {
    let folder = corpus_folder(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("a readable folder").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        (name, fs::read(&path).expect("a readable file"))
    };
    entries.map(file).collect()
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("a target of this name");
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{name} has a corpus");
    let mut inputs: Vec<Vec<u8>> = corpus.values().cloned().collect();
    if name == "fleet_file" {
        let examples = fs::read_dir(test_support::repository("examples")).expect("examples");
        let files = examples.map(|entry| entry.expect("a readable folder").path());
        let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
        inputs.extend(files.map(|path| fs::read(path).expect("a readable file")));
    }
    let seed = number("LOCKSTEP_FUZZ_SEED", 1);
    let changed = number("LOCKSTEP_FUZZ_INPUTS", INPUTS);
    if let Err(finding) = driver::drive(target.run, &inputs, seed, changed) {
        panic!("{name}, LOCKSTEP_FUZZ_SEED={seed}: {finding}");
    }
    for (file, input) in corpus {
        assert!(
            (target.run)(&input),
            "{name} does not accept its corpus file {file}"
        );
    }
}

#[test]
fn checkpoints_are_read_safely() {
    run("checkpoint");
}

#[test]
fn fault_plans_are_read_safely() {
    run("fault_plan");
}

#[test]
fn fleet_files_are_read_safely() {
    run("fleet_file");
}

#[test]
fn generation_requests_are_read_safely() {
    run("generation_request");
}

#[test]
fn journal_frames_are_read_safely() {
    run("journal_frame");
}

#[test]
fn messages_are_read_safely() {
    run("message");
}

#[test]
fn npy_files_are_read_safely() {
    run("npy");
}

#[test]
fn ring_records_are_read_safely() {
    run("ring_record");
}

/// Set `LOCKSTEP_UPDATE_CORPUS` to write the files instead. If it is the directory of a run, records of its journal and
/// its last checkpoint are written too.
#[test]
fn the_corpus_has_what_the_code_writes() {
    let update = std::env::var_os("LOCKSTEP_UPDATE_CORPUS");
    let mut samples = vec![
        ("fault_plan", fault_plan_samples()),
        ("message", message_samples()),
        ("ring_record", ring_record_samples()),
    ];
    if let Some(run) = update
        .as_ref()
        .map(PathBuf::from)
        .filter(|run| run.is_dir())
    {
        let segment = fs::read(run.join("journal/00000001.lkj")).expect("a journal");
        samples.push(("journal_frame", journal_frame_samples(&segment)));
        samples.push(("checkpoint", last_checkpoint(&run)));
    }
    for (target, samples) in samples {
        let folder = corpus_folder(target);
        for (name, sample) in samples {
            let path = folder.join(&name);
            if update.is_some() {
                fs::create_dir_all(&folder).expect("a folder");
                fs::write(&path, &sample).expect("a writable file");
            }
            let written = fs::read(&path).unwrap_or_default();
            assert!(
                written == sample,
                "{target}/{name}: set LOCKSTEP_UPDATE_CORPUS to write it"
            );
        }
    }
}

fn last_checkpoint(run: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(run.join("checkpoints")).expect("checkpoints");
    let files = files.map(|file| fs::read(file.expect("a file").path()).expect("a readable file"));
    let last = files.filter(|file| file.starts_with(b"LKCHECKP")).last();
    last.map(|file| ("checkpoint".to_owned(), file))
        .into_iter()
        .collect()
}

#[test]
fn every_target_is_one_of_libfuzzer() {
    let manifest = fs::read_to_string(test_support::repository("fuzz/Cargo.toml"));
    let manifest = manifest.expect("the manifest");
    for Target { name, .. } in TARGETS {
        let path = format!("fuzz_targets/{name}.rs");
        assert!(
            manifest.contains(&format!("name = \"{name}\"\npath = \"{path}\"")),
            "{name}"
        );
        let source = fs::read_to_string(test_support::repository(&format!("fuzz/{path}")));
        let call = format!("fuzz_targets::{name}(");
        assert!(source.expect("its source").contains(&call), "{name}");
    }
}
