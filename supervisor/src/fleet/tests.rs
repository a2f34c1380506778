//! The promise of the fleet file: what is documented is accepted, what is
//! accepted is documented, and everything else is refused with the file, the
//! line, the key and the next step. How refusals read is in `snapshots/`.

use super::faults::{TargetNames, read_rule};
use super::nearest::Keys;
use super::read::{self, all_keys};
use super::renamed::RENAMED;
use super::table::keys_of;
use super::*;
use crate::faults::FaultPlan;
use crate::record::ModelDefinition;
use shm_protocol::fault::FaultPoint;
use shm_protocol::supervisor_to_agent::OnFailure;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A fleet that is right, for tests that add one thing to it.
const RIGHT: &str =
    "[fleet]\nname = \"right\"\n\n[[agents]]\nname = \"a\"\ncomponent = \"builtin:a\"\n";
const MODEL: &str = "\n[[models]]\nname = \"m\"\nfile = \"builtin:m\"\n";

mod documents;

fn parse(text: &str) -> Result<Fleet, FleetError> {
    Fleet::parse(text, Path::new("fleet.toml"))
}

/// The refusal of a text, with its trailing spaces taken away as editors do.
fn refusal(text: &str, looks_at_files: bool) -> String {
    let error = read::parse(text, Path::new("fleet.toml"), looks_at_files, None).expect_err(text);
    error
        .to_string()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

fn snapshot(name: &str, refusal: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, refusal));
}

/// The tables that the documents describe.
fn documented_tables() -> Vec<Keys> {
    let no_names = TargetNames::of(&[], &[]);
    let mut tables = all_keys().split_off(1);
    tables.push(keys_of("[[faults.rules]]", |table| {
        drop(read_rule(table, &no_names));
    }));
    tables
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn a_small_fleet_gets_the_documented_defaults() {
    let fleet = parse(&format!("{RIGHT}{MODEL}")).unwrap();
    let agent = AgentSpec {
        name: "a".into(),
        component: Source::Builtin("a".into()),
        settings: Vec::new(),
        fuel: 10_000_000,
        memory_bytes: 64 << 20,
        isolate: false,
        priority: 0,
        every: 1,
        on_failure: OnFailure::Halt,
        may_finish: false,
    };
    let model = ModelDefinition::new("m", Source::Builtin("m".into()));
    let expected = Fleet {
        name: "right".into(),
        seed: 1,
        ticks: None,
        hosts: None,
        durability: Durability::Batch,
        nan: Nan::Canonical,
        max_step_bytes: 1 << 20,
        intra_op_threads: 1,
        deadline_ms: 5_000,
        checkpoint_ticks: 64,
        checkpoint_min_ms: 100,
        checkpoints_kept: 3,
        restarts: RestartLimits {
            host: 5,
            host_seconds: 30,
            run: 20,
            run_seconds: 60,
            quarantine_after: 3,
        },
        hot_standby: true,
        pace: Pace::Free,
        agent_ready_ms: 2_000,
        inference_ready_ms: 30_000,
        load_ms: 60_000,
        on_provider_lost: OnProviderLost::Stop,
        agents: vec![agent],
        models: vec![model],
        changes: Vec::new(),
        faults: FaultPlan::default(),
    };
    assert_eq!(fleet, expected);
}

#[test]
fn a_count_writes_out_agents_that_are_alike() {
    let counted = |count: u32| {
        let agents = parse(&format!("{RIGHT}count = {count}\nfuel = 7\n"))
            .unwrap()
            .agents;
        assert!(agents.iter().all(|agent| agent.fuel == 7));
        agents
            .into_iter()
            .map(|agent| agent.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(counted(1), ["a-0"]);
    assert_eq!(counted(3), ["a-0", "a-1", "a-2"]);
}

#[test]
fn settings_reach_the_agent_as_texts_in_the_order_of_their_keys() {
    let fleet = parse(&format!(
        "{RIGHT}settings = {{ z = \"text\", big = 1_000, hex = 0xff, half = 0.5, neg = -3, on = true }}\n"
    ));
    let settings = &fleet.unwrap().agents[0].settings;
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let expected = [
        ("big", "1000"),
        ("half", "0.5"),
        ("hex", "255"),
        ("neg", "-3"),
        ("on", "true"),
        ("z", "text"),
    ];
    assert_eq!(settings, expected);
}

#[test]
fn declared_ports_keep_the_order_in_which_they_are_written() {
    let fleet = parse(&format!(
        "{RIGHT}{MODEL}inputs = {{ z = \"f32[?,4]\", a = \"i64[]\" }}\n"
    ))
    .unwrap();
    let ports: Vec<String> = fleet.models[0]
        .inputs
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(ports, ["z f32[?,4]", "a i64[]"]);
}

#[test]
fn restarts_and_checkpoints_are_taken_from_the_keys_that_say_so() {
    let keys = "checkpoint_ticks = 7\ncheckpoint_min_ms = 0\ncheckpoints_kept = 9\nrestarts_host = 0\n\
                restarts_host_s = 11\nrestarts_run = 12\nrestarts_run_s = 13\nquarantine_after = 1\n\
                hot_standby = false\nagent_ready_ms = 14\ninference_ready_ms = 15";
    let fleet = parse(&RIGHT.replace("\n\n", &format!("\n{keys}\n\n"))).unwrap();
    let expected = RestartLimits {
        host: 0,
        host_seconds: 11,
        run: 12,
        run_seconds: 13,
        quarantine_after: 1,
    };
    assert_eq!(fleet.restarts, expected);
    let checkpoints = (
        fleet.checkpoint_ticks,
        fleet.checkpoint_min_ms,
        fleet.checkpoints_kept,
    );
    assert_eq!(checkpoints, (7, 0, 9));
    let readiness = (
        fleet.hot_standby,
        fleet.agent_ready_ms,
        fleet.inference_ready_ms,
    );
    assert_eq!(readiness, (false, 14, 15));
}

#[test]
fn numbers_reach_to_the_ends_of_their_ranges() {
    let fleet =
        parse(&RIGHT.replace("\n\n", &format!("\nseed = {}\nhosts = 512\n\n", u64::MAX))).unwrap();
    assert_eq!((fleet.seed, fleet.hosts), (u64::MAX, Some(512)));
}

#[test]
fn as_many_agents_are_isolated_as_there_may_be_hosts() {
    let fleet = parse(&format!("{RIGHT}isolate = true\ncount = 512\n")).unwrap();
    assert!(fleet.agents.iter().all(|agent| agent.isolate));
}

#[test]
fn paths_start_at_the_folder_of_the_fleet_file() {
    let text = RIGHT.replace("builtin:a", "a.wasm");
    let fleet = Fleet::parse(&text, Path::new("some/where/fleet.toml")).unwrap();
    assert_eq!(
        fleet.agents[0].component,
        Source::Path("some/where/a.wasm".into())
    );
}

#[test]
fn every_refusal_names_the_place_the_key_and_the_next_step() {
    let fleet = |line: &str| RIGHT.replace("\n\n", &format!("\n{line}\n\n"));
    let agent = |line: &str| format!("{RIGHT}{line}\n");
    let model = |line: &str| format!("{RIGHT}{MODEL}{line}\n");
    let named = |name: &str| RIGHT.replace("\"a\"", &format!("\"{name}\""));
    for (name, text) in [
        ("syntax", fleet("seed = ")),
        ("syntax_unquoted", agent("memory = 64 MiB")),
        ("syntax_key_twice", fleet("seed = 1\nseed = 2")),
        ("empty_file", String::new()),
        (
            "no_fleet_table",
            RIGHT.replace("[fleet]\nname = \"right\"\n", ""),
        ),
        ("fleet_twice", RIGHT.replace("[fleet]", "[[fleet]]")),
        ("no_agents", "[fleet]\nname = \"right\"\n".into()),
        (
            "agents_empty",
            "agents = []\n[fleet]\nname = \"right\"\n".into(),
        ),
        (
            "agents_single_brackets",
            RIGHT.replace("[[agents]]", "[agents]"),
        ),
        (
            "agents_not_tables",
            "agents = [1]\n[fleet]\nname = \"right\"\n".into(),
        ),
        ("count_zero", agent("count = 0")),
        ("unknown_key", agent("fule = 1000")),
        ("unknown_key_no_near_one", agent("colour = \"red\"")),
        ("unknown_key_of_another_table", agent("seed = 3")),
        ("renamed_key", fleet("poison = 3")),
        ("renamed_value", fleet("on_provider_lost = \"degrade\"")),
        (
            "renamed_point",
            agent("[[faults.rules]]\npoint = \"host-born\"\nkind = \"kill\""),
        ),
        ("unknown_table", agent("[[model]]\nname = \"m\"")),
        ("name_missing", RIGHT.replace("name = \"a\"\n", "")),
        ("name_with_space", named("Pole 1")),
        ("name_too_long", named(&"a".repeat(65))),
        ("name_empty", named("")),
        (
            "name_too_long_with_count",
            format!("{}count = 10\n", named(&"a".repeat(63))),
        ),
        ("fleet_name", RIGHT.replace("right", "ri/ght")),
        (
            "agents_of_one_name",
            format!("{RIGHT}\n[[agents]]\nname = \"a\"\ncomponent = \"builtin:b\"\n"),
        ),
        (
            "agents_of_one_name_by_count",
            format!(
                "{}count = 2\n\n[[agents]]\nname = \"a-1\"\ncomponent = \"builtin:b\"\n",
                RIGHT
            ),
        ),
        ("models_of_one_name", format!("{RIGHT}{MODEL}{MODEL}")),
        ("seed_negative", fleet("seed = -1")),
        ("seed_not_a_number", fleet("seed = \"one\"")),
        ("ticks_negative", fleet("ticks = -5")),
        ("ticks_zero", fleet("ticks = 0")),
        ("ticks_fraction", fleet("ticks = 1.5")),
        (
            "ticks_beyond_128_bits",
            fleet(&format!("ticks = 9{}", "0".repeat(40))),
        ),
        ("hosts_too_many", fleet("hosts = 513")),
        (
            "hosts_too_many_isolated",
            format!("{}{MODEL}", agent("isolate = true\ncount = 512")),
        ),
        ("durability", fleet("durability = \"snyc\"")),
        ("nan", fleet("nan = \"any\"")),
        ("schedule_not_built", fleet("schedule = \"dag\"")),
        ("schedule_unknown", fleet("schedule = \"fifo\"")),
        ("intra_op_threads", fleet("intra_op_threads = 0")),
        ("deadline_ms", fleet("deadline_ms = 0")),
        ("checkpoint_ticks", fleet("checkpoint_ticks = 0")),
        ("checkpoint_min_ms", fleet("checkpoint_min_ms = -1")),
        ("checkpoints_kept", fleet("checkpoints_kept = 0")),
        ("restarts_host", fleet("restarts_host = -1")),
        ("restarts_run_s", fleet("restarts_run_s = 0")),
        ("quarantine_after", fleet("quarantine_after = 0")),
        ("hot_standby", fleet("hot_standby = 1")),
        ("agent_ready_ms", fleet("agent_ready_ms = 0")),
        (
            "component_missing",
            RIGHT.replace("component = \"builtin:a\"\n", ""),
        ),
        ("component_empty", RIGHT.replace("builtin:a", "")),
        (
            "component_builtin_without_name",
            RIGHT.replace("builtin:a", "builtin:"),
        ),
        ("component_not_a_text", RIGHT.replace("\"builtin:a\"", "7")),
        ("settings_not_a_table", agent("settings = \"fast\"")),
        ("settings_list", agent("settings = { sizes = [1, 2] }")),
        ("settings_table", agent("settings = { a.b = 1 }")),
        (
            "settings_too_large",
            agent(&format!(
                "settings = {{ text = \"{}\" }}",
                "x".repeat(2 << 20)
            )),
        ),
        ("fuel_zero", agent("fuel = 0")),
        ("memory_unit", agent("memory = \"64 MB\"")),
        ("memory_too_small", agent("memory = 1024")),
        ("memory_too_large", agent("memory = \"5 GiB\"")),
        ("memory_not_a_size", agent("memory = true")),
        ("isolate", agent("isolate = \"yes\"")),
        ("priority", agent("priority = 3_000_000_000")),
        ("every", agent("every = 0")),
        ("on_failure", agent("on_failure = \"restrat\"")),
        ("pace", fleet("pace = \"0 Hz\"")),
        ("may_finish", agent("may_finish = \"yes\"")),
        (
            "agents_too_many",
            format!(
                "{}count = 65536\n\n[[agents]]\nname = \"b\"\ncomponent = \"builtin:b\"\n",
                RIGHT
            ),
        ),
        ("count_too_many", agent("count = 65537")),
        (
            "file_missing",
            format!("{RIGHT}\n[[models]]\nname = \"m\"\n"),
        ),
        (
            "providers_unknown",
            model("providers = [\"cuda\", \"gpu\"]"),
        ),
        ("providers_slip", model("providers = [\"cdua\"]")),
        ("providers_empty", model("providers = []")),
        ("providers_twice", model("providers = [\"cpu\", \"cpu\"]")),
        ("providers_not_a_list", model("providers = \"cpu\"")),
        ("providers_not_texts", model("providers = [1]")),
        ("latency_ticks_zero", model("latency_ticks = 0")),
        ("batch", model("batch = 8")),
        ("max_batch", model("max_batch = 0")),
        ("on_mismatch", model("on_mismatch = \"ignore\"")),
        ("nonfinite", model("nonfinite = \"rejects\"")),
        (
            "max_concurrent_generations_without_folder",
            model("max_concurrent_generations = 3"),
        ),
        ("folder_and_file", model("folder = \"builtin:talk\"")),
        (
            "folder_latency",
            format!(
                "{RIGHT}\n[[models]]\nname = \"m\"\nfolder = \"builtin:talk\"\nlatency_ticks = 2\n"
            ),
        ),
        (
            "tokens_per_tick",
            format!(
                "{RIGHT}\n[[models]]\nname = \"m\"\nfolder = \"builtin:talk\"\ntokens_per_tick = 0\n"
            ),
        ),
        ("inputs_dtype", model("inputs = { x = \"f23[?,4]\" }")),
        ("inputs_no_brackets", model("inputs = { x = \"f32\" }")),
        (
            "inputs_dimension",
            model("inputs = { x = \"f32[batch,4]\" }"),
        ),
        (
            "inputs_rank",
            model("inputs = { x = \"f32[1,1,1,1,1,1,1,1,1]\" }"),
        ),
        ("inputs_not_a_text", model("inputs = { x = 4 }")),
        ("outputs_empty", model("outputs = {}")),
        (
            "models_too_many",
            format!(
                "{RIGHT}{}",
                (0..=1_024)
                    .map(|n| MODEL.replace("\"m\"", &format!("\"m{n}\"")))
                    .collect::<String>()
            ),
        ),
        (
            "several_at_once",
            format!(
                "{}{MODEL}latency_ticks = 0\n",
                RIGHT.replace("builtin:a\"", "builtin:a\"\nfule = 3\nevery = \"2\"")
            ),
        ),
    ] {
        let mut shown = refusal(&text, false);
        if shown.len() > 10_000 {
            shown = shown.replace(&"x".repeat(2 << 20), "x…x");
        }
        snapshot(name, &shown);
    }
}

#[test]
fn every_former_name_leads_to_one_that_is_accepted() {
    let tables = documented_tables();
    for (of, old, new) in RENAMED {
        let is_key = |name: &str| tables.iter().any(|(_, keys)| keys.contains(&name));
        let accepts = |name: &str| match *of {
            "" => is_key(name),
            "point" => FaultPoint::from_name(name).is_some(),
            "on_mismatch" => parse(&format!("{RIGHT}{MODEL}{of} = \"{name}\"\n")).is_ok(),
            _ => parse(&RIGHT.replace("\n\n", &format!("\n{of} = \"{name}\"\n\n"))).is_ok(),
        };
        assert!(accepts(new) && !accepts(old), "{of} {old} {new}");
    }
}

#[test]
fn files_that_are_not_there_are_refused_with_their_line() {
    for (name, component) in [
        ("component_not_found", "no-such-folder/a.wasm"),
        ("component_not_found_near_one", "src/fleet/model.rs"),
        ("component_is_a_folder", "src"),
    ] {
        snapshot(name, &refusal(&RIGHT.replace("builtin:a", component), true));
    }
}

#[test]
fn a_fleet_file_that_is_no_text_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.toml");
    let read = || Fleet::read(&path).unwrap_err().to_string();
    assert!(read().contains("cannot read the fleet file"), "{}", read());
    fs::create_dir(&path).unwrap();
    assert!(read().contains("it is not a file"), "{}", read());
    fs::remove_dir(&path).unwrap();
    fs::write(&path, b"name = \"\xff\"").unwrap();
    assert!(read().contains("byte 8 is no UTF-8"), "{}", read());
    fs::File::create(&path)
        .unwrap()
        .set_len((64 << 20) + 1)
        .unwrap();
    assert!(read().contains("is over the"), "{}", read());
    fs::write(&path, RIGHT).unwrap();
    assert_eq!(Fleet::read(&path).unwrap().name, "right");
}

#[test]
fn problems_tell_their_place_to_programs_too() {
    let FleetError::Refused(refusal) = parse(&format!("{RIGHT}fule = 1\nevery = 0\n")).unwrap_err()
    else {
        panic!("it can be read")
    };
    let places: Vec<Place> = refusal
        .problems()
        .iter()
        .map(|problem| refusal.place(problem))
        .collect();
    assert_eq!(
        places,
        [Place { line: 7, column: 1 }, Place { line: 8, column: 9 }]
    );
}
