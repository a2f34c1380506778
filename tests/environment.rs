//! The environment of a run may be odd: names and variables that are not text,
//! a long way to the temporary folder, standard output on a full disk. A run
//! works all the same, or says what is wrong.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use test_support::{Place, agent, fed, fleet, sound_model};

/// Bytes that are no text.
fn odd() -> &'static OsStr {
    OsStr::from_bytes(b"odd-\xff")
}

#[test]
fn names_that_are_not_text_are_names_all_the_same() {
    let place = Place::new();
    let text = fleet("ticks = 5", &[agent("one", "counter", "")]);
    fs::write(place.path("").join(odd()), text).expect("a fleet file");
    let mut command = place.command(&["run"]);
    command.arg(odd()).args(["--json", "--dir"]);
    command.arg(OsStr::from_bytes(b"run-\xff"));
    let json = place.start(command).end().with_code(0).json();
    assert_eq!(json["ticks"], 5);
    let mut command = place.command(&[]);
    command.arg(odd());
    place.start(command).end().with_code(2);
}

#[test]
fn variables_that_are_not_text_do_no_harm() {
    let place = Place::new();
    place.write("fleet.toml", fed("", sound_model("")));
    let mut command = place.command(&["run", "fleet.toml"]);
    command.env(odd(), odd()).env("CUDA_ODD", odd());
    place.start(command).end().with_code(0);
}

#[test]
fn a_long_way_to_the_temporary_folder_is_no_obstacle() {
    let place = Place::new();
    place.write("fleet.toml", fed("", sound_model("")));
    let long = place.path(&"long".repeat(30));
    fs::create_dir(&long).expect("a folder");
    let mut command = place.command(&["run", "fleet.toml"]);
    command.env("TMPDIR", &long);
    place.start(command).end().with_code(0);
    let left = fs::read_dir(&long).expect("a folder").count();
    assert_eq!(left, 0, "what was tried there is gone");
}

#[test]
fn words_that_cannot_be_written_are_missed() {
    let place = Place::new();
    place.fine(&["demo", "--agents", "2", "--ticks", "5", "--dir", "run"]);
    for arguments in [&["verify", "run", "--json"][..], &["inspect", "run"]] {
        let full = File::options().write(true).open("/dev/full");
        let mut command = place.command(arguments);
        command
            .stdout(full.expect("a device"))
            .stderr(Stdio::piped());
        let said = command.output().expect("it starts");
        let err = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(5), "{err}");
        assert!(err.contains("standard output"), "{err}");
    }
}
