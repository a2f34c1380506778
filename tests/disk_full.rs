//! A disk that fills up while a run is journaled ends the run with exit code 5
//! and a message that names file, tick and next step. The ticks before are kept:
//! the journal verifies, says what is torn, and replays. One that is full at the
//! start leaves nothing.

use std::path::Path;
use test_support::{Place, Said, agent, fleet, repository, skipped};

/// Mounts a small disk, runs the binary on it and copies what is there out. The disk lives in a mount namespace of its
/// own and ends with it. The shell's own exit codes are none of ours.
const SCRIPT: &str = "set -u\n\
    mount -t tmpfs -o size=\"$1\" lockstep-test \"$2\" || exit 90\n\
    shift; disk=\"$1\"; shift; copy=\"$1\"; shift; filler=\"$1\"; shift\n\
    head -c \"$filler\" /dev/zero > \"$disk/filler\" || exit 91\n\
    \"$@\"; code=$?\n\
    rm \"$disk/filler\" && cp -a \"$disk/.\" \"$copy\" || exit 92\n\
    exit $code\n";

/// How to get a mount namespace: as root, or with a user namespace where those are allowed.
const NAMESPACES: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

/// Runs a fleet in `disk/run` on a disk of so many KiB of which so many are taken; none where there can be no such disk.
fn run_on_disk(place: &Place, kibibytes: u32, taken: u32, more: &[&str]) -> Option<Said> {
    for folder in ["disk", "copy"] {
        std::fs::create_dir(place.path(folder)).expect("a folder");
    }
    let may = |namespace: &&&[&str]| {
        let mut probe = place.program("unshare");
        probe
            .args(**namespace)
            .args(["mount", "-t", "tmpfs", "lockstep-test"])
            .arg(place.path("disk"));
        probe
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let Some(namespace) = NAMESPACES.iter().find(may) else {
        skipped(
            "a full disk",
            "this user may not mount a disk of its own (unshare --mount)",
        );
        return None;
    };
    let mut command = place.program("unshare");
    command
        .args(*namespace)
        .args(["sh", "-c", SCRIPT, "sh", &format!("{kibibytes}k")]);
    command
        .args([place.path("disk"), place.path("copy")])
        .arg((u64::from(taken) << 10).to_string());
    command
        .args([
            env!("CARGO_BIN_EXE_lockstep"),
            "run",
            "fleet.toml",
            "--dir",
            "disk/run",
        ])
        .args(more);
    Some(place.start(command).end())
}

#[test]
fn a_journal_that_fills_the_disk_is_kept_up_to_there() {
    for durability in ["process", "batch", "sync"] {
        let place = Place::new();
        place.write("fleet.toml", fleet("", &[agent("one", "counter", "")]));
        let Some(said) = run_on_disk(&place, 600, 0, &["--durability", durability]) else {
            return;
        };
        let said = said.with_code(5).naming(&[
            "cannot write tick",
            "disk/run/journal/00000001.lkj",
            "No space left",
            "free some disk space",
        ]);
        let tick: u64 = said
            .err
            .split("write tick ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
            .expect("a tick");
        let verified = place.verified("copy/run");
        assert_eq!(verified["ticks"], tick - 1, "{said}");
        assert!(verified["sealed"].is_null(), "{verified}");
        let torn = !said.err.contains(": 0 of ");
        assert_eq!(verified["torn"].is_string(), torn, "{said}{verified}");
        if torn {
            assert!(
                place
                    .fine(&["verify", "copy/run"])
                    .out
                    .contains("unfinished record at byte")
            );
        }
        place.replays("copy/run");
    }
}

#[test]
fn an_outbox_that_fills_the_disk_is_named_too() {
    let place = Place::new();
    place.write(
        "fleet.toml",
        fleet(
            "",
            &[agent(
                "one",
                "trouble",
                "count = 8\nsettings = { emit_every = 1 }",
            )],
        ),
    );
    let Some(said) = run_on_disk(&place, 900, 0, &["--durability", "process"]) else {
        return;
    };
    let said = said.with_code(5).naming(&[
        "cannot write",
        "disk/run/",
        "No space left",
        "free some disk space",
    ]);
    let verified = place.verified("copy/run");
    assert!(
        verified["ticks"].as_u64() > Some(0) && verified["sealed"].is_null(),
        "{said}{verified}"
    );
    place.replays("copy/run");
}

#[test]
fn a_disk_that_is_full_at_the_start_gets_nothing() {
    let component = std::fs::metadata(repository("agents/built/counter.wasm"))
        .expect("a component")
        .len();
    // Room for a part of the component.
    let room = u32::try_from(component / 1024 / 2).expect("a small component");
    let place = Place::new();
    place.write("fleet.toml", fleet("", &[agent("one", "counter", "")]));
    let Some(said) = run_on_disk(&place, 400, 400 - room, &[]) else {
        return;
    };
    said.with_code(5).naming(&[
        "cannot write",
        "disk/run/objects/",
        "No space left",
        "free some disk space",
    ]);
    let left: Vec<_> = std::fs::read_dir(place.path("copy"))
        .expect("a folder")
        .collect();
    assert!(
        left.is_empty() && !Path::exists(&place.path("copy/run")),
        "{left:?}"
    );
}
