//! Takes keys whose value is more than a word or a number: names, sources,
//! memory sizes, settings and ports.

use super::bounds::{SETTINGS_BYTES, Sizes};
use super::nearest::{list, nearest};
use super::section::{Located, Section, integer};
use super::source::{look, look_at_folder};
use super::spec::Source;
use super::value::{self, Unfit};
use shm_protocol::limit;
use shm_protocol::tensor::Port;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::DeValue;

impl<'s, 't> Section<'s, 't> {
    /// Notes that a value is not what it should be.
    fn note(&self, key: &str, span: Range<usize>, unfit: Unfit) {
        let value = self.reading.problems.text(&span);
        self.reading.problems.add(
            span,
            format!("{} cannot be {value}", self.called(key)),
            unfit.label,
            unfit.help,
        );
    }

    /// The name, which every table has.
    pub(super) fn name(&mut self, example: &str) -> Option<Located<&'s str>> {
        let name = self.required_text("name", example)?;
        match value::check_name(name.value) {
            Ok(()) => Some(name),
            Err(unfit) => {
                self.note("name", name.span, unfit);
                None
            }
        }
    }

    /// A source, which must be there, and whose file must be there where files are looked at.
    pub(super) fn source(&mut self, key: &'static str, example: &str) -> Option<Source> {
        let text = self.required_text(key, example)?;
        self.source_at(key, text, look)
    }

    /// The folder of a language model, if the key is there.
    pub(super) fn folder(&mut self, key: &'static str) -> Option<Located<Option<Source>>> {
        let text = self.text(key)?;
        let span = text.span.clone();
        let value = self.source_at(key, text, look_at_folder);
        Some(Located { value, span })
    }

    fn source_at(
        &mut self,
        key: &'static str,
        text: Located<&'s str>,
        look: fn(&Path) -> Result<(), Unfit>,
    ) -> Option<Source> {
        let source = match value::source(text.value, self.reading.folder) {
            Ok(source) => source,
            Err(unfit) => {
                self.note(key, text.span, unfit);
                return None;
            }
        };
        if let (Source::Path(path), true) = (&source, self.reading.looks_at_files)
            && let Err(unfit) = look(path)
        {
            let message = format!("{} names a file that cannot be used", self.called(key));
            self.reading
                .problems
                .add(text.span.clone(), message, unfit.label, unfit.help);
        }
        if let (Source::Builtin(name), Some(parts)) = (&source, self.reading.parts)
            && !parts.contains(&name.as_str())
        {
            let message = format!("{} names no part of this binary", self.called(key));
            let help = match nearest(name, parts.iter().copied()) {
                Some(part) => format!("did you mean `builtin:{part}`?"),
                None => format!(
                    "there are {}; or name a file, without `builtin:`",
                    list(parts)
                ),
            };
            self.reading
                .problems
                .add(text.span, message, "no such part", help);
        }
        Some(source)
    }

    /// Bytes of memory: a text with a unit, or a bare number of bytes.
    pub(super) fn memory(&mut self, key: &'static str, default: u64, sizes: &Sizes) -> u64 {
        let Some(found) = self.value(key) else {
            return default;
        };
        let bytes = match found.get_ref() {
            DeValue::String(text) => value::memory(text, sizes),
            DeValue::Integer(number) => {
                let bytes =
                    integer(number).map(|number| u64::try_from(number.max(0)).unwrap_or(u64::MAX));
                value::memory_bytes(bytes.unwrap_or(u64::MAX), sizes)
            }
            _ => {
                self.wrong_type(key, "a size", found, "write it as in \"64 MiB\"");
                return default;
            }
        };
        bytes.unwrap_or_else(|unfit| {
            self.note(key, found.span(), unfit);
            default
        })
    }

    /// Settings in the order of their keys, each value as the text that the agent gets.
    pub(super) fn settings(&mut self) -> Vec<(String, String)> {
        let entries = self
            .entries("settings", "{ key = \"value\" }")
            .unwrap_or_default();
        let mut settings = Vec::new();
        for entry in &entries {
            match setting(entry.value) {
                Some(text) => settings.push((entry.name.value.to_owned(), text)),
                None => {
                    let key = format!("settings.{}", entry.name.value);
                    let help = "write it in quotes; the agent gets every setting as a text";
                    self.wrong_type(&key, "a text, a number, true or false", entry.value, help);
                }
            }
        }
        let bytes: usize = settings
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        if bytes > SETTINGS_BYTES {
            let message = format!("{} hold {bytes} bytes", self.called("settings"));
            let help =
                format!("keep them below {SETTINGS_BYTES} bytes; large inputs are no settings");
            self.reading
                .problems
                .add(self.header.clone(), message, "in this table", help);
        }
        settings.sort();
        settings
    }

    /// Declared inputs or outputs, in the order in which they are written.
    pub(super) fn ports(&mut self, key: &'static str) -> Vec<Port> {
        let example = "{ observation = \"f32[?,4]\" }";
        let Some(entries) = self.entries(key, example) else {
            return Vec::new();
        };
        if entries.is_empty() || entries.len() > limit::TENSORS {
            let message = format!("{} declares {} tensors", self.called(key), entries.len());
            let help = format!(
                "declare 1 to {} tensors, or leave `{key}` out",
                limit::TENSORS
            );
            self.reading
                .problems
                .add(self.header.clone(), message, "in this table", help);
        }
        entries
            .iter()
            .filter_map(|entry| {
                let called = format!("{key}.{}", entry.name.value);
                let DeValue::String(text) = entry.value.get_ref() else {
                    let help =
                        "write it as in \"f32[?,4]\"; put a name that holds a point in quotes";
                    self.wrong_type(&called, "a text", entry.value, help);
                    return None;
                };
                value::port(entry.name.value, text)
                    .map_err(|unfit| self.note(&called, entry.value.span(), unfit))
                    .ok()
            })
            .collect()
    }
}

/// The text that an agent gets for a setting: a text as it is, a number in decimal.
fn setting(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => integer(number).map(|number| number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(boolean) => Some(boolean.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
