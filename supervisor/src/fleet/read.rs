//! From a path or a text to a fleet, or to all that is wrong with it.

use super::bounds::FILE_BYTES;
use super::error::{FleetError, Refusal};
use super::keys::{FILE, FLEET};
use super::problem::Problems;
use super::section::Section;
use super::source::{SourceError, regular};
use super::spec::Fleet;
use super::{agents, changes, faults, header, models};
use shm_protocol::limit;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// What is the same for all tables while a text is read.
pub(super) struct Reading<'t> {
    pub(super) problems: Problems<'t>,
    /// The folder of the fleet file, where paths start.
    pub(super) folder: &'t Path,
    /// Whether the files that the fleet names must be there.
    pub(super) looks_at_files: bool,
    /// The names that `builtin:` can have, where they are known.
    pub(super) parts: Option<&'t [&'t str]>,
}

impl Reading<'_> {
    /// Notes that the text cannot be taken apart.
    pub(super) fn not_toml(&self, error: &toml::de::Error) {
        let span = error.span().unwrap_or_default();
        let message = format!("this is not TOML: {}", error.message());
        let help = "texts stand in quotes, and every key stands once in its table";
        self.problems.add(span, message, "here", help);
    }

    /// Notes tables of one kind that are over a bound. `over` is the beginning of what is said.
    pub(super) fn most(&self, tables: &[TableAt<'_, '_>], most: usize, over: &str, kind: &str) {
        if let Some(table) = tables.get(most) {
            let (message, help) = (format!("{over} {most} {kind}"), format!("leave {kind} out"));
            let header = table.header.clone();
            self.problems.add(header, message, "one too many", help);
        }
    }
}

/// A table of the file and where it starts.
pub(super) struct TableAt<'s, 't> {
    pub(super) header: Range<usize>,
    pub(super) values: &'s DeTable<'t>,
}

impl Fleet {
    /// Reads a fleet file, and sees that the files it names are there.
    ///
    /// # Errors
    /// When the file cannot be read, or with all that is wrong in it.
    pub fn read(path: &Path) -> Result<Fleet, FleetError> {
        understand(&read_text(path)?, path, true, None)
    }

    /// As [`Fleet::read`], and sees that what stands after `builtin:` is one of `parts`.
    ///
    /// # Errors
    /// As [`Fleet::read`].
    pub fn read_knowing(path: &Path, parts: &[&str]) -> Result<Fleet, FleetError> {
        understand(&read_text(path)?, path, true, Some(parts))
    }

    /// Understands the text of a fleet file. `origin` is what messages call it; paths
    /// start at its folder. The files that the fleet names are not looked at.
    ///
    /// # Errors
    /// [`FleetError::Refused`] with all that is wrong in it.
    pub fn parse(text: &str, origin: &Path) -> Result<Fleet, FleetError> {
        understand(text, origin, false, None)
    }
}

/// The text of a fleet file.
pub(super) fn read_text(path: &Path) -> Result<String, FleetError> {
    let unreadable = |source: io::Error| FleetError::Unreadable {
        path: path.to_owned(),
        source,
    };
    regular(path).map_err(|error| match error {
        SourceError::Unreadable { source, .. } => unreadable(source),
        _ => FleetError::NotAFile {
            path: path.to_owned(),
        },
    })?;
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(unreadable)?
        .take(FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(FleetError::TooLarge {
            path: path.to_owned(),
        });
    }
    String::from_utf8(bytes).map_err(|error| FleetError::NotText {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })
}

/// The fleet that a text describes.
pub(super) fn understand(
    text: &str,
    origin: &Path,
    looks_at_files: bool,
    parts: Option<&[&str]>,
) -> Result<Fleet, FleetError> {
    let folder = origin.parent().unwrap_or(Path::new(""));
    let reading = Reading {
        problems: Problems::new(text),
        folder,
        looks_at_files,
        parts,
    };
    let fleet = match DeTable::parse(text) {
        Ok(file) => read_file(file.get_ref(), &reading),
        Err(error) => {
            reading.not_toml(&error);
            None
        }
    };
    let problems = reading.problems.finish();
    match fleet {
        Some(fleet) if problems.is_empty() => Ok(fleet),
        _ => Err(FleetError::Refused(Refusal::new(
            origin.to_owned(),
            text,
            problems,
        ))),
    }
}

/// The fleet of a file that is TOML. `None` only with a noted problem.
fn read_file(file: &DeTable<'_>, reading: &Reading<'_>) -> Option<Fleet> {
    let mut section = Section::open(&FILE, 0..0, file, reading);
    let fleet = fleet_table(&mut section);
    let agent_tables = tables(&mut section, "agents", "agents");
    let model_tables = tables(&mut section, "models", "models");
    let change_tables = tables(&mut section, "changes", "changes");

    let fleet =
        fleet.map(|table| header::read(Section::open(&FLEET, table.header, table.values, reading)));
    let agents = agents::read(&agent_tables, reading);
    let models = models::read(&model_tables, reading);
    let changes = changes::read(&change_tables, &models, reading);
    if agent_tables.is_empty() && !file.contains_key("agents") {
        let help = "add a table [[agents]] with `name` and `component`";
        reading.problems.add(
            0..0,
            "the fleet has no agents",
            "no [[agents]] in this file",
            help,
        );
    }
    let faults = faults::read(
        &mut section,
        faults::Cast {
            agents: &names_of(&agents, |agent| &agent.name),
            models: &names_of(&models, |model| &model.spec.name),
        },
    );
    section.close();
    let fleet = Fleet {
        agents,
        models: models.into_iter().map(|model| model.spec).collect(),
        changes,
        faults,
        ..fleet?
    };
    check_hosts(&fleet, file, reading);
    Some(fleet)
}

fn names_of<T>(named: &[T], name: impl Fn(&T) -> &String) -> Vec<&str> {
    named.iter().map(|named| name(named).as_str()).collect()
}

/// The table `[fleet]`, which must be there.
fn fleet_table<'s, 't>(section: &mut Section<'s, 't>) -> Option<TableAt<'s, 't>> {
    let Some(found) = section.value("fleet") else {
        let help = "add a table [fleet] with a line `name = \"my-fleet\"`";
        section.reading.problems.add(
            0..0,
            "the table [fleet] is missing",
            "not in this file",
            help,
        );
        return None;
    };
    if let DeValue::Table(values) = found.get_ref() {
        return Some(TableAt {
            header: found.span(),
            values,
        });
    }
    section.wrong_type(
        "fleet",
        "one table",
        found,
        "write [fleet], in single brackets, once",
    );
    None
}

/// The tables of a key that may stand any number of times.
/// `title` is what stands in the brackets.
pub(super) fn tables<'s, 't>(
    section: &mut Section<'s, 't>,
    key: &'static str,
    title: &str,
) -> Vec<TableAt<'s, 't>> {
    let Some(found) = section.value(key) else {
        return Vec::new();
    };
    let help = format!("write [[{title}]], in double brackets, before each");
    let DeValue::Array(array) = found.get_ref() else {
        section.wrong_type(key, "a list of tables", found, &help);
        return Vec::new();
    };
    let mut tables = Vec::new();
    for item in array {
        match item.get_ref() {
            DeValue::Table(values) => tables.push(TableAt {
                header: item.span(),
                values,
            }),
            _ => section.wrong_type(key, "a list of tables", item, &help),
        }
    }
    if array.is_empty() && key == "agents" {
        section.reading.problems.add(
            found.span(),
            "the fleet has no agents",
            "an empty list",
            help,
        );
    }
    tables
}

/// Checks that the processes of the run are not too many: shared hosts, of
/// which no more start than there are agents to share them, one for each
/// isolated agent, and one for the models.
fn check_hosts(fleet: &Fleet, file: &DeTable<'_>, reading: &Reading<'_>) {
    let isolated = fleet.agents.iter().filter(|agent| agent.isolate).count();
    let shared = (fleet.hosts.unwrap_or(1) as usize).min(fleet.agents.len() - isolated);
    let others = shared + usize::from(!fleet.models.is_empty());
    if isolated + others > limit::HOSTS {
        let header = file.get("fleet").map_or(0..0, |fleet| fleet.span());
        let message = format!("the fleet needs {} host processes", isolated + others);
        let label = format!("{isolated} isolated agents, and {others} more");
        let help = format!(
            "lower `hosts`, or isolate fewer agents: a run has at most {} host processes",
            limit::HOSTS
        );
        reading.problems.add(header, message, label, help);
    }
}

/// The names of one kind, each of which may be given once.
pub(super) struct Names {
    kind: &'static str,
    taken: BTreeMap<String, Range<usize>>,
}

impl Names {
    pub(super) fn new(kind: &'static str) -> Self {
        Names {
            kind,
            taken: BTreeMap::new(),
        }
    }

    /// Takes the names that one line gives, or notes the first that is given already.
    pub(super) fn take(&mut self, names: &[String], span: &Range<usize>, reading: &Reading<'_>) {
        let clash = names
            .iter()
            .find_map(|name| Some((name, self.taken.get(name)?)));
        if let Some((name, earlier)) = clash {
            let message = format!("two {} are called `{name}`", self.kind);
            reading.problems.add(
                span.clone(),
                message,
                "the second",
                "give one of them another name",
            );
            reading.problems.relate(earlier.clone(), "the first");
            return;
        }
        self.taken
            .extend(names.iter().map(|name| (name.clone(), span.clone())));
    }
}
