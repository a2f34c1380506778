//! What the tables `[[models]]` mean.

use super::bounds;
use super::keys::MODELS;
use super::read::{Names, Reading, TableAt};
use super::section::{Section, unknown_word_help};
use super::spec::{ModelSpec, Source};
use shm_protocol::limit;
use shm_protocol::provider::Provider;
use shm_protocol::supervisor_to_agent::OnMismatch;

/// Rows of one batch, unless the fleet says otherwise: as many as the inference host tries.
const MAX_BATCH: u64 = 256;

/// The models of all tables, in the order of the file.
pub(super) fn read(tables: &[TableAt<'_, '_>], reading: &Reading<'_>) -> Vec<ModelSpec> {
    let mut models = Vec::new();
    let mut names = Names::new("models");
    for table in tables.iter().take(limit::MODELS) {
        let mut section = Section::open(&MODELS, table.header.clone(), table.values, reading);
        models.extend(read_table(&mut section, &mut names));
        section.close();
    }
    if let Some(table) = tables.get(limit::MODELS) {
        let message = format!("the fleet has more than {} models", limit::MODELS);
        reading.problems.add(
            table.header.clone(),
            message,
            "one too many",
            "leave models out",
        );
    }
    models
}

/// The model of one table, if it has a name.
fn read_table(section: &mut Section<'_, '_>, names: &mut Names) -> Option<ModelSpec> {
    let name = section.name("\"my-model\"");
    let model = ModelSpec {
        name: name
            .as_ref()
            .map_or_else(String::new, |name| name.value.to_owned()),
        file: section
            .source("file", "\"my-model.onnx\"")
            .unwrap_or_else(|| Source::Builtin(String::new())),
        providers: providers(section),
        latency_ticks: section.number("latency_ticks", &bounds::LATENCY_TICKS, 1),
        batch: section.boolean("batch", true),
        max_batch: section.number("max_batch", &bounds::MAX_BATCH, MAX_BATCH),
        on_mismatch: section.choice(
            "on_mismatch",
            &[("stop", OnMismatch::Stop), ("refuse", OnMismatch::Refuse)],
        ),
        inputs: section.ports("inputs"),
        outputs: section.ports("outputs"),
    };
    let name = name?;
    names.take(&[name.value.to_owned()], &name.span, section.reading);
    Some(model)
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
