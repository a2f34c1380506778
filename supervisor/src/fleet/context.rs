//! The context in which a text is read.

use super::nearest::Keys;
use super::problem::Problems;
use std::cell::LazyCell;
use std::path::Path;

/// The context of all tables of one text.
pub(super) struct Context<'t> {
    pub(super) problems: Problems<'t>,
    /// The folder of the file, where paths start.
    pub(super) folder: &'t Path,
    /// True if the files that the text names must be there.
    pub(super) checks_files: bool,
    /// The names that `builtin:` can have, where they are known.
    pub(super) parts: Option<&'t [&'t str]>,
    /// The keys of all tables of the file, among which a key in the wrong table is looked for.
    pub(super) all_keys: LazyCell<Vec<Keys>>,
}

impl<'t> Context<'t> {
    /// A context in which no file is looked at.
    pub(super) fn of(text: &'t str, folder: &'t Path) -> Self {
        Context {
            problems: Problems::new(text),
            folder,
            checks_files: false,
            parts: None,
            all_keys: LazyCell::new(Vec::new),
        }
    }
}
