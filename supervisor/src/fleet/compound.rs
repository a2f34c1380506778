//! Keys whose value is more than a word or a number: names, sources, sizes, settings and ports.

use super::nearest::{list, nearest};
use super::parse::{self, Sizes, Unfit};
use super::source::{check_file, check_folder};
use super::spec::Source;
use super::table::TableReader;
use super::value::{Value, integer};
use shm_protocol::limit;
use shm_protocol::tensor::Port;
use std::path::Path;
use toml::Spanned;
use toml::de::DeValue;

/// Bytes of the settings of one agent, which travel in one control message with room for the rest of it.
const SETTINGS_BYTES: usize = limit::CONTROL_BYTES / 2;

impl<'s> TableReader<'s, '_> {
    /// The name, which every table has.
    pub(super) fn name(&mut self, example: &str) -> Option<Spanned<&'s str>> {
        let value = self.require("name", example)?;
        let name = value.text()?;
        value.fitting(parse::check_name(name.get_ref()))?;
        Some(name)
    }

    /// A file, which must be named, and be there where files are looked at.
    pub(super) fn file(&mut self, key: &'static str, example: &str) -> Option<Source> {
        self.require(key, example)?.source(check_file)
    }

    /// The folder of a language model.
    pub(super) fn folder(&mut self, key: &'static str) -> Option<Source> {
        self.get(key)?.source(check_folder)
    }

    /// A size in bytes: a text with a unit, or a bare number of bytes.
    pub(super) fn size(&mut self, key: &'static str, default: u64, sizes: &Sizes) -> u64 {
        let size = self.get(key).and_then(|value| {
            let help = "write it as in \"64 MiB\"";
            let bytes = value.typed("a size", help, |found| match found {
                DeValue::String(text) => Some(parse::size(text)),
                DeValue::Integer(number) => {
                    let number = integer(number).unwrap_or(i128::MAX).max(0);
                    Some(Ok(u64::try_from(number).unwrap_or(u64::MAX)))
                }
                _ => None,
            })?;
            value.fitting(bytes.and_then(|bytes| sizes.check(bytes)))
        });
        size.unwrap_or(default)
    }

    /// Settings in the order of their keys, each value as the text that the agent gets.
    pub(super) fn settings(&mut self) -> Vec<(String, String)> {
        let Some(value) = self.get("settings") else {
            return Vec::new();
        };
        let wanted = "a text, a number, true or false";
        let help = "write it in quotes; the agent gets every setting as a text";
        let entries = value.entries("{ key = \"value\" }").unwrap_or_default();
        let mut settings: Vec<(String, String)> = entries
            .into_iter()
            .filter_map(|entry| Some((entry.key.clone(), entry.typed(wanted, help, setting)?)))
            .collect();
        let bytes: usize = settings
            .iter()
            .map(|(key, text)| key.len() + text.len())
            .sum();
        if bytes > SETTINGS_BYTES {
            let message = format!("{} hold {bytes} bytes", value.called);
            let most = format!("keep them below {SETTINGS_BYTES} bytes");
            self.problem_here(message, most + "; large inputs are no settings");
        }
        settings.sort();
        settings
    }

    /// Declared inputs or outputs, in the order in which they are written.
    pub(super) fn ports(&mut self, key: &'static str) -> Vec<Port> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let Some(entries) = value.entries("{ observation = \"f32[?,4]\" }") else {
            return Vec::new();
        };
        let (count, most) = (entries.len(), limit::TENSORS);
        if count == 0 || count > most {
            let message = format!("{} declares {count} tensors", value.called);
            let help = format!("declare 1 to {most} tensors, or leave `{key}` out");
            self.problem_here(message, help);
        }
        let help = "write it as in \"f32[?,4]\"; put a name that holds a point in quotes";
        let port = |entry: Value<'_, '_>| {
            let text = entry.typed("a text", help, |found| found.as_str())?;
            entry.fitting(parse::port(&entry.key, text))
        };
        entries.into_iter().filter_map(port).collect()
    }
}

impl Value<'_, '_> {
    /// The source that the value names, which `check` looks at where files are looked at.
    fn source(&self, check: fn(&Path) -> Result<(), Unfit>) -> Option<Source> {
        let source = parse::source(self.text()?.get_ref(), self.context.folder);
        let source = self.fitting(source)?;
        match (&source, self.context.parts) {
            (Source::Path(path), _) if self.context.checks_files => {
                if let Err(unfit) = check(path) {
                    let message = format!("{} names a file that cannot be used", self.called);
                    self.problem(message, unfit.label, unfit.help);
                }
            }
            (Source::Builtin(name), Some(parts)) if !parts.contains(&name.as_str()) => {
                let message = format!("{} names no part of this binary", self.called);
                let help = match nearest(name, parts.iter().copied()) {
                    Some(part) => format!("did you mean `builtin:{part}`?"),
                    None => {
                        let parts = list(parts);
                        format!("there are {parts}; or name a file, without `builtin:`")
                    }
                };
                self.problem(message, "no such part", help);
            }
            _ => {}
        }
        Some(source)
    }
}

/// The text that an agent gets for a setting: a text as it is, a number in decimal.
fn setting(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => integer(number).map(|number| number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(boolean) => Some(boolean.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
