//! Which version of a model answers what is asked of it, by the tick in which it
//! is asked.

use shm_protocol::id::{Tick, VersionId};

/// What a model is from some tick on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionSpan {
    /// The first tick.
    pub from: Tick,
    /// Who answers; nobody if it is none.
    pub version: Option<VersionId>,
    /// Whether rows of several requests may be joined.
    pub joined: bool,
}

/// What a model is, tick by tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionTimeline(Vec<VersionSpan>);

impl VersionTimeline {
    /// One version from the first tick on.
    #[must_use]
    pub fn of(version: VersionId, joined: bool) -> VersionTimeline {
        VersionTimeline(vec![VersionSpan {
            from: Tick::ZERO,
            version: Some(version),
            joined,
        }])
    }

    /// Nobody answers before the first change.
    pub fn begin_unloaded(&mut self) {
        if let Some(first) = self.0.first_mut() {
            first.version = None;
        }
    }

    /// What it is from a tick on, up to the next change that is known.
    pub fn change(&mut self, life: VersionSpan) {
        self.0.retain(|held| held.from != life.from);
        let before = self.0.partition_point(|held| held.from < life.from);
        self.0.insert(before, life);
    }

    /// Whether rows may be joined is another matter from a tick on, wherever this version answers.
    pub fn rejoin(&mut self, version: VersionId, from: Tick, joined: bool) {
        let now = self.at(from).clone();
        if now.version == Some(version) {
            self.change(VersionSpan {
                from,
                joined,
                ..now
            });
        }
        for life in self.0.iter_mut().filter(|life| life.from > from) {
            if life.version == Some(version) {
                life.joined = joined;
            }
        }
    }

    /// Whether rows were joined when this version answered last.
    #[must_use]
    pub fn joins(&self, version: Option<VersionId>) -> bool {
        let mut newest_first = self.0.iter().rev();
        newest_first
            .find(|life| life.version == version)
            .is_some_and(|life| life.joined)
    }

    /// The version that answered last, in this tick or before.
    #[must_use]
    pub fn last_version(&self, tick: Tick) -> Option<VersionId> {
        let until = self.0.partition_point(|life| life.from <= tick);
        self.0[..until].iter().rev().find_map(|life| life.version)
    }

    /// The first change after a tick that is known.
    #[must_use]
    pub fn change_after(&self, tick: Tick) -> Option<Tick> {
        let later = self.0.iter().find(|life| life.from > tick);
        later.map(|life| life.from)
    }

    /// What it is for requests of a tick.
    #[must_use]
    pub fn at(&self, tick: Tick) -> &VersionSpan {
        let before = self.0.partition_point(|life| life.from <= tick);
        &self.0[before.saturating_sub(1)]
    }

    /// Whether it ever changes.
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
        let mut lives = VersionTimeline::of(VersionId(0), true);
        assert!(!lives.changes());
        let life = |from, version| VersionSpan {
            from: Tick(from),
            version,
            joined: false,
        };
        lives.change(life(5, None));
        lives.change(life(9, Some(VersionId(3))));
        let versions = [1, 4, 5, 8, 9, 100].map(|tick| lives.at(Tick(tick)).version);
        let (first, last) = (Some(VersionId(0)), Some(VersionId(3)));
        assert_eq!(versions, [first, first, None, None, last, last]);
        // Two changes of one tick: the later one holds.
        lives.change(life(9, None));
        assert_eq!(lives.at(Tick(9)).version, None);
        assert_eq!(lives.at(Tick(4)).version, first);
        // A change before others that are known leaves them as they are.
        lives.change(life(20, first));
        lives.rejoin(VersionId(0), Tick(3), true);
        let joined = [1, 2, 3, 5, 20].map(|tick| lives.at(Tick(tick)).joined);
        assert_eq!(joined, [true, true, true, false, true]);
        lives.rejoin(VersionId(0), Tick(3), false);
        let joined = [1, 2, 3, 5, 20].map(|tick| lives.at(Tick(tick)).joined);
        assert_eq!(joined, [true, true, false, false, false]);
    }
}
