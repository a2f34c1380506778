//! One table of a file while its keys are read.
//!
//! A line of a reader, as `table.number("every", POSITIVE, 1)`, is the definition of a key: its name, type, bounds and
//! default. The keys that a table has are those for which its reader asks. What does not fit is noted and the default
//! returned, so that reading goes on and finds all that is wrong; a text with a noted problem never becomes a fleet.

use super::context::Context;
use super::nearest::{Keys, unknown_key_help};
use super::pace::Pace;
use super::parse::check_pace;
use super::value::Value;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// One table of the file while its keys are read.
pub(super) struct TableReader<'s, 't> {
    /// The table as it is written, as `[[agents]]`.
    pub(super) title: &'static str,
    /// The start of the table: the place of what is missing in it.
    pub(super) header: Range<usize>,
    pub(super) context: &'s Context<'t>,
    values: &'s DeTable<'t>,
    /// The keys that were asked for.
    keys: Vec<&'static str>,
}

/// The keys for which a reader asks.
pub(super) fn keys_of(title: &'static str, read: impl Fn(&mut TableReader<'_, '_>)) -> Keys {
    let context = Context::of("", Path::new(""));
    let empty = DeTable::new();
    let mut table = TableReader::open(title, 0..0, &empty, &context);
    read(&mut table);
    (title, table.keys)
}

impl<'s, 't> TableReader<'s, 't> {
    pub(super) fn open(
        title: &'static str,
        header: Range<usize>,
        values: &'s DeTable<'t>,
        context: &'s Context<'t>,
    ) -> Self {
        TableReader {
            title,
            header,
            context,
            values,
            keys: Vec::new(),
        }
    }

    /// The table that a value is.
    fn of(
        value: &Value<'s, 't>,
        title: &'static str,
        wanted: &str,
        help: &str,
    ) -> Option<TableReader<'s, 't>> {
        let values = value.typed(wanted, help, DeValue::as_table)?;
        let header = value.span();
        Some(TableReader::open(title, header, values, value.context))
    }

    /// Ends the table, and notes the keys for which nobody asked.
    pub(super) fn close(self) {
        for key in self.values.keys() {
            let name = key.get_ref().as_ref();
            if !self.keys.contains(&name) {
                let message = format!("unknown key `{name}` in {}", self.title);
                let help = unknown_key_help(name, self.title, &self.keys, &self.context.all_keys);
                self.problem(key.span(), message, "no such key", help);
            }
        }
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Value<'s, 't>> {
        if !self.keys.contains(&key) {
            self.keys.push(key);
        }
        Some(Value {
            called: format!("`{key}` in {}", self.title),
            key: key.to_owned(),
            title: self.title,
            found: self.values.get(key)?,
            context: self.context,
        })
    }

    /// The value of a key, whose absence is a problem.
    pub(super) fn require(&mut self, key: &'static str, example: &str) -> Option<Value<'s, 't>> {
        if !self.values.contains_key(key) {
            let message = format!("`{key}` is missing in {}", self.title);
            self.problem_here(message, format!("add a line `{key} = {example}`"));
        }
        self.get(key)
    }

    pub(super) fn problem(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.context.problems.add(span, message, label, help);
    }

    /// Notes a problem of the table as a whole.
    pub(super) fn problem_here(&self, message: impl Into<String>, help: impl Into<String>) {
        self.problem(self.header.clone(), message, "in this table", help);
    }

    /// A whole number, or its default.
    pub(super) fn number<T: TryFrom<i128>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i128>,
        default: T,
    ) -> T {
        self.optional_number(key, range).unwrap_or(default)
    }

    /// A whole number, if the key is there.
    pub(super) fn optional_number<T: TryFrom<i128>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i128>,
    ) -> Option<T> {
        self.get(key)?.number(range)
    }

    /// `true` or `false`, or its default.
    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let value = self.get(key).and_then(|value| value.boolean());
        value.unwrap_or(default)
    }

    /// The pace of a run, or its default.
    pub(super) fn pace(&mut self, key: &'static str) -> Pace {
        let pace = self.get(key).and_then(|value| {
            let text = value.text()?;
            value.fitting(check_pace(text.get_ref()))
        });
        pace.unwrap_or_default()
    }

    /// One of several words. The first is the default.
    pub(super) fn choice<T: Clone>(&mut self, key: &'static str, words: &[(&str, T)]) -> T {
        let choice = self.chosen(key, words);
        choice.unwrap_or_else(|| words[0].1.clone())
    }

    /// As [`TableReader::choice`], and `None` where what stands there is none of them.
    pub(super) fn chosen<T: Clone>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let position = self.get(key).map_or(Some(0), |word| word.one_of(&names));
        Some(words[position?].1.clone())
    }

    /// A table that stands at most once.
    pub(super) fn table(
        &mut self,
        key: &'static str,
        title: &'static str,
        help: &str,
    ) -> Option<TableReader<'s, 't>> {
        TableReader::of(&self.get(key)?, title, "one table", help)
    }

    /// The tables of a key that may stand up to `most` times.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        title: &'static str,
        most: usize,
    ) -> Vec<TableReader<'s, 't>> {
        let help = format!("write {title}, in double brackets, before each");
        let list = self.get(key);
        let list = list.and_then(|list| list.items("a list of tables", &help));
        let list = list.unwrap_or_default();
        if let Some(item) = list.get(most) {
            let message = format!("there are more than {most} tables {title}");
            let help = "leave out this one and those after it";
            self.problem(item.span(), message, "one too many", help);
        }
        let tables = list.iter().take(most);
        tables
            .filter_map(|item| TableReader::of(item, title, "a table", &help))
            .collect()
    }
}
