//! A replay that runs the models on a provider of its own says how far its
//! results are from the journal's, in units in the last place, and whether an
//! agent would have decided otherwise. Numbers that are not finite are passed on
//! or refused, as the fleet says.

#[path = "shared/rewrite.rs"]
mod rewrite;

use rewrite::{forge_result, rewrite};
use serde_json::json;
use shm_protocol::agent_to_supervisor::Effect;
use supervisor::record::TickRecord;
use test_support::{Place, agent, fleet, repository};

#[test]
fn on_the_same_provider_not_one_bit_is_apart() {
    let place = Place::new();
    place.fine(&["demo", "--agents", "3", "--ticks", "20", "--dir", "run"]);
    let said = place.fine(&["replay", "run", "--reinfer", "--provider", "cpu", "--json"]);
    assert!(
        said.out.contains("no agent would have decided otherwise"),
        "{said}"
    );
    let output = &said.json()["outputs"][0];
    // Each of three poles hears of 19 answers, of one number each.
    assert_eq!(
        (&output["model"], &output["elements"]),
        (&json!("policy"), &json!(57))
    );
    assert_eq!(
        (&output["differing_elements"], &output["max_ulp"]),
        (&json!(0), &json!(0))
    );
}

#[test]
fn how_far_results_are_apart_is_said_with_its_place() {
    let place = Place::new();
    place.fine(&["demo", "--agents", "3", "--ticks", "20", "--dir", "run"]);
    let forge = |tick, record: &mut TickRecord| {
        if tick == 9 {
            // The lowest byte of a number: seven of its neighbours at most lie between.
            forge_result(&mut record.results[1], 0, 0x07);
        }
    };
    rewrite(&place.path("run"), &place.path("other"), |_| {}, forge);
    let said = place.fine(&[
        "replay",
        "other",
        "--reinfer",
        "--provider",
        "cpu",
        "--json",
    ]);
    let output = &said.json()["outputs"][0];
    assert_eq!(output["differing_elements"], 1, "{said}");
    let most = output["max_ulp"].as_u64().expect("both are numbers");
    assert!((1..=7).contains(&most), "{said}");
    assert_eq!(
        output["max_ulp_at"],
        json!({"tick": 9, "agent": "pole-1", "request": 7, "element": 0})
    );
    assert!(
        said.out.contains(&format!(
            "at most {most} ULP apart, in tick 9 for agent pole-1"
        )),
        "{said}"
    );
}

#[test]
fn an_agent_that_would_have_decided_otherwise_is_named() {
    let place = Place::new();
    place.fine(&["demo", "--agents", "3", "--ticks", "20", "--dir", "run"]);
    let forge = |tick, record: &mut TickRecord| {
        let effects = record.outcomes[2].effects.iter_mut();
        if tick == 9 {
            let sent = effects.filter_map(|effect| match effect {
                Effect::Send { payload, .. } => payload.first_mut(),
                _ => None,
            });
            sent.for_each(|byte| *byte ^= 1);
        }
    };
    rewrite(&place.path("run"), &place.path("other"), |_| {}, forge);
    let said = place
        .lockstep(&[
            "replay",
            "other",
            "--reinfer",
            "--provider",
            "cpu",
            "--json",
        ])
        .with_code(1);
    assert!(
        said.out.contains("tick 9") && said.out.contains("pole-2"),
        "{said}"
    );
}

#[test]
fn a_provider_that_is_not_there_is_refused() {
    let place = Place::new();
    place.fine(&["demo", "--agents", "1", "--ticks", "3", "--dir", "run"]);
    let replay = |arguments: &[&str]| place.lockstep(&[&["replay", "run"], arguments].concat());
    replay(&["--reinfer", "--provider", "gpu"])
        .with_code(2)
        .naming(&["gpu", "cuda"]);
    replay(&["--provider", "cpu"])
        .with_code(2)
        .naming(&["--reinfer"]);
    replay(&["--reinfer", "--provider", "cuda"])
        .with_code(3)
        .naming(&["cuda", "policy"]);
}

/// A fleet whose one agent adds `a` and `b`, of which one number is `odd`.
fn adding(odd: &str, keys: &str) -> String {
    let settings = format!(
        "settings = {{ model = \"sum\", \"input a\" = \"float32[1,3] {odd}\", \"input b\" = \"int64[1,3] AQAAAAAAAAACAAAAAAAAAAMAAAAAAAAA\" }}"
    );
    let file = repository("models/testdata/two_inputs.onnx");
    fleet(
        "ticks = 4",
        &[
            agent("asks", "asker", &settings),
            format!("[[models]]\nname = \"sum\"\nfile = \"{file}\"\n{keys}\n"),
        ],
    )
}

/// What went out of the run `run`.
fn outbox(place: &Place) -> String {
    std::fs::read_to_string(place.path("run/outbox.jsonl")).expect("an outbox")
}

#[test]
fn numbers_that_are_not_finite_follow_the_fleets_setting() {
    // 1, NaN, 3 and 1, 2, 3.
    let (odd, even) = ("AACAPwAAwH8AAEBA", "AACAPwAAAEAAAEBA");
    for (input, keys, goes_through) in [
        (odd, "", true),
        (odd, "nonfinite = \"pass\"", true),
        (odd, "nonfinite = \"reject\"", false),
        (even, "nonfinite = \"reject\"", true),
    ] {
        let place = Place::new();
        place.write("fleet.toml", adding(input, keys));
        place.fine(&["run", "fleet.toml", "--dir", "run"]);
        let said = outbox(&place);
        assert_eq!(said.contains("output sum"), goes_through, "{keys}: {said}");
        assert_eq!(said.contains("failed"), !goes_through, "{keys}: {said}");
        place.replays("run");
    }
}
