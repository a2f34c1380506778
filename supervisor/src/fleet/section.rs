//! Takes the keys of one table of a fleet file: in their types, within their
//! bounds, and no others. What does not fit is noted and the default returned,
//! so that reading goes on and finds all that is wrong; a text with a noted
//! problem never becomes a fleet.

use super::keys::{ALL, Table};
use super::nearest::{list, nearest};
use super::read::Reading;
use std::ops::{Range, RangeInclusive};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// One table of the file while its keys are taken.
pub(super) struct Section<'s, 't> {
    table: &'static Table,
    /// Where the table starts: the place of what is missing in it.
    pub(super) header: Range<usize>,
    values: &'s DeTable<'t>,
    taken: Vec<&'static str>,
    pub(super) reading: &'s Reading<'t>,
}

impl<'s, 't> Section<'s, 't> {
    /// Opens a table and notes the keys that it does not have.
    pub(super) fn open(
        table: &'static Table,
        header: Range<usize>,
        values: &'s DeTable<'t>,
        reading: &'s Reading<'t>,
    ) -> Self {
        for key in values.keys() {
            if !table.keys.contains(&key.get_ref().as_ref()) {
                let message = format!("unknown key `{}` in {}", key.get_ref(), table.title);
                reading.problems.add(
                    key.span(),
                    message,
                    "no such key",
                    unknown_key_help(key.get_ref(), table),
                );
            }
        }
        Section {
            table,
            header,
            values,
            taken: Vec::new(),
            reading,
        }
    }

    /// Ends the table.
    ///
    /// # Panics
    /// When the reader did not ask for a key that the table has: our bug.
    pub(super) fn close(self) {
        for key in self.table.keys {
            assert!(
                self.taken.contains(key),
                "the reader of {} never asks for `{key}`",
                self.table.title
            );
        }
    }

    /// The table, as it is written.
    pub(super) fn title(&self) -> &'static str {
        self.table.title
    }

    /// `key` in this table, as messages call it.
    pub(super) fn called(&self, key: &str) -> String {
        format!("`{key}` in {}", self.table.title)
    }

    /// The value of a key.
    ///
    /// # Panics
    /// When the table has no such key: our bug.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'s Spanned<DeValue<'t>>> {
        assert!(
            self.table.keys.contains(&key),
            "{} has no key `{key}`",
            self.table.title
        );
        self.taken.push(key);
        self.values.get(key)
    }

    /// Notes that a value is of the wrong type.
    pub(super) fn wrong_type(
        &mut self,
        key: &str,
        wanted: &str,
        found: &Spanned<DeValue<'t>>,
        help: &str,
    ) {
        let message = format!("{} must be {wanted}", self.called(key));
        self.reading.problems.add(
            found.span(),
            message,
            format!("this is {}", type_name(found.get_ref())),
            help,
        );
    }

    /// A text, if the key is there.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Located<&'s str>> {
        let found = self.value(key)?;
        if let DeValue::String(text) = found.get_ref() {
            return Some(Located {
                value: text,
                span: found.span(),
            });
        }
        self.wrong_type(key, "a text", found, "write it in quotes");
        None
    }

    /// A text that must be there.
    pub(super) fn required_text(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Option<Located<&'s str>> {
        if !self.values.contains_key(key) {
            let message = format!("`{key}` is missing in {}", self.table.title);
            self.reading.problems.add(
                self.header.clone(),
                message,
                "in this table",
                format!("add a line `{key} = {example}`"),
            );
        }
        self.text(key)
    }

    /// A whole number, if the key is there.
    pub(super) fn optional_number<T: TryFrom<i128>>(
        &mut self,
        key: &'static str,
        range: &RangeInclusive<i128>,
    ) -> Option<T> {
        let found = self.value(key)?;
        let help = format!(
            "write a whole number from {} to {}",
            range.start(),
            range.end()
        );
        let DeValue::Integer(number) = found.get_ref() else {
            self.wrong_type(key, "a whole number", found, &help);
            return None;
        };
        let fitting = integer(number)
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok());
        if fitting.is_none() {
            let message = format!(
                "{} cannot be {}",
                self.called(key),
                self.reading.problems.text(&found.span())
            );
            let below = integer(number).is_some_and(|number| number < *range.start());
            let label = if below {
                format!("below {}", range.start())
            } else {
                format!("above {}", range.end())
            };
            self.reading
                .problems
                .add(found.span(), message, label, help);
        }
        fitting
    }

    /// A whole number, or its default.
    pub(super) fn number<T: TryFrom<i128>>(
        &mut self,
        key: &'static str,
        range: &RangeInclusive<i128>,
        default: T,
    ) -> T {
        self.optional_number(key, range).unwrap_or(default)
    }

    /// `true` or `false`, or its default.
    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        match self.value(key) {
            None => default,
            Some(found) => match found.get_ref() {
                DeValue::Boolean(boolean) => *boolean,
                _ => {
                    self.wrong_type(
                        key,
                        "true or false",
                        found,
                        "write `true` or `false`, without quotes",
                    );
                    default
                }
            },
        }
    }

    /// One of several words. The first is the default.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> T {
        self.chosen(key, choices).unwrap_or(choices[0].1)
    }

    /// As [`Section::choice`], and none where what stands there is none of them.
    pub(super) fn chosen<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        if self.value(key).is_none() {
            return Some(choices[0].1);
        }
        let word = self.text(key)?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == word.value) {
            return Some(*choice);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let message = format!("{} cannot be \"{}\"", self.called(key), word.value);
        self.reading.problems.add(
            word.span,
            message,
            "no such value",
            unknown_word_help(word.value, &names),
        );
        None
    }

    /// A list of at least one text, if the key is there.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Option<Vec<Located<&'s str>>> {
        let found = self.value(key)?;
        let help = format!("write it as in `{key} = {example}`");
        let DeValue::Array(array) = found.get_ref() else {
            self.wrong_type(key, "a list of texts", found, &help);
            return None;
        };
        if array.is_empty() {
            let message = format!("{} cannot be empty", self.called(key));
            self.reading.problems.add(
                found.span(),
                message,
                "nothing in it",
                format!("{help}, or leave the key out"),
            );
        }
        let mut texts = Vec::new();
        for item in array {
            match item.get_ref() {
                DeValue::String(text) => texts.push(Located {
                    value: text.as_ref(),
                    span: item.span(),
                }),
                _ => self.wrong_type(key, "a list of texts", item, &help),
            }
        }
        Some(texts)
    }

    /// The entries of a table within this one, in the order in which they are written.
    pub(super) fn entries(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Option<Vec<Entry<'s, 't>>> {
        let found = self.value(key)?;
        let DeValue::Table(table) = found.get_ref() else {
            self.wrong_type(
                key,
                "a table",
                found,
                &format!("write it as in `{key} = {example}`"),
            );
            return None;
        };
        let mut entries: Vec<Entry<'s, 't>> = table
            .iter()
            .map(|(name, value)| Entry {
                name: Located {
                    value: name.get_ref().as_ref(),
                    span: name.span(),
                },
                value,
            })
            .collect();
        entries.sort_by_key(|entry| entry.name.span.start);
        Some(entries)
    }
}

/// A name and its value in a table whose names are free.
pub(super) struct Entry<'s, 't> {
    pub(super) name: Located<&'s str>,
    pub(super) value: &'s Spanned<DeValue<'t>>,
}

/// The number that an integer spells, unless it is beyond 128 bits.
pub(super) fn integer(number: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

/// What a value is, with its article.
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// What to write instead of a word that is none of `words`.
pub(super) fn unknown_word_help(word: &str, words: &[&str]) -> String {
    match nearest(word, words.iter().copied()) {
        Some(word) => format!("did you mean \"{word}\"?"),
        None => format!("write one of {}", list(words)),
    }
}

/// A key that another table has was written in the wrong place; otherwise it may be a slip.
fn unknown_key_help(key: &str, table: &Table) -> String {
    // A letter too many or too few, sooner than a key in the wrong table.
    let near = nearest(key, table.keys.iter().copied())
        .filter(|near| near.len().abs_diff(key.len()) == 1)
        .filter(|near| near.starts_with(key) || key.starts_with(near));
    if let Some(other) = ALL.iter().find(|other| other.keys.contains(&key))
        && near.is_none()
    {
        return format!("`{key}` is a key of {}; move the line there", other.title);
    }
    match nearest(key, table.keys.iter().copied()) {
        Some(key) => format!("did you mean `{key}`?"),
        None => format!("the keys of {} are {}", table.title, list(table.keys)),
    }
}
