//! From the text of a file to what it means, or to all that is wrong with it.

use super::context::Context;
use super::error::{FleetError, Refusal};
use super::source::{SourceError, regular};
use super::table::TableReader;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use toml::de::DeTable;

/// Bytes of a fleet file. The most agents that a fleet may have fit with a kilobyte for each.
const FILE_BYTES: u64 = 64 << 20;

/// The text of a file, which is called `what`.
pub(super) fn read_text(what: &'static str, path: &Path) -> Result<String, FleetError> {
    let read = || {
        regular(path).map_err(|error| match error {
            SourceError::Unreadable { source, .. } => source,
            _ => io::Error::other("it is not a file"),
        })?;
        let mut bytes = Vec::new();
        File::open(path)?
            .take(FILE_BYTES + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES {
            let reason = format!("it is over the {FILE_BYTES} bytes that it may have");
            return Err(io::Error::other(reason));
        }
        String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            io::Error::other(format!("byte {offset} is no UTF-8"))
        })
    };
    read().map_err(|source| FleetError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    })
}

/// The result of `read` on the table of a whole text, or all its problems. `origin` and `title` are the names of the text
/// and of that table in messages.
pub(super) fn understand<T>(
    text: &str,
    origin: &Path,
    title: &'static str,
    context: Context<'_>,
    read: impl FnOnce(&mut TableReader<'_, '_>) -> Option<T>,
) -> Result<T, FleetError> {
    let value = match DeTable::parse(text) {
        Ok(file) => {
            let mut table = TableReader::open(title, 0..0, file.get_ref(), &context);
            let value = read(&mut table);
            table.close();
            value
        }
        Err(error) => {
            let message = format!("this is not TOML: {}", error.message());
            let help = "texts stand in quotes, and every key stands once in its table";
            context
                .problems
                .add(error.span().unwrap_or_default(), message, "here", help);
            None
        }
    };
    let problems = context.problems.finish();
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(FleetError::Refused(Refusal::new(
            origin.to_owned(),
            text,
            problems,
        ))),
    }
}
