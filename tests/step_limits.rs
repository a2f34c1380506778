//! Steps that ask and are answered in tens of mebibytes, where the fleet lets them.

use test_support::{Place, agent, chain, fleet, model};

/// A fleet whose agent asks about so many rows, 256 bytes each there and 64 back.
fn asking(rows: u32, keys: &str) -> String {
    let feeder = format!(
        "memory = \"512 MiB\"\nfuel = 100_000_000_000\nsettings = {{ rows = {rows}, emit_every = 1 }}\n"
    );
    let tables = [agent("feeder", "mlp", &feeder), model("mlp", "mlp", "")];
    fleet(&format!("ticks = 4\n{keys}"), &tables)
}

#[test]
fn tens_of_mebibytes_go_there_and_back_whatever_is_lost() {
    let place = Place::new();
    place.write(
        "fleet.toml",
        asking(
            70_000,
            "max_step_bytes = \"20 MiB\"\ncheckpoint_ticks = 1\ncheckpoint_min_ms = 0",
        ),
    );
    let run = place
        .fine(&["run", "fleet.toml", "--dir", "run", "--json"])
        .json();
    let said = place.fine(&["inspect", "run", "--tick", "3"]);
    assert!(said.out.contains("f32[70000,16]"), "{said}");
    assert!(!said.out.contains("refused"), "{said}");
    place.fine(&["replay", "run", "--reinfer"]);
    let rule = |point: &str, of: &str| {
        format!("[[rules]]\npoint = \"{point}\"\nkind = \"kill\"\ntick = 2\n{of}\n")
    };
    let plan = rule("after-run", "inference_host = true") + &rule("in-step", "agent = \"feeder\"");
    place.write("faults.toml", plan);
    let lost = [
        "run",
        "fleet.toml",
        "--dir",
        "lost",
        "--json",
        "--faults",
        "faults.toml",
    ];
    let lost = place.fine(&lost).json();
    assert_eq!(lost["restarts"], 2, "{lost}");
    assert_eq!(chain(&lost), chain(&run));
}

#[test]
fn a_step_over_the_limit_is_refused_and_names_the_key_to_raise() {
    let place = Place::new();
    place.write("fleet.toml", asking(10_000, "max_step_bytes = \"2 MiB\""));
    place.fine(&["run", "fleet.toml", "--dir", "refused"]);
    let said = place.fine(&["inspect", "refused", "--tick", "3"]);
    assert!(
        said.out
            .contains("the request was refused: Refusal::TooLarge"),
        "{said}"
    );
    for (size, words) in [("512 KiB", "below the 1 MiB"), ("1 GiB", "above 256 MiB")] {
        place.refuse(
            &asking(1, &format!("max_step_bytes = {size:?}")),
            2,
            &["`max_step_bytes`", words],
        );
    }
}
