//! The value of a key, read in its type and within its bounds.

use super::context::Context;
use super::nearest::unknown_word_help;
use super::parse::Unfit;
use std::ops::{Range, RangeInclusive};
use toml::Spanned;
use toml::de::{DeInteger, DeValue};

/// The value of a key, of an entry or of an item of a list.
pub(super) struct Value<'s, 't> {
    /// Its name in messages, as "`inputs.x` in [[models]]".
    pub(super) called: String,
    /// Its key, or the name of an entry.
    pub(super) key: String,
    pub(super) title: &'static str,
    pub(super) found: &'s Spanned<DeValue<'t>>,
    pub(super) context: &'s Context<'t>,
}

impl<'s, 't> Value<'s, 't> {
    pub(super) fn span(&self) -> Range<usize> {
        self.found.span()
    }

    /// Notes a problem of the value.
    pub(super) fn problem(
        &self,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) {
        let problems = &self.context.problems;
        problems.add(self.span(), message, label, help);
    }

    /// The part that `pick` takes of the value, or a note that it is of the wrong type.
    pub(super) fn typed<T>(
        &self,
        wanted: &str,
        help: &str,
        pick: impl FnOnce(&'s DeValue<'t>) -> Option<T>,
    ) -> Option<T> {
        let picked = pick(self.found.get_ref());
        if picked.is_none() {
            let message = format!("{} must be {wanted}", self.called);
            let label = format!("this is {}", type_name(self.found.get_ref()));
            self.problem(message, label, help);
        }
        picked
    }

    /// The parsed value, or a note that the text cannot be one.
    pub(super) fn fitting<T>(&self, parsed: Result<T, Unfit>) -> Option<T> {
        let unfit = |unfit: Unfit| {
            let written = self.context.problems.text(&self.span());
            let message = format!("{} cannot be {written}", self.called);
            self.problem(message, unfit.label, unfit.help);
        };
        parsed.map_err(unfit).ok()
    }

    pub(super) fn text(&self) -> Option<Spanned<&'s str>> {
        let text = self.typed("a text", "write it in quotes", DeValue::as_str)?;
        Some(Spanned::new(self.span(), text))
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        let help = "write `true` or `false`, without quotes";
        self.typed("true or false", help, DeValue::as_bool)
    }

    pub(super) fn number<T: TryFrom<i128>>(&self, range: RangeInclusive<i128>) -> Option<T> {
        let (least, most) = range.into_inner();
        let help = format!("write a whole number from {least} to {most}");
        let number = self.typed("a whole number", &help, DeValue::as_integer)?;
        let label = match integer(number) {
            Some(number) if number < least => format!("below {least}"),
            Some(number) if number <= most => {
                let number = T::try_from(number).ok();
                return Some(number.expect("the bounds of a key are those of its type"));
            }
            _ => format!("above {most}"),
        };
        self.fitting(Err(Unfit { label, help }))
    }

    /// The position of the word among these names.
    pub(super) fn one_of(&self, names: &[&str]) -> Option<usize> {
        let word = self.text()?.into_inner();
        let position = names.iter().position(|name| *name == word);
        let unknown = || Unfit {
            label: "no such value".to_owned(),
            help: unknown_word_help(&self.key, word, names),
        };
        self.fitting(position.ok_or_else(unknown))
    }

    /// A part of this value: an item of a list or an entry of a table.
    fn part(&self, called: &str, key: &str, found: &'s Spanned<DeValue<'t>>) -> Value<'s, 't> {
        Value {
            called: format!("`{}{called}` in {}", self.key, self.title),
            key: key.to_owned(),
            found,
            ..*self
        }
    }

    /// The items of a list.
    pub(super) fn items(&self, wanted: &str, help: &str) -> Option<Vec<Value<'s, 't>>> {
        let list = self.typed(wanted, help, DeValue::as_array)?.iter();
        let items = list.enumerate();
        Some(
            items
                .map(|(number, item)| self.part(&format!("[{number}]"), &self.key, item))
                .collect(),
        )
    }

    /// The entries of a table whose keys are free, in the order in which they are written.
    pub(super) fn entries(&self, example: &str) -> Option<Vec<Value<'s, 't>>> {
        let help = format!("write it as in `{} = {example}`", self.key);
        let table = self.typed("a table", &help, DeValue::as_table)?;
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let entry = |(name, found): (&Spanned<_>, _)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            self.part(&format!(".{name}"), name, found)
        };
        Some(entries.into_iter().map(entry).collect())
    }
}

/// The number that an integer spells, unless it is beyond 128 bits.
pub(super) fn integer(number: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The type of a value, with its article.
fn type_name(value: &DeValue<'_>) -> &'static str {
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
