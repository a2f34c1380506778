//! A result is the same alone or among hundreds, before and after a crash of the
//! inference host, in the run and in `replay --reinfer`, for models of many
//! architectures.

use std::collections::BTreeMap;
use std::fs;
use test_support::{Place, agent, chain, fleet, model};

/// The models, by their files. The scale of the last one is measured over the whole batch, so it must run alone.
const MODELS: [&str; 9] = [
    "mlp",
    "arch_conv",
    "arch_gru",
    "arch_lstm",
    "arch_transformer",
    "arch_norm",
    "arch_fp16",
    "arch_int8",
    "dynamic_quantize",
];

/// An agent for each model, and so many others for each that ask too. The inputs of an agent follow from its number,
/// so those that are watched come first.
fn fleet_with(others: usize) -> String {
    let asks = |name: String, file: &str, keys: &str| {
        let settings = format!("settings = {{ model = \"{file}\", emit_every = 5 }}");
        agent(&name, "mlp", &format!("{keys}\n{settings}"))
    };
    let watched = MODELS.map(|file| asks(format!("watched-{file}"), file, ""));
    let crowd = MODELS
        .iter()
        .filter(|_| others > 0)
        .map(|file| asks(format!("other-{file}"), file, &format!("count = {others}")));
    let models = MODELS.iter().map(|file| model(file, file, ""));
    let tables: Vec<String> = models.chain(watched).chain(crowd).collect();
    fleet("ticks = 30\nhosts = 2\nseed = 7", &tables)
}

/// What the watched agents have given out, by agent and tick.
fn answers(place: &Place, run: &str) -> BTreeMap<(String, u64), String> {
    let outbox = fs::read_to_string(place.path(run).join("outbox.jsonl")).expect("an outbox");
    outbox
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter(|line| {
            line["agent"]
                .as_str()
                .is_some_and(|agent| agent.starts_with("watched"))
        })
        .map(|line| {
            let text = |key: &str| line[key].as_str().expect("a text").to_owned();
            (
                (text("agent"), line["tick"].as_u64().expect("a number")),
                text("text"),
            )
        })
        .collect()
}

#[test]
fn a_result_does_not_depend_on_neighbours_crashes_or_replays() {
    let place = Place::new();
    place.write("alone.toml", fleet_with(0));
    place.write("crowd.toml", fleet_with(30));
    place.fine(&["run", "alone.toml", "--dir", "alone"]);
    let said = place.fine(&["run", "crowd.toml", "--dir", "crowd", "--json"]);
    let json = said.json();
    for (number, file) in MODELS.iter().enumerate() {
        let joined = json["models"][number]["batching"] == "batched";
        assert_eq!(joined, *file != "dynamic_quantize", "{file}: {said}");
    }
    let (alone, crowd) = (answers(&place, "alone"), answers(&place, "crowd"));
    assert_eq!(alone.len(), MODELS.len() * 6);
    assert_eq!(alone, crowd, "alone and among others");
    let different: std::collections::BTreeSet<_> = alone.values().collect();
    assert_eq!(
        different.len(),
        alone.len(),
        "every answer is one of its own"
    );
    assert_eq!(place.replays("crowd"), chain(&json));
    // The host is lost before, between and after its answers.
    let rules = ["before-batch", "mid-answer", "after-answer"]
        .iter()
        .enumerate();
    let plan: String = rules
        .map(|(number, point)| {
            let tick = 4 + 7 * number;
            format!("[[rules]]\ntick = {tick}\npoint = \"{point}\"\nkind = \"segfault\"\n")
        })
        .collect();
    place.write("plan.toml", plan);
    let said = place.fine(&[
        "run",
        "crowd.toml",
        "--dir",
        "crashed",
        "--faults",
        "plan.toml",
        "--json",
    ]);
    assert_eq!(said.json()["restarts"], 3, "{said}");
    assert_eq!(chain(&said.json()), chain(&json));
}
