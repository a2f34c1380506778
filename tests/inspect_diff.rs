//! `lockstep inspect` shows what happened in a run; `lockstep diff` names the
//! first difference between two runs: tick, agent, field and byte.

#[path = "shared/rewrite.rs"]
mod rewrite;

use rewrite::{forge_result, rewrite};
use supervisor::record::TickRecord;
use test_support::{Place, agent, fleet};

fn demo(place: &Place) {
    place.fine(&["demo", "--agents", "3", "--ticks", "20", "--dir", "run"]);
}

#[test]
fn inspect_shows_the_whole_run() {
    let place = Place::new();
    demo(&place);
    let said = place.fine(&["inspect", "run"]);
    for word in [
        "fleet \"demo\", seed 1",
        "engine.name \"onnxruntime 1.31.",
        "wasmtime \"48.",
        "models[0]: name \"policy\", version \"1\"",
        "provider \"cpu\"",
        "pole-2",
        "referee",
        "20 ticks",
        "sealed    finished",
    ] {
        assert!(said.out.contains(word), "{word:?}: {said}");
    }
    let verified = place.verified("run");
    assert!(
        said.out
            .contains(verified["chain"].as_str().expect("a chain")),
        "{said}"
    );
}

#[test]
fn inspect_shows_one_tick_and_one_agent() {
    let place = Place::new();
    demo(&place);
    let tick = place.fine(&["inspect", "run", "--tick", "5"]).out;
    for word in [
        "tick 5",
        "results[0]: agent \"pole-0\", request",
        "agent \"pole-0\", status completed",
        "agent \"pole-2\", status completed",
        "submit: request",
        "inputs.observation: f32[1,4]",
        "send: to \"referee\"",
        "emit: topic \"poles\"",
    ] {
        assert!(tick.contains(word), "{word:?}: {tick}");
    }
    let one = place
        .fine(&["inspect", "run", "--tick", "5", "--agent", "pole-1"])
        .out;
    assert!(
        one.contains("agent \"pole-1\", status completed")
            && !one.contains("agent \"pole-0\"")
            && !one.contains("agent \"referee\""),
        "{one}"
    );
    let all = place.fine(&["inspect", "run", "--agent", "referee"]).out;
    assert_eq!(
        all.matches("agent \"referee\", status completed").count(),
        20,
        "{all}"
    );
    assert!(!all.contains("agent \"pole-1\""), "{all}");
}

#[test]
fn inspect_says_in_json_what_it_shows() {
    let place = Place::new();
    place.fine(&["demo", "--agents", "2", "--ticks", "5", "--dir", "run"]);
    let whole = place.fine(&["inspect", "run", "--json"]).json();
    assert_eq!(whole["ticks"], 5);
    assert_eq!(whole["chain"], place.verified("run")["chain"]);
    assert_eq!(whole["sealed"], "finished");
    assert_eq!(whole["agents"].as_array().map(Vec::len), Some(3));
    assert_eq!(whole["models"][0]["name"], "policy");
    assert_eq!(whole["header"]["agents"][2]["name"], "referee");
    let arguments = ["inspect", "run", "--tick", "5", "--agent", "referee"];
    let text = place.fine(&arguments).out;
    let json = place.fine(&[&arguments[..], &["--json"]].concat()).json();
    let outcome = &json["records"][0]["outcomes"][0];
    assert_eq!(
        (&outcome["agent"], &outcome["status"]),
        (&"referee".into(), &"completed".into()),
        "{json}"
    );
    assert_eq!(
        json["records"][0]["outcomes"].as_array().map(Vec::len),
        Some(1)
    );
    let told = json["text"].as_str().expect("a text");
    assert!(told.starts_with("tick 5"), "{json}");
    assert_eq!(text.trim_end(), told.trim_end());
}

#[test]
fn inspect_refuses_what_the_run_does_not_have() {
    let place = Place::new();
    demo(&place);
    place
        .lockstep(&["inspect", "run", "--agent", "pole-9"])
        .with_code(2)
        .naming(&["\"pole-9\"", "pole-0"]);
    place
        .lockstep(&["inspect", "run", "--tick", "21"])
        .with_code(2)
        .naming(&["21", "20"]);
    place
        .lockstep(&["inspect", "elsewhere"])
        .with_code(2)
        .naming(&["elsewhere", "no run"]);
    place
        .lockstep(&["inspect", "run", "--tick", "0"])
        .with_code(2);
}

#[test]
fn equal_runs_are_equal() {
    let place = Place::new();
    demo(&place);
    rewrite(&place.path("run"), &place.path("copy"), |_| {}, |_, _| {});
    let said = place.fine(&["diff", "run", "copy", "--json"]);
    assert_eq!(
        (&said.json()["equal"], said.json()["difference"].is_null()),
        (&true.into(), true),
        "{said}"
    );
}

/// What `diff` says of a run and the same one with a change, from both sides.
fn difference(place: &Place, name: &str, change: impl FnMut(u64, &mut TickRecord)) -> String {
    rewrite(&place.path("run"), &place.path(name), |_| {}, change);
    place.lockstep(&["diff", name, "run"]).with_code(1);
    let said = place
        .lockstep(&["diff", "run", name, "--json"])
        .with_code(1);
    let json = said.json();
    assert_eq!(json["equal"], false);
    let difference = json["difference"]
        .as_str()
        .expect("a difference")
        .to_owned();
    assert!(
        said.out.contains(&difference),
        "people and scripts are told the same: {said}"
    );
    difference
}

#[test]
fn the_first_difference_is_named() {
    let place = Place::new();
    demo(&place);
    let named = |difference: &str, words: &[&str]| {
        for word in words {
            assert!(difference.contains(word), "{word:?} is not in {difference}");
        }
    };
    let fuel = difference(&place, "fuel", |tick, record| {
        // Later differences, and later agents, are not the first.
        if tick >= 7 {
            record.outcomes[1].fuel_used ^= 1;
            record.outcomes[2].fuel_used ^= 1;
        }
    });
    named(
        &fuel,
        &[
            "tick 7",
            "\"pole-1\"",
            "fuel_used",
            "left:",
            "right:",
            "byte",
        ],
    );
    let result = difference(&place, "result", |tick, record| {
        if tick == 11 {
            forge_result(&mut record.results[2], 3, 0x80);
        }
    });
    named(
        &result,
        &[
            "tick 11",
            "\"pole-2\"",
            "results[2].outcome",
            "element 0",
            "byte",
        ],
    );
    let lost = difference(&place, "lost", |tick, record| {
        if tick == 15 {
            record.outcomes[0].effects.pop();
        }
    });
    named(&lost, &["tick 15", "\"pole-0\"", "outcomes[0].effects["]);
}

#[test]
fn the_first_byte_that_differs_is_the_one() {
    let place = Place::new();
    place.write(
        "fleet.toml",
        fleet(
            "ticks = 6",
            &[agent("one", "counter", "settings = { emit_every = 1 }")],
        ),
    );
    place.fine(&["run", "fleet.toml", "--dir", "run"]);
    let said = difference(&place, "other", |tick, record| {
        if tick == 4 {
            record.outcomes[0].fuel_used += 1;
        }
    });
    // The record is the payload behind the header of 96 bytes, and its bytes are in the file.
    let read = |run: &str| std::fs::read(place.segment(run)).expect("a journal");
    let (left, right) = (read("run"), read("other"));
    let first = left
        .iter()
        .zip(&right)
        .position(|(left, right)| left != right)
        .expect("a difference");
    let start = left
        .windows(8)
        .enumerate()
        .rev()
        .find(|(at, bytes)| bytes == b"LKJ-RECD" && *at <= first)
        .expect("a record")
        .0;
    let expected = format!(
        "byte {} of the record: {:#04x} and {:#04x}",
        first - start - 96,
        left[first],
        right[first]
    );
    assert!(said.contains(&expected), "{expected:?} is not in {said}");
}

#[test]
fn runs_of_different_things_differ_in_their_headers() {
    let place = Place::new();
    demo(&place);
    place.fine(&[
        "demo", "--agents", "3", "--ticks", "20", "--seed", "9", "--dir", "seed",
    ]);
    let said = place.lockstep(&["diff", "run", "seed"]).with_code(1);
    assert!(
        said.out.contains("headers")
            && said.out.contains("seed")
            && said.out.contains("left:  1")
            && said.out.contains("right: 9"),
        "{said}"
    );
}
