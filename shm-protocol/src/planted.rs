//! Planted bugs, which check that the tests can fail.
//!
//! A planted bug is one line at the place of the real one: `if planted(Bug::X)`. Only a crate's own unit tests can
//! activate it: in every other build `planted` is the constant false, and the compiler removes it.
//! `test_support::planted_bugs` activates one bug after the other and requires that the test named beside it fails.

/// Makes `Bug` and `planted` of the calling crate: for each bug its documentation, its name, and the test that catches
/// it.
#[doc(hidden)]
#[macro_export]
macro_rules! planted_bugs {
    ($($(#[doc = $what:literal])+ $bug:ident: $name:literal, $harness:expr;)+) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Bug {
            $($(#[doc = $what])+ $bug,)+
        }

        /// True if a bug is planted, which is possible in the unit tests of this crate only.
        #[cfg(not(test))]
        #[inline(always)]
        pub(crate) const fn planted(_bug: Bug) -> bool {
            false
        }

        /// True for the bug that `LOCKSTEP_PLANTED` names.
        #[cfg(test)]
        pub(crate) fn planted(bug: Bug) -> bool {
            static PLANTED: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
            let planted = PLANTED.get_or_init(|| {
                let name = std::env::var("LOCKSTEP_PLANTED").ok()?;
                let known = [$(($name, Bug::$bug)),+];
                let found = known.into_iter().find(|(known, _)| *known == name);
                Some(found.unwrap_or_else(|| panic!("there is no bug `{name}`")).1)
            });
            *planted == Some(bug)
        }

        /// Every bug: its name, what it is, and the test that must fail with it.
        #[cfg(test)]
        pub(crate) const BUGS: &[[&str; 3]] =
            &[$([$name, concat!($($what),+), $harness]),+];
    };
}

crate::planted_bugs! {
    /// A reader takes whatever lies at its position, of this lap or an earlier one.
    SkipSequence: "skip-sequence", "ring::tests::a_record_of_an_earlier_lap_is_not_there";
    /// A payload that does not match its checksum is believed.
    SkipPayloadChecksum: "skip-payload-checksum", "ring::tests::a_payload_that_changed_is_refused";
    /// The length of a payload is read again after it was checked.
    ReadLengthTwice: "read-length-twice", "ring::tests::what_a_writer_changes_after_the_check_is_not_seen";
    /// The dimensions of a tensor are read again after they were checked.
    ReadDimensionsTwice: "read-dimensions-twice", "ring::tests::what_a_writer_changes_after_the_check_is_not_seen";
    /// A record of a dead incarnation is taken.
    AcceptDeadIncarnation: "accept-dead-incarnation", "ring::header::tests::each_rule_is_checked";
    /// A record may reach over records that are not taken.
    AcceptOverwriting: "accept-overwriting", "ring::tests::a_record_that_reaches_over_others_is_refused";
    /// A host whose supervisor died before the signal was armed lives on.
    ForgetParent: "forget-parent", "host_process::tests::somebody_elses_child_is_an_orphan";
}

#[cfg(test)]
mod tests {
    use super::BUGS;
    use test_support::planted_bugs;

    #[test]
    fn every_planted_bug_is_caught() {
        planted_bugs::check(BUGS);
    }

    #[test]
    fn the_documented_bugs_are_those_of_the_code() {
        planted_bugs::check_document(env!("CARGO_PKG_NAME"), BUGS);
    }
}
