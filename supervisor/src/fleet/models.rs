//! What the tables `[[models]]` mean.

use super::bounds;
use super::keys::MODELS;
use super::read::{Names, Reading, TableAt};
use super::section::{Section, unknown_word_help};
use super::spec::{ModelSpec, Source};
use shm_protocol::generation::Generator;
use shm_protocol::limit;
use shm_protocol::provider::Provider;
use shm_protocol::supervisor_to_agent::OnMismatch;

/// Rows of one batch, unless the fleet says otherwise: as many as the inference host tries.
const MAX_BATCH: u64 = 256;

/// Texts that a language model writes at once, unless the fleet says otherwise.
const SEQUENCES: u32 = 8;

/// Tokens by which a text grows in a tick.
const TOKENS: u32 = 4;

/// Mebibytes of keys and values that are kept between ticks.
const CACHE_MIB: u64 = 256;

/// A model, and whether it answers from the first tick on.
pub(super) struct Told {
    pub(super) spec: ModelSpec,
    pub(super) is_loaded: bool,
}

/// The models of all tables, in the order of the file.
pub(super) fn read(tables: &[TableAt<'_, '_>], reading: &Reading<'_>) -> Vec<Told> {
    let mut models = Vec::new();
    let mut names = Names::new("models");
    for table in tables.iter().take(limit::MODELS) {
        let mut section = Section::open(&MODELS, table.header.clone(), table.values, reading);
        models.extend(read_table(&mut section, &mut names));
        section.close();
    }
    reading.most(tables, limit::MODELS, "the fleet has more than", "models");
    models
}

/// The model of one table, if it has a name.
fn read_table(section: &mut Section<'_, '_>, names: &mut Names) -> Option<Told> {
    let name = section.name("\"my-model\"");
    let (file, is_folder) = file(section);
    let generator = generator(section, is_folder);
    let model = ModelSpec {
        name: name
            .as_ref()
            .map_or_else(String::new, |name| name.value.to_owned()),
        file: file.unwrap_or_else(|| Source::Builtin(String::new())),
        generator,
        version: version(section, "1"),
        memory_bytes: section
            .optional_number::<u64>("memory_mib", &bounds::MODEL_MIB)
            .map_or(0, |mib| mib << 20),
        providers: providers(section),
        latency_ticks: section.number("latency_ticks", &bounds::LATENCY_TICKS, 1),
        batch: section.boolean("batch", true),
        max_batch: section.number("max_batch", &bounds::MAX_BATCH, MAX_BATCH),
        on_mismatch: section.choice(
            "on_mismatch",
            &[("stop", OnMismatch::Stop), ("refuse", OnMismatch::Refuse)],
        ),
        rejects_nonfinite: section.choice("nonfinite", &[("pass", false), ("reject", true)]),
        inputs: section.ports("inputs"),
        outputs: section.ports("outputs"),
    };
    if model.generator.is_some() && model.latency_ticks != 1 {
        let message = format!(
            "{} is not 1 for a language model",
            section.called("latency_ticks")
        );
        section.reading.problems.add(
            section.header.clone(),
            message,
            "in this table",
            "leave `latency_ticks` out; `tokens_per_tick` says how fast texts grow",
        );
    }
    let is_loaded = section.boolean("loaded", true);
    let name = name?;
    names.take(&[name.value.to_owned()], &name.span, section.reading);
    Some(Told {
        spec: model,
        is_loaded,
    })
}

/// Where a model is, and whether it is the folder of a language model.
pub(super) fn file(section: &mut Section<'_, '_>) -> (Option<Source>, bool) {
    let Some(folder) = section.folder("folder") else {
        return (section.source("file", "\"my-model.onnx\""), false);
    };
    if let Some(file) = section.text("file") {
        let message = format!("both `file` and `folder` in {}", section.title());
        section.reading.problems.add(
            file.span,
            message,
            "one too many",
            "a language model has a `folder`, any other model a `file`",
        );
    }
    (folder.value, true)
}

/// What a version is called.
pub(super) fn version(section: &mut Section<'_, '_>, usual: &str) -> String {
    let Some(version) = section.text("version") else {
        return usual.to_owned();
    };
    if !is_version(version.value) {
        let message = format!("{} is no name", section.called("version"));
        let help = format!(
            "write one to {} characters on one line",
            bounds::NAME_CHARACTERS
        );
        let problems = &section.reading.problems;
        problems.add(version.span, message, "this", help);
    }
    version.value.to_owned()
}

fn is_version(name: &str) -> bool {
    let is_long = name.chars().count() > bounds::NAME_CHARACTERS;
    !name.is_empty() && !is_long && !name.contains(char::is_control)
}

/// Why this cannot be what a version is called, if it cannot.
#[must_use]
pub fn unfit_version(name: &str) -> Option<String> {
    let most = bounds::NAME_CHARACTERS;
    let is_fit = is_version(name);
    (!is_fit).then(|| {
        format!("{name:?} is no name of a version: it has one to {most} characters on one line")
    })
}

/// How a language model writes. The keys of one belong to no other model.
fn generator(section: &mut Section<'_, '_>, is_one: bool) -> Option<Generator> {
    for key in ["sequences", "tokens_per_tick", "context", "cache_mib"] {
        if let (Some(found), false) = (section.value(key), is_one) {
            let message = format!("{} is for language models", section.called(key));
            let help = "leave it out, or name the `folder` of a language model";
            let problems = &section.reading.problems;
            problems.add(found.span(), message, "for nothing", help);
        }
    }
    let generator = Generator {
        sequences: section.number("sequences", &bounds::SEQUENCES, SEQUENCES),
        tokens_per_tick: section.number("tokens_per_tick", &bounds::TOKENS_PER_TICK, TOKENS),
        context: section.optional_number("context", &bounds::CONTEXT),
        cache_bytes: section.number::<u64>("cache_mib", &bounds::CACHE_MIB, CACHE_MIB) << 20,
    };
    is_one.then_some(generator)
}

/// Providers to try, in order; each at most once.
fn providers(section: &mut Section<'_, '_>) -> Vec<String> {
    let Some(listed) = section.texts("providers", "[\"cuda\", \"cpu\"]") else {
        return vec!["cpu".to_owned()];
    };
    let problems = &section.reading.problems;
    let called = section.called("providers");
    let mut providers: Vec<String> = Vec::new();
    for provider in listed {
        // Whether this machine has it is found out at the start of a run.
        if Provider::named(provider.value).is_none() {
            let message = format!("{called} cannot hold \"{}\"", provider.value);
            problems.add(
                provider.span,
                message,
                "no such provider",
                unknown_word_help(provider.value, &Provider::ALL.map(Provider::name)),
            );
        } else if providers.iter().any(|earlier| earlier == provider.value) {
            let message = format!("{called} holds \"{}\" twice", provider.value);
            problems.add(provider.span, message, "tried before", "leave it out here");
        } else {
            providers.push(provider.value.to_owned());
        }
    }
    providers
}
