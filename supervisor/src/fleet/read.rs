//! From a path or a text to a fleet.

use super::context::Context;
use super::error::FleetError;
use super::faults::TargetNames;
use super::names::UniqueNames;
use super::nearest::Keys;
use super::spec::Fleet;
use super::table::{TableReader, keys_of};
use super::text::{read_text, understand};
use super::{agents, changes, faults, models, settings};
use shm_protocol::limit;
use std::cell::LazyCell;
use std::ops::Range;
use std::path::Path;

/// Changes of models in one run.
const CHANGES: usize = 1_000;

impl Fleet {
    /// Reads a fleet file, and sees that the files it names are there.
    ///
    /// # Errors
    /// When the file cannot be read, or with all that is wrong in it.
    pub fn read(path: &Path) -> Result<Fleet, FleetError> {
        parse(&read_text("fleet file", path)?, path, true, None)
    }

    /// As [`Fleet::read`], and sees that what stands after `builtin:` is one of `parts`.
    ///
    /// # Errors
    /// As [`Fleet::read`].
    pub fn read_knowing(path: &Path, parts: &[&str]) -> Result<Fleet, FleetError> {
        parse(&read_text("fleet file", path)?, path, true, Some(parts))
    }

    /// Understands the text of a fleet file. `origin` is what messages call it; paths
    /// start at its folder. The files that the fleet names are not looked at.
    ///
    /// # Errors
    /// [`FleetError::Refused`] with all that is wrong in it.
    pub fn parse(text: &str, origin: &Path) -> Result<Fleet, FleetError> {
        parse(text, origin, false, None)
    }
}

pub(super) fn parse(
    text: &str,
    origin: &Path,
    checks_files: bool,
    parts: Option<&[&str]>,
) -> Result<Fleet, FleetError> {
    let folder = origin.parent().unwrap_or(Path::new(""));
    let context = Context {
        checks_files,
        parts,
        all_keys: LazyCell::new(all_keys),
        ..Context::of(text, folder)
    };
    understand(text, origin, "the fleet file", context, read)
}

/// The keys of the file and of its tables, from the top of the file down. Rules of faults are not among them: few fleets
/// have any, and their keys are common words.
pub(super) fn all_keys() -> Vec<Keys> {
    let no_names = || UniqueNames::new("");
    vec![
        keys_of("the fleet file", |file| drop(read(file))),
        keys_of("[fleet]", |table| drop(settings::read(table))),
        keys_of("[[agents]]", |table| {
            drop(agents::read_table(table, &mut no_names()))
        }),
        keys_of("[[models]]", |table| {
            drop(models::read_table(table, &mut no_names()))
        }),
        keys_of("[[changes]]", |table| drop(changes::read_table(table, &[]))),
    ]
}

/// The fleet of a file that is TOML. `None` only with a noted problem.
fn read(file: &mut TableReader<'_, '_>) -> Option<Fleet> {
    let (fleet, header) = read_settings(file);
    let agents = file.get("agents").map(|agents| agents.found.get_ref());
    if agents.is_none_or(|agents| agents.as_array().is_some_and(|list| list.is_empty())) {
        let message = "the fleet has no agents";
        missing(file, message, "[[agents]] with `name` and `component`");
    }
    let agent_tables = file.tables("agents", "[[agents]]", usize::MAX);
    let model_tables = file.tables("models", "[[models]]", limit::MODELS);
    let change_tables = file.tables("changes", "[[changes]]", CHANGES);
    let agents = agents::read(agent_tables);
    let mut changes = Vec::new();
    let models = models::read(model_tables, &mut changes);
    changes::read(change_tables, &models, &mut changes);
    let faults = faults::read(file, &TargetNames::of(&agents, &models));
    let fleet = Fleet {
        agents,
        models,
        changes,
        faults,
        ..fleet?
    };
    check_hosts(&fleet, header, file);
    Some(fleet)
}

/// The fleet of the table `[fleet]`, which must be there, and the place of that.
fn read_settings(file: &mut TableReader<'_, '_>) -> (Option<Fleet>, Range<usize>) {
    if file.get("fleet").is_none() {
        let message = "the table [fleet] is missing";
        missing(file, message, "[fleet] with a line `name = \"my-fleet\"`");
    }
    let help = "write [fleet], in single brackets, once";
    let table = file.table("fleet", "[fleet]", help);
    let Some(mut table) = table else {
        return (None, 0..0);
    };
    let (fleet, header) = (settings::read(&mut table), table.header.clone());
    table.close();
    (Some(fleet), header)
}

/// Notes that a table is missing which every fleet has.
fn missing(file: &TableReader<'_, '_>, message: &str, table: &str) {
    let help = format!("add a table {table}");
    file.problem(0..0, message, "not in this file", help);
}

/// Checks that the processes of the run are not too many: shared hosts, of which no more start than there are agents to
/// share them, one for each isolated agent, and one for the models.
fn check_hosts(fleet: &Fleet, header: Range<usize>, file: &TableReader<'_, '_>) {
    let isolated = fleet.agents.iter().filter(|agent| agent.isolate).count();
    let shared = (fleet.hosts.unwrap_or(1) as usize).min(fleet.agents.len() - isolated);
    let others = shared + usize::from(!fleet.models.is_empty());
    let (all, most) = (isolated + others, limit::HOSTS);
    if all > most {
        let message = format!("the fleet needs {all} host processes");
        let label = format!("{isolated} isolated agents, and {others} more");
        let help = format!(
            "lower `hosts`, or isolate fewer agents: a run has at most {most} host processes"
        );
        file.problem(header, message, label, help);
    }
}
