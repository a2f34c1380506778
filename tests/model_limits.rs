//! What is refused of other versions of a model before a run begins, and what
//! becomes of a model that needs more memory than it may have.

use test_support::{Place, agent, change, fleet, model, replace};

#[test]
fn another_version_takes_and_gives_the_same_or_is_refused() {
    let place = Place::new();
    let with = |changes: &[String]| {
        let mut tables = vec![agent("feeder", "mlp", ""), model("mlp", "mlp", "")];
        tables.extend_from_slice(changes);
        fleet("ticks = 30", &tables)
    };
    place.refuse(
        &with(&[replace(9, "2", "two_inputs")]),
        2,
        &["mlp", "version 2", "x f32[?,64]", "a f32[?,3]"],
    );
    place.refuse(
        &with(&[replace(9, "2", "corrupt")]),
        2,
        &["mlp", "cannot be loaded"],
    );
    place.refuse(
        &with(&[replace(1, "2", "arch_gru")]),
        2,
        &["fleet.toml", "`tick`"],
    );
    place.refuse(
        &with(&[change(9, "action = \"load\"")]),
        2,
        &["is loaded already", "loaded = false"],
    );
    place.refuse(
        &with(&[change(9, "action = \"unload\"\nversion = \"2\"")]),
        2,
        &["`version`", "action = \"replace\""],
    );
    place.refuse(
        &with(&[
            change(9, "action = \"unload\""),
            change(8, "action = \"load\""),
        ]),
        2,
        &["tick 9", "tick 8", "in the order"],
    );
    place.refuse(
        &with(&["[[changes]]\ntick = 3\nmodel = \"mpl\"\naction = \"unload\"\n".to_owned()]),
        2,
        &["\"mpl\"", "did you mean \"mlp\""],
    );
    let said = place.refuse(
        &with(&[change(9, "action = \"replce\"")]),
        2,
        &["\"replce\"", "did you mean"],
    );
    assert!(!said.err.contains("is missing"), "{said}");
    place.refuse(
        &with(&[change(9, "version = \"2\"")]),
        2,
        &["`file`", "[[changes]]"],
    );
    place.refuse(
        &with(&[replace(9, "1", "arch_gru")]),
        2,
        &["`mlp`", "two versions `1`"],
    );
}

#[test]
fn a_model_that_needs_more_memory_than_it_may_have_is_told_so() {
    let place = Place::new();
    let hungry = |mib: &str| {
        let keys = format!("batch = false\n{mib}");
        let tables = [agent("feeder", "mlp", ""), model("mlp", "hungry", &keys)];
        fleet("ticks = 6", &tables)
    };
    for (keys, is_enough) in [
        ("memory_mib = 16", false),
        ("memory_mib = 256", true),
        ("", true),
    ] {
        let run = format!("run-{}", keys.len());
        place.write("fleet.toml", hungry(keys));
        place.fine(&["run", "fleet.toml", "--dir", &run]);
        let said = place.fine(&["inspect", &run, "--tick", "3"]);
        let is_refused = said.out.contains("needs more than its 16 MiB of memory");
        assert_eq!(is_refused, !is_enough, "{said}");
        place.replays(&run);
    }
    // Without a limit, how many rows may be joined is not tried beyond all measure.
    let tables = [
        agent("feeder", "mlp", "count = 2"),
        model("mlp", "hungry", ""),
    ];
    place.write("fleet.toml", fleet("ticks = 6", &tables));
    let ran = place.fine(&["run", "fleet.toml", "--dir", "joined"]);
    // The journal has no words of the machine.
    let said = place.fine(&["inspect", "joined"]);
    let journaled = "batching.untested \"the probe could not be carried out\",";
    assert!(said.out.contains(journaled), "{said}");
    let told = "the probe failed: the probe could not run";
    assert!(ran.err.contains(told), "{ran}");
    // One that cannot even be loaded within its limit is refused before anything starts.
    let tables = [
        agent("feeder", "mlp", ""),
        model("mlp", "mlp", "memory_mib = 1"),
    ];
    place.refuse(
        &fleet("ticks = 3", &tables),
        2,
        &["mlp", "1 MiB", "memory_mib"],
    );
}
