//! The keys of the tables `[[models]]`.

use super::names::UniqueNames;
use super::parse::{Unfit, check_version};
use super::spec::{FleetChange, Source};
use super::table::TableReader;
use crate::record::{ModelChange, ModelDefinition, ModelSettings};
use shm_protocol::generation::{Generator, MAX_SEQUENCES, MAX_TOKENS};
use shm_protocol::id::{ModelId, Tick};
use shm_protocol::provider::Provider;
use shm_protocol::supervisor_to_agent::OnMismatch;
use std::ops::RangeInclusive;

/// Mebibytes, up to a tebibyte.
const MIB: RangeInclusive<i128> = 1..=1 << 20;

/// The keys that no model but a language model has.
const OF_LANGUAGE_MODELS: [&str; 4] = [
    "max_concurrent_generations",
    "tokens_per_tick",
    "context_length",
    "cache_mib",
];

/// The models of all tables, in the order of the file. Those that are not loaded at first begin with a change.
pub(super) fn read(
    tables: Vec<TableReader<'_, '_>>,
    changes: &mut Vec<FleetChange>,
) -> Vec<ModelDefinition<Source>> {
    let mut models: Vec<ModelDefinition<Source>> = Vec::new();
    let mut names = UniqueNames::new("models");
    for mut table in tables {
        let (model, is_loaded) = read_table(&mut table, &mut names);
        if let (Some(_), false) = (&model, is_loaded) {
            let number = ModelId::from_index(models.len());
            changes.push(FleetChange {
                from: Tick(1),
                model: number,
                change: ModelChange::Unload,
            });
        }
        models.extend(model);
        table.close();
    }
    models
}

/// The model of one table, if it has a name, and whether it answers from the first tick on.
pub(super) fn read_table(
    table: &mut TableReader<'_, '_>,
    names: &mut UniqueNames,
) -> (Option<ModelDefinition<Source>>, bool) {
    let name = table.name("\"my-model\"");
    let (file, is_folder) = file(table);
    let name_text = name.as_ref();
    let name_text = name_text.map_or_else(String::new, |name| name.get_ref().to_string());
    let defaults = ModelDefinition::new(
        name_text,
        file.unwrap_or_else(|| Source::Builtin(String::new())),
    );
    let settings = ModelSettings {
        generator: generator(table, is_folder),
        memory_bytes: table
            .optional_number("memory_mib", MIB)
            .map_or(0, |mib: u64| mib << 20),
        // Every tick of latency holds the requests of one more tick in memory.
        latency_ticks: table.number("latency_ticks", 1..=1_024, defaults.settings.latency_ticks),
        max_batch: table.number("max_batch", 1..=1 << 20, defaults.settings.max_batch),
        on_mismatch: table.choice(
            "on_mismatch",
            &[("stop", OnMismatch::Stop), ("reject", OnMismatch::Reject)],
        ),
        rejects_nonfinite: table.choice("nonfinite", &[("pass", false), ("reject", true)]),
    };
    let model = ModelDefinition {
        version: version(table).unwrap_or_else(|| defaults.version.clone()),
        providers: providers(table).unwrap_or_else(|| defaults.providers.clone()),
        may_batch: table.boolean("batch", true),
        inputs: table.ports("inputs"),
        outputs: table.ports("outputs"),
        settings,
        ..defaults
    };
    if is_folder && settings.latency_ticks != 1 {
        let message = format!(
            "`latency_ticks` in {} is not 1 for a language model",
            table.title
        );
        let help = "leave `latency_ticks` out; `tokens_per_tick` says how fast generations grow";
        table.problem_here(message, help);
    }
    let is_loaded = table.boolean("loaded", true);
    let Some(name) = name else {
        return (None, is_loaded);
    };
    names.take(&[name.get_ref().to_string()], &name.span(), table);
    (Some(model), is_loaded)
}

/// The file or the folder of a model, and `true` if it is the folder of a language model.
pub(super) fn file(table: &mut TableReader<'_, '_>) -> (Option<Source>, bool) {
    if table.get("folder").is_none() {
        return (table.file("file", "\"my-model.onnx\""), false);
    }
    if let Some(file) = table.get("file") {
        let message = format!("both `file` and `folder` in {}", table.title);
        let help = "a language model has a `folder`, any other model a `file`";
        file.problem(message, "one too many", help);
    }
    (table.folder("folder"), true)
}

/// The name of a version, if the key is there.
pub(super) fn version(table: &mut TableReader<'_, '_>) -> Option<String> {
    let value = table.get("version")?;
    let version = value.text()?.into_inner();
    value.fitting(check_version(version))?;
    Some(version.to_owned())
}

/// The reason why a text cannot be the name of a version, if it cannot.
#[must_use]
pub fn unfit_version(name: &str) -> Option<String> {
    let Unfit { help, .. } = check_version(name).err()?;
    Some(format!("{name:?} is no name of a version: {help}"))
}

/// The bounds of a language model.
fn generator(table: &mut TableReader<'_, '_>, is_language_model: bool) -> Option<Generator> {
    for key in OF_LANGUAGE_MODELS {
        if let (Some(value), false) = (table.get(key), is_language_model) {
            let message = format!("{} is for language models", value.called);
            let help = "leave it out, or name the `folder` of a language model";
            value.problem(message, "for nothing", help);
        }
    }
    let generator = Generator {
        max_concurrent_generations: table.number(
            "max_concurrent_generations",
            1..=MAX_SEQUENCES as i128,
            8,
        ),
        // More than anybody reads in a tick.
        tokens_per_tick: table.number("tokens_per_tick", 1..=1_024, 4),
        // From a prompt and an answer of one token each to what one request to the engine can carry.
        context_length: table.optional_number("context_length", 2..=MAX_TOKENS as i128),
        cache_bytes: table.number::<u64>("cache_mib", MIB, 256) << 20,
    };
    is_language_model.then_some(generator)
}

/// The providers to try, in order; each at most once. Those that this machine has are known at the start of a run.
fn providers(table: &mut TableReader<'_, '_>) -> Option<Vec<String>> {
    let list = table.get("providers")?;
    let help = "write it as in `providers = [\"cuda\", \"cpu\"]`";
    let items = list.items("a list of texts", help);
    if items.as_ref().is_some_and(Vec::is_empty) {
        list.problem(
            format!("{} cannot be empty", list.called),
            "nothing in it",
            help,
        );
    }
    let mut providers: Vec<String> = Vec::new();
    for item in items.unwrap_or_default() {
        let Some(provider) = item.one_of(&Provider::ALL.map(Provider::name)) else {
            continue;
        };
        let name = Provider::ALL[provider].name();
        if providers.iter().any(|earlier| earlier == name) {
            let message = format!("{} holds \"{name}\" twice", list.called);
            item.problem(message, "tried before", "leave it out here");
        }
        providers.push(name.to_owned());
    }
    Some(providers)
}
