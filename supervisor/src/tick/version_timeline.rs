//! The version of a model that answers a request, by the tick of the request.

use shm_protocol::id::{Tick, VersionId};

/// The version of a model from some tick on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionSpan {
    /// The first tick.
    pub from: Tick,
    /// The version that answers; none while the model is unloaded.
    pub version: Option<VersionId>,
    /// True if rows of several requests are joined.
    pub is_batched: bool,
}

/// The versions of a model, tick by tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionTimeline(Vec<VersionSpan>);

impl VersionTimeline {
    /// One version from the first tick on.
    #[must_use]
    pub fn new(version: VersionId, is_batched: bool) -> VersionTimeline {
        VersionTimeline(vec![VersionSpan {
            from: Tick::ZERO,
            version: Some(version),
            is_batched,
        }])
    }

    /// The model is unloaded before the first change.
    pub fn start_unloaded(&mut self) {
        if let Some(first) = self.0.first_mut() {
            first.version = None;
        }
    }

    /// Sets the version from a tick on, up to the next known change.
    pub fn insert(&mut self, span: VersionSpan) {
        self.0.retain(|held| held.from != span.from);
        let before = self.0.partition_point(|held| held.from < span.from);
        self.0.insert(before, span);
    }

    /// Sets the batching from a tick on, wherever this version answers.
    pub fn set_batching(&mut self, version: VersionId, from: Tick, is_batched: bool) {
        let now = self.at(from).clone();
        if now.version == Some(version) {
            self.insert(VersionSpan {
                from,
                is_batched,
                ..now
            });
        }
        for span in self.0.iter_mut().filter(|span| span.from > from) {
            if span.version == Some(version) {
                span.is_batched = is_batched;
            }
        }
    }

    /// The batching of a version when it answered last.
    #[must_use]
    pub fn is_batched(&self, version: Option<VersionId>) -> bool {
        let mut newest_first = self.0.iter().rev();
        newest_first
            .find(|span| span.version == version)
            .is_some_and(|span| span.is_batched)
    }

    /// The version that answered last, in this tick or before.
    #[must_use]
    pub fn last_version(&self, tick: Tick) -> Option<VersionId> {
        let until = self.0.partition_point(|span| span.from <= tick);
        self.0[..until].iter().rev().find_map(|span| span.version)
    }

    /// The first known change after a tick.
    #[must_use]
    pub fn change_after(&self, tick: Tick) -> Option<Tick> {
        let later = self.0.iter().find(|span| span.from > tick);
        later.map(|span| span.from)
    }

    /// The version for requests of a tick.
    #[must_use]
    pub fn at(&self, tick: Tick) -> &VersionSpan {
        let before = self.0.partition_point(|span| span.from <= tick);
        &self.0[before.saturating_sub(1)]
    }

    /// True if the version changes during the run.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.0.len() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_is_told_by_the_tick() {
        let mut timeline = VersionTimeline::new(VersionId(0), true);
        assert!(!timeline.changes());
        let span = |from, version| VersionSpan {
            from: Tick(from),
            version,
            is_batched: false,
        };
        timeline.insert(span(5, None));
        timeline.insert(span(9, Some(VersionId(3))));
        let versions = [1, 4, 5, 8, 9, 100].map(|tick| timeline.at(Tick(tick)).version);
        let (first, last) = (Some(VersionId(0)), Some(VersionId(3)));
        assert_eq!(versions, [first, first, None, None, last, last]);
        // Two changes of one tick: the later one holds.
        timeline.insert(span(9, None));
        assert_eq!(timeline.at(Tick(9)).version, None);
        assert_eq!(timeline.at(Tick(4)).version, first);
        // A change before others that are known leaves them as they are.
        timeline.insert(span(20, first));
        timeline.set_batching(VersionId(0), Tick(3), true);
        let is_batched = [1, 2, 3, 5, 20].map(|tick| timeline.at(Tick(tick)).is_batched);
        assert_eq!(is_batched, [true, true, true, false, true]);
        timeline.set_batching(VersionId(0), Tick(3), false);
        let is_batched = [1, 2, 3, 5, 20].map(|tick| timeline.at(Tick(tick)).is_batched);
        assert_eq!(is_batched, [true, true, false, false, false]);
    }
}
