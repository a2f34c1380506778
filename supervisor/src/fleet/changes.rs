//! The keys of the tables `[[changes]]`.

use super::models::{file, version};
use super::parse::POSITIVE;
use super::spec::{ChangeSpec, ChangeTo, ModelSpec, Source};
use super::table::TableReader;
use shm_protocol::id::{ModelId, Tick};

/// Adds the changes of all tables to those that models begin with, in the order of their ticks.
pub(super) fn read(
    tables: Vec<TableReader<'_, '_>>,
    models: &[ModelSpec],
    changes: &mut Vec<ChangeSpec>,
) {
    for mut table in tables {
        if let Some(change) = read_table(&mut table, models) {
            if let Some((message, help)) = conflict(changes, &change, models) {
                table.problem_here(message, help);
            }
            changes.push(change);
        }
        table.close();
    }
    changes.sort_by_key(|change| change.from);
}

pub(super) fn read_table(
    table: &mut TableReader<'_, '_>,
    models: &[ModelSpec],
) -> Option<ChangeSpec> {
    // The state in the first tick of a run is in the table of the model itself.
    let tick = table.require("tick", "100");
    let tick = tick.and_then(|tick| tick.number(2..=*POSITIVE.end()));
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let model = table.require("model", "\"my-model\"");
    let model = model.and_then(|model| model.one_of(&names));
    let of_version = ["file", "folder", "version"].map(|key| table.get(key));
    let words = [
        ("replace", None),
        ("unload", Some(ChangeTo::Unloaded)),
        ("load", Some(ChangeTo::Loaded)),
    ];
    let to = match table.chosen("action", &words)? {
        None => replaced(table, model.map(|model| &models[model])),
        Some(to) => {
            for value in of_version.into_iter().flatten() {
                let message = format!("{} is for `action = \"replace\"`", value.called);
                value.problem(message, "for nothing", "leave it out");
            }
            to
        }
    };
    Some(ChangeSpec {
        from: Tick(tick?),
        model: ModelId::from_index(model?),
        to,
    })
}

/// The version that takes a model's place: of the same kind.
fn replaced(table: &mut TableReader<'_, '_>, model: Option<&ModelSpec>) -> ChangeTo {
    let (file, is_folder) = file(table);
    if let (Some(model), Some(_)) = (model, &file)
        && is_folder != model.generator.is_some()
    {
        let (wanted, message) = match is_folder {
            true => ("file", "a folder takes the place of a file"),
            false => ("folder", "a file takes the place of a folder"),
        };
        table.problem_here(
            message,
            format!("name a `{wanted}`, as the model itself does"),
        );
    }
    let _ = table.require("version", "\"2\"");
    ChangeTo::Version {
        version: version(table).unwrap_or_default(),
        file: file.unwrap_or_else(|| Source::Builtin(String::new())),
    }
}

/// The reason why a change cannot follow those before it, and the next step.
fn conflict(
    earlier: &[ChangeSpec],
    change: &ChangeSpec,
    models: &[ModelSpec],
) -> Option<(String, &'static str)> {
    let ModelSpec { name, version, .. } = &models[change.model.index()];
    let of_model = || {
        earlier
            .iter()
            .filter(|earlier| earlier.model == change.model)
    };
    let last = of_model().next_back();
    let was_loaded = last.is_none_or(|last| last.to != ChangeTo::Unloaded);
    let is_taken = |new: &String| {
        let is_new = |earlier: &ChangeSpec| matches!(&earlier.to, ChangeTo::Version { version, .. } if version == new);
        new == version || of_model().any(is_new)
    };
    let tick = change.from;
    Some(match (&change.to, last) {
        (_, Some(ChangeSpec { from, .. })) if *from >= tick => (
            format!("model `{name}` changes in tick {from} and, further down, in tick {tick}"),
            "write the changes of a model in the order of their ticks, at most one for each",
        ),
        (ChangeTo::Unloaded, _) if !was_loaded => (
            format!("model `{name}` is unloaded in tick {tick}, and is not loaded then"),
            "leave one of the two out",
        ),
        (ChangeTo::Loaded, _) if was_loaded => (
            format!("model `{name}` is loaded in tick {tick}, and is loaded already"),
            "unload it before, or begin with `loaded = false` in its table",
        ),
        (ChangeTo::Version { version, .. }, _) if is_taken(version) => (
            format!("model `{name}` has two versions `{version}`"),
            "give each version a name of its own; `action = \"load\"` brings back the last one",
        ),
        _ => return None,
    })
}
