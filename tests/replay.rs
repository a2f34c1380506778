//! A run can be executed again from its directory alone, and comes out the same,
//! byte for byte: with the journaled results of the models (`replay`) and with
//! the models run again (`replay --reinfer`), also where agents trap, run out of
//! fuel or ask for too much. A run that was tampered with, or was made by
//! another build, is not said to agree. Replay changes nothing and emits nothing.

#[path = "shared/rewrite.rs"]
mod rewrite;

use rewrite::{forge_result, rewrite};
use shm_protocol::agent_to_supervisor::Effect;
use test_support::{Place, agent, chain, files, fleet, repository};

#[test]
fn both_kinds_of_replay_agree_and_leave_the_run_alone() {
    let place = Place::new();
    let ran = place
        .fine(&[
            "demo", "--agents", "8", "--ticks", "100", "--dir", "run", "--hosts", "2", "--json",
        ])
        .json();
    let before = files(&place.path("run"));
    assert_eq!(place.replays("run"), chain(&ran));
    assert!(
        files(&place.path("run")) == before,
        "a replay writes nothing"
    );
    let said = place.fine(&["replay", "run", "--json"]);
    assert!(
        said.out.contains("inferences  800 taken from the journal"),
        "{said}"
    );
    let replay = said.json();
    for member in [
        "ticks",
        "agents",
        "steps",
        "inferences",
        "engine",
        "provider",
        "chain",
    ] {
        assert_eq!(replay[member], ran[member], "{member}");
    }
}

#[test]
fn the_examples_replay() {
    let place = Place::new();
    for (example, ticks) in [
        ("cartpole", "20"),
        ("counter", "250"),
        ("mlp", "30"),
        ("pingpong", "100"),
    ] {
        let file = repository(&format!("examples/{example}.toml"));
        let ran = place
            .fine(&["run", &file, "--ticks", ticks, "--dir", example, "--json"])
            .json();
        assert_eq!(ran["ticks"].to_string(), ticks, "{example}");
        assert_eq!(place.replays(example), chain(&ran), "{example}");
    }
}

#[test]
fn the_demo_as_a_file_is_the_demo() {
    let place = Place::new();
    let demo = place
        .fine(&["demo", "--ticks", "15", "--dir", "demo", "--json"])
        .json();
    let file = place
        .fine(&[
            "run",
            &repository("examples/cartpole.toml"),
            "--ticks",
            "15",
            "--dir",
            "file",
            "--json",
        ])
        .json();
    assert_eq!(chain(&demo), chain(&file));
    place.fine(&["diff", "demo", "file"]);
}

#[test]
fn agents_that_misbehave_do_so_again() {
    let place = Place::new();
    let ways = [
        "unreachable",
        "panic",
        "divide",
        "out-of-bounds",
        "spin",
        "memory",
        "recurse",
        "flood",
        "large",
        "nan",
    ];
    let fails = [
        "unreachable",
        "panic",
        "divide",
        "out-of-bounds",
        "spin",
        "recurse",
    ];
    let mut tables = Vec::new();
    for way in ways {
        for on_failure in ["halt", "restart"] {
            let keys = format!(
                "settings = {{ what = \"{way}\", at = 3, emit_every = 1 }}\nmemory = \"16 MiB\"\non_failure = \"{on_failure}\""
            );
            tables.push(agent(&format!("{way}-{on_failure}"), "trouble", &keys));
        }
    }
    place.write("fleet.toml", fleet("ticks = 8\nhosts = 2", &tables));
    let ran = place
        .fine(&["run", "fleet.toml", "--dir", "run", "--json"])
        .json();
    // An agent that fails in tick 3 and halts has three steps, all others have eight.
    assert_eq!(
        ran["steps"],
        fails.len() * (3 + 8) + (ways.len() - fails.len()) * 16
    );
    assert_eq!(place.replays("run"), chain(&ran));
    place.verified("run");
    let tick = |agent: &str| {
        place
            .fine(&["inspect", "run", "--tick", "3", "--agent", agent])
            .out
    };
    assert!(tick("divide-halt").contains("status.trapped \"wasm trap: integer divide by zero"));
    assert!(tick("spin-restart").contains("status out_of_fuel, fuel_used 10000000"));
    assert!(tick("flood-halt").contains("emit: topic \"flood\""));
    assert!(tick("large-halt").contains("send=too-large emit=too-large"));
    // A memory of its own begins anew: the agent counts from one again.
    let count = |agent: &str| {
        place
            .fine(&["inspect", "run", "--tick", "5", "--agent", agent])
            .out
    };
    assert!(
        count("divide-restart").contains("topic \"count\", payload \"2\""),
        "{}",
        count("divide-restart")
    );
    assert!(
        count("memory-restart").contains("topic \"count\", payload \"5\""),
        "{}",
        count("memory-restart")
    );
}

#[test]
fn a_run_of_no_length_replays() {
    let place = Place::new();
    place.write(
        "fleet.toml",
        fleet("ticks = 1", &[agent("one", "counter", "")]),
    );
    let ran = place
        .fine(&["run", "fleet.toml", "--dir", "run", "--json"])
        .json();
    assert_eq!(place.replays("run"), chain(&ran));
}

#[test]
fn a_component_that_was_replaced_is_refused() {
    let place = Place::new();
    place.write(
        "fleet.toml",
        fleet("ticks = 5", &[agent("one", "counter", "")]),
    );
    place.fine(&["run", "fleet.toml", "--dir", "run"]);
    let objects = files(&place.path("run/objects"));
    let (name, _) = objects.first_key_value().expect("a component");
    let object = place.path("run/objects").join(name);
    std::fs::copy(repository("agents/built/pingpong.wasm"), &object).expect("another component");
    let name = name.to_string_lossy();
    place
        .lockstep(&["replay", "run"])
        .with_code(1)
        .naming(&[&name, "damaged"]);
    std::fs::remove_file(&object).expect("no component");
    place
        .lockstep(&["replay", "run"])
        .with_code(1)
        .naming(&[&name, "missing"]);
}

#[test]
fn a_run_of_another_build_is_refused_with_both_values() {
    let place = Place::new();
    place.write(
        "fleet.toml",
        fleet("ticks = 5", &[agent("one", "counter", "")]),
    );
    place.fine(&["run", "fleet.toml", "--dir", "run"]);
    rewrite(
        &place.path("run"),
        &place.path("older"),
        |header| header.lockstep = "0.0.9".to_owned(),
        |_, _| {},
    );
    rewrite(
        &place.path("run"),
        &place.path("newer"),
        |header| header.wasmtime = "49.0.0".to_owned(),
        |_, _| {},
    );
    let this = env!("CARGO_PKG_VERSION");
    place
        .lockstep(&["replay", "older"])
        .with_code(2)
        .naming(&["lockstep 0.0.9", this]);
    place
        .lockstep(&["replay", "newer"])
        .with_code(2)
        .naming(&["wasmtime 49.0.0", agent_host::WASMTIME_VERSION]);
    place.verified("older");
}

#[test]
fn an_outcome_that_was_forged_is_found() {
    let place = Place::new();
    place.write(
        "fleet.toml",
        fleet(
            "ticks = 20",
            &[agent("one", "counter", ""), agent("two", "counter", "")],
        ),
    );
    place.fine(&["run", "fleet.toml", "--dir", "run"]);
    let forge = |tick, record: &mut supervisor::record::TickRecord| {
        if tick == 13 {
            record.outcomes[1].fuel_used += 1;
        }
    };
    rewrite(&place.path("run"), &place.path("forged"), |_| {}, forge);
    place.verified("forged");
    let said = place.lockstep(&["replay", "forged", "--json"]).with_code(1);
    let json = said.json();
    assert_eq!(
        (&json["diverged"], &json["ticks"], &json["complete"]),
        (&true.into(), &12.into(), &false.into())
    );
    for word in ["tick 13", "two", "fuel_used", "byte"] {
        assert!(
            json["difference"]
                .as_str()
                .is_some_and(|difference| difference.contains(word)),
            "{word}: {said}"
        );
    }
}

#[test]
fn a_result_that_was_forged_is_found() {
    let place = Place::new();
    place.fine(&["demo", "--agents", "3", "--ticks", "20", "--dir", "run"]);
    let forge = |tick, record: &mut supervisor::record::TickRecord| {
        if tick == 9 {
            forge_result(&mut record.results[1], 2, 0x40);
        }
    };
    rewrite(&place.path("run"), &place.path("forged"), |_| {}, forge);
    place.verified("forged");
    // The agent takes the forged answer and does something else than the journal says.
    let said = place.lockstep(&["replay", "forged", "--json"]).with_code(1);
    let difference = said.json()["difference"].to_string();
    assert!(
        difference.contains("tick 9")
            && difference.contains("pole-1")
            && difference.contains("outcome"),
        "{said}"
    );
    // The model itself does not answer that.
    let said = place
        .lockstep(&["replay", "forged", "--reinfer", "--json"])
        .with_code(1);
    let difference = said.json()["difference"].to_string();
    assert!(
        difference.contains("tick 9")
            && difference.contains("pole-1")
            && difference.contains("result"),
        "{said}"
    );
}

#[test]
fn a_message_that_was_forged_is_found() {
    let place = Place::new();
    place.fine(&[
        "run",
        &repository("examples/pingpong.toml"),
        "--ticks",
        "12",
        "--dir",
        "run",
    ]);
    let forge = |tick, record: &mut supervisor::record::TickRecord| {
        for effect in record.outcomes[0].effects.iter_mut().filter(|_| tick == 5) {
            if let Effect::Send { payload, .. } = effect {
                payload[0] ^= 1;
            }
        }
    };
    rewrite(&place.path("run"), &place.path("forged"), |_| {}, forge);
    let said = place.lockstep(&["replay", "forged"]).with_code(1);
    assert!(
        said.out
            .contains("tick 5, agent \"ping\" differs in outcomes[0].effects[0].send.payload"),
        "{said}"
    );
}
