//! What the tables `[[changes]]` mean.

use super::bounds;
use super::keys::CHANGES;
use super::models::{Told, file, version};
use super::nearest::nearest;
use super::read::{Reading, TableAt};
use super::section::Section;
use super::spec::{ChangeSpec, ChangeTo, ModelSpec, Source};
use shm_protocol::id::{ModelId, Tick};
use std::ops::Range;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Replace,
    Unload,
    Load,
}

/// The changes of all tables, in the order of their ticks, behind those that models which are not loaded begin with.
pub(super) fn read(
    tables: &[TableAt<'_, '_>],
    models: &[Told],
    reading: &Reading<'_>,
) -> Vec<ChangeSpec> {
    let numbers = (0..).map(ModelId);
    let begins_unloaded = |(model, told): (ModelId, &Told)| {
        (!told.is_loaded).then_some(ChangeSpec {
            from: Tick(1),
            model,
            to: ChangeTo::Unloaded,
        })
    };
    let mut changes: Vec<ChangeSpec> = numbers.zip(models).filter_map(begins_unloaded).collect();
    for table in tables.iter().take(bounds::CHANGES) {
        let mut section = Section::open(&CHANGES, table.header.clone(), table.values, reading);
        let change = read_table(&mut section, models);
        section.close();
        if let Some(change) = change {
            follow(&changes, &change, models, table, reading);
            changes.push(change);
        }
    }
    reading.most(
        tables,
        bounds::CHANGES,
        "the fleet has more than",
        "changes",
    );
    changes.sort_by_key(|change| change.from);
    changes
}

fn read_table(section: &mut Section<'_, '_>, models: &[Told]) -> Option<ChangeSpec> {
    let tick = section.optional_number::<u64>("tick", &bounds::CHANGE_TICK);
    if section.value("tick").is_none() {
        missing(section, "tick", "100");
    }
    let model = model(section, models);
    let action = section.chosen(
        "action",
        &[
            ("replace", Action::Replace),
            ("unload", Action::Unload),
            ("load", Action::Load),
        ],
    );
    let to = match action {
        Some(Action::Replace) => replaced(section, model.map(|(_, told)| told)),
        // What else it needs is not known.
        None => {
            keys_of_replace(section).for_each(drop);
            return None;
        }
        Some(action @ (Action::Unload | Action::Load)) => {
            let unused: Vec<(&str, Range<usize>)> = keys_of_replace(section).collect();
            for (key, span) in unused {
                let message = format!("{} is for `action = \"replace\"`", section.called(key));
                let problems = &section.reading.problems;
                problems.add(span, message, "for nothing", "leave it out");
            }
            match action {
                Action::Unload => ChangeTo::Unloaded,
                _ => ChangeTo::Loaded,
            }
        }
    };
    Some(ChangeSpec {
        from: Tick(tick?),
        model: model?.0,
        to,
    })
}

/// What of the keys of another version is there.
fn keys_of_replace<'k>(
    section: &'k mut Section<'_, '_>,
) -> impl Iterator<Item = (&'static str, Range<usize>)> + 'k {
    let keys = ["file", "folder", "version"].into_iter();
    keys.filter_map(|key| Some((key, section.value(key)?.span())))
}

/// The model that changes.
fn model<'m>(section: &mut Section<'_, '_>, models: &'m [Told]) -> Option<(ModelId, &'m Told)> {
    let name = section.required_text("model", "\"my-model\"")?;
    let found = models.iter().position(|told| told.spec.name == name.value);
    if let Some(number) = found {
        return Some((ModelId::from_index(number), &models[number]));
    }
    let names: Vec<&str> = models.iter().map(|told| told.spec.name.as_str()).collect();
    let help = match nearest(name.value, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "name one of [[models]]".to_owned(),
    };
    let message = format!("the fleet has no model `{}`", name.value);
    let problems = &section.reading.problems;
    problems.add(name.span, message, "no such model", help);
    None
}

/// The version that takes a model's place: of the same kind.
fn replaced(section: &mut Section<'_, '_>, told: Option<&Told>) -> ChangeTo {
    let (file, is_folder) = file(section);
    if let Some(told) = told
        && file.is_some()
        && is_folder != told.spec.generator.is_some()
    {
        let (wanted, message) = match is_folder {
            true => ("file", "a folder takes the place of a file"),
            false => ("folder", "a file takes the place of a folder"),
        };
        section.reading.problems.add(
            section.header.clone(),
            message.to_owned(),
            "in this table",
            format!("name a `{wanted}`, as the model itself does"),
        );
    }
    if section.value("version").is_none() {
        missing(section, "version", "\"2\"");
    }
    ChangeTo::Version {
        version: version(section, "?"),
        file: file.unwrap_or_else(|| Source::Builtin(String::new())),
    }
}

/// Notes a change that cannot follow those before it.
fn follow(
    earlier: &[ChangeSpec],
    change: &ChangeSpec,
    models: &[Told],
    table: &TableAt<'_, '_>,
    reading: &Reading<'_>,
) {
    let mut of_model = earlier.iter().filter(|held| held.model == change.model);
    let last = of_model.next_back();
    let of_model_again = earlier.iter().filter(|held| held.model == change.model);
    let was_loaded = last.is_none_or(|last| last.to != ChangeTo::Unloaded);
    let ModelSpec { name, version, .. } = &models[change.model.index()].spec;
    let versions = of_model_again.filter_map(|held| match &held.to {
        ChangeTo::Version { version, .. } => Some(version),
        _ => None,
    });
    let mut names = std::iter::once(version).chain(versions);
    let (message, help) = match (&change.to, last) {
        (_, Some(last)) if last.from >= change.from => (
            format!(
                "model `{name}` changes in tick {} and, further down, in tick {}",
                last.from, change.from
            ),
            "write the changes of a model in the order of their ticks, at most one for each",
        ),
        (ChangeTo::Unloaded, _) if !was_loaded => (
            format!(
                "model `{name}` is unloaded in tick {}, and is not loaded then",
                change.from
            ),
            "leave one of the two out",
        ),
        (ChangeTo::Loaded, _) if was_loaded => (
            format!(
                "model `{name}` is loaded in tick {}, and is loaded already",
                change.from
            ),
            "unload it before, or begin with `loaded = false` in its table",
        ),
        (ChangeTo::Version { version, .. }, _) if names.any(|known| known == version) => (
            format!("model `{name}` has two versions `{version}`"),
            "give each version a name of its own; `action = \"load\"` brings back the last one",
        ),
        _ => return,
    };
    let problems = &reading.problems;
    problems.add(table.header.clone(), message, "in this table", help);
}

fn missing(section: &mut Section<'_, '_>, key: &str, example: &str) {
    let message = format!("`{key}` is missing in {}", section.title());
    section.reading.problems.add(
        section.header.clone(),
        message,
        "in this table",
        format!("add a line `{key} = {example}`"),
    );
}
