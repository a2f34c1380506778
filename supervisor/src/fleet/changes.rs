//! The keys of the tables `[[changes]]`.

use super::models::{file, version};
use super::parse::POSITIVE;
use super::spec::{FleetChange, Source};
use super::table::TableReader;
use crate::record::{ModelChange, ModelDefinition, NewVersion};
use shm_protocol::id::{ModelId, Tick};

/// Adds the changes of all tables to those that models begin with, in the order of their ticks.
pub(super) fn read(
    tables: Vec<TableReader<'_, '_>>,
    models: &[ModelDefinition<Source>],
    changes: &mut Vec<FleetChange>,
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
    models: &[ModelDefinition<Source>],
) -> Option<FleetChange> {
    // The state in the first tick of a run is in the table of the model itself.
    let tick = table.require("tick", "100");
    let tick = tick.and_then(|tick| tick.number(2..=*POSITIVE.end()));
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let model = table.require("model", "\"my-model\"");
    let model = model.and_then(|model| model.one_of(&names));
    let of_version = ["file", "folder", "version"].map(|key| table.get(key));
    let words = [
        ("replace", None),
        ("unload", Some(ModelChange::Unload)),
        ("load", Some(ModelChange::Load)),
    ];
    let change = match table.chosen("action", &words)? {
        None => replaced(table, model.map(|model| &models[model])),
        Some(change) => {
            for value in of_version.into_iter().flatten() {
                let message = format!("{} is for `action = \"replace\"`", value.called);
                value.problem(message, "for nothing", "leave it out");
            }
            change
        }
    };
    Some(FleetChange {
        from: Tick(tick?),
        model: ModelId::from_index(model?),
        change,
    })
}

/// The version that takes a model's place: of the same kind.
fn replaced(
    table: &mut TableReader<'_, '_>,
    model: Option<&ModelDefinition<Source>>,
) -> ModelChange<NewVersion<Source>> {
    let (file, is_folder) = file(table);
    if let (Some(model), Some(_)) = (model, &file)
        && is_folder != model.is_generator()
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
    ModelChange::Replace(NewVersion {
        version: version(table).unwrap_or_default(),
        file: file.unwrap_or_else(|| Source::Builtin(String::new())),
    })
}

/// The reason why a change cannot follow those before it, and the next step.
fn conflict(
    earlier: &[FleetChange],
    change: &FleetChange,
    models: &[ModelDefinition<Source>],
) -> Option<(String, &'static str)> {
    let ModelDefinition { name, version, .. } = &models[change.model.index()];
    let of_model = || {
        earlier
            .iter()
            .filter(|earlier| earlier.model == change.model)
    };
    let last = of_model().next_back();
    let was_loaded = last.is_none_or(|last| last.change != ModelChange::Unload);
    let is_taken = |new: &String| {
        let mut later = of_model().filter_map(|earlier| earlier.change.new_version());
        new == version || later.any(|earlier| earlier.version == *new)
    };
    let tick = change.from;
    Some(match (&change.change, last) {
        (_, Some(FleetChange { from, .. })) if *from >= tick => (
            format!("model `{name}` changes in tick {from} and, further down, in tick {tick}"),
            "write the changes of a model in the order of their ticks, at most one for each",
        ),
        (ModelChange::Unload, _) if !was_loaded => (
            format!("model `{name}` is unloaded in tick {tick}, and is not loaded then"),
            "leave one of the two out",
        ),
        (ModelChange::Load, _) if was_loaded => (
            format!("model `{name}` is loaded in tick {tick}, and is loaded already"),
            "unload it before, or begin with `loaded = false` in its table",
        ),
        (ModelChange::Replace(NewVersion { version, .. }), _) if is_taken(version) => (
            format!("model `{name}` has two versions `{version}`"),
            "give each version a name of its own; `action = \"load\"` brings back the last one",
        ),
        _ => return None,
    })
}
