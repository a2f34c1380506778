//! The names of one kind, each of which may be given once.

use super::table::TableReader;
use std::collections::BTreeMap;
use std::ops::Range;

/// The names that were given, with their places.
pub(super) struct UniqueNames {
    kind: &'static str,
    given: BTreeMap<String, Range<usize>>,
}

impl UniqueNames {
    /// No names yet of a kind of thing, which is in the plural.
    pub(super) fn new(kind: &'static str) -> Self {
        UniqueNames {
            kind,
            given: BTreeMap::new(),
        }
    }

    /// Takes the names that one line gives, or notes the first that is given already.
    pub(super) fn take(
        &mut self,
        names: &[String],
        span: &Range<usize>,
        table: &TableReader<'_, '_>,
    ) {
        let mut clashes = names
            .iter()
            .filter_map(|name| Some((name, self.given.get(name)?)));
        if let Some((name, earlier)) = clashes.next() {
            let message = format!("two {} are called `{name}`", self.kind);
            table.problem(
                span.clone(),
                message,
                "the second",
                "give one of them another name",
            );
            table.context.problems.relate(earlier.clone(), "the first");
            return;
        }
        self.given
            .extend(names.iter().map(|name| (name.clone(), span.clone())));
    }
}
