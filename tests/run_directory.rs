//! A run directory belongs to one run and one writer. One that is in use is
//! refused with exit code 4 and the process that has it; one that holds anything
//! with exit code 2. What was there is not touched.

use rustix::process::Signal;
use std::fs;
use test_support::{Place, agent, fleet};

#[test]
fn a_run_directory_in_use_is_refused_and_unharmed() {
    let place = Place::new();
    place.write(
        "fleet.toml",
        fleet(
            "",
            &[agent("one", "counter", "settings = { emit_every = 10 }")],
        ),
    );
    let first = place.start_run("fleet.toml");
    let number = first.number().to_string();
    for arguments in [
        &["run", "fleet.toml", "--dir", "run"][..],
        &["demo", "--dir", "run"],
    ] {
        place
            .lockstep(arguments)
            .with_code(4)
            .naming(&["\"run\"", &number, "--dir"]);
    }
    // Whoever only reads is welcome.
    place.verified("run");
    first.signal(Signal::INT);
    first.end().with_code(0);
    assert_eq!(place.verified("run")["sealed"], "stopped");
    place.replays("run");
}

#[test]
fn a_run_directory_with_something_in_it_is_refused_and_unharmed() {
    let place = Place::new();
    place.write(
        "fleet.toml",
        fleet("ticks = 5", &[agent("one", "counter", "")]),
    );
    fs::create_dir(place.path("mine")).expect("a folder");
    place.write("mine/notes.txt", "do not lose");
    place
        .lockstep(&["run", "fleet.toml", "--dir", "mine"])
        .with_code(2)
        .naming(&["\"mine\"", "notes.txt", "--dir"]);
    assert_eq!(test_support::files(&place.path("mine")).len(), 1);
    place.fine(&["run", "fleet.toml", "--dir", "run"]);
    // But for the lock, whose text says who had it last.
    let kept = || {
        let mut files = test_support::files(&place.path("run"));
        files.retain(|name, _| name != "lock");
        files
    };
    let before = kept();
    place
        .lockstep(&["run", "fleet.toml", "--dir", "run"])
        .with_code(2)
        .naming(&["\"run\"", "already holds a run"]);
    assert!(kept() == before);
    place.write("file", "");
    place
        .lockstep(&["run", "fleet.toml", "--dir", "file"])
        .with_code(2)
        .naming(&["\"file\""]);
    // A folder that was there stays, emptied of what the failed start put into it.
    fs::create_dir(place.path("empty")).expect("a folder");
    place.write(
        "shy.toml",
        fleet(
            "",
            &[agent(
                "shy",
                "trouble",
                "settings = { what = \"init-error\" }",
            )],
        ),
    );
    place
        .lockstep(&["run", "shy.toml", "--dir", "empty"])
        .with_code(2);
    assert!(
        test_support::files(&place.path("empty")).is_empty()
            && fs::read_dir(place.path("empty"))
                .expect("it is there")
                .next()
                .is_none()
    );
    place.fine(&["run", "fleet.toml", "--dir", "empty"]);
}

#[test]
fn what_is_no_run_is_refused_by_all_who_read_one() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).expect("a folder");
    for command in ["verify", "replay", "inspect"] {
        place
            .lockstep(&[command, "gone"])
            .with_code(2)
            .naming(&["\"gone\"", "no run"]);
        place
            .lockstep(&[command, "folder"])
            .with_code(2)
            .naming(&["\"folder\"", "no run"]);
    }
    place
        .lockstep(&["diff", "gone", "folder"])
        .with_code(2)
        .naming(&["\"gone\""]);
}
