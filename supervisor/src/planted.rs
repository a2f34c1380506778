//! The bugs that can be planted in this crate: see [`shm_protocol::planted`].

/// The test in which everything goes wrong with hosts, disk and supervisor.
#[cfg(test)]
const CAMPAIGN: &str =
    "simulation::campaign::whatever_happens_the_journal_is_that_of_the_fault_free_run";

/// The test in which somebody changes models while a run goes on.
#[cfg(test)]
const CHANGES: &str =
    "simulation::decided::a_requested_model_change_holds_after_resume_and_in_replay";

shm_protocol::planted_bugs! {
    /// Outputs of a tick leave before its record is written.
    ReleaseBeforeWrite: "release-before-write", CAMPAIGN;
    /// At the level `sync`, a tick is acknowledged without a sync.
    AcknowledgeBeforeSync: "acknowledge-before-sync", "journal::tests::crash::a_power_cut_at_any_call_loses_nothing_that_was_acknowledged";
    /// At the level `batch`, a tick counts as durable once it is written.
    DurableBeforeSync: "durable-before-sync", "journal::tests::crash::a_power_cut_at_any_call_loses_nothing_that_was_acknowledged";
    /// The name of a new segment is not synced.
    UnsyncedSegmentName: "unsynced-segment-name", "journal::tests::crash::a_power_cut_at_any_call_loses_nothing_that_was_acknowledged";
    /// The name of a new checkpoint is not synced.
    UnsyncedCheckpointName: "unsynced-checkpoint-name", "checkpoint::tests::failures::a_power_cut_leaves_the_last_checkpoint_usable";
    /// A sync that failed is tried again, and believed.
    RetrySync: "retry-sync", "journal::tests::promises::a_failed_sync_is_told_and_never_repeated";
    /// A write that was short counts as whole.
    ShortWrite: "short-write", "journal::tests::promises::no_failed_disk_call_loses_what_was_promised";
    /// The torn end of a journal is not cut when the run goes on.
    KeepTornEnd: "keep-torn-end", CAMPAIGN;
    /// What the last writer has not synced is not synced when the run goes on.
    TrustLastWriter: "trust-last-writer", "journal::tests::crash::what_a_failed_sync_has_lost_is_written_again";
    /// A run that goes on writes again what has left it before.
    RepeatOutbox: "repeat-outbox", CAMPAIGN;
    /// An outbox is continued behind a gap.
    ContinueBehindGap: "continue-behind-gap", "simulation::outbox::an_outbox_damaged_anywhere_is_whole_again";
    /// A checkpoint is published before the journal is durable up to its tick.
    PublishBeforeDurable: "publish-before-durable", "checkpoint::tests::one_is_published_only_when_everything_is_there";
    /// A checkpoint's file is read without its digest being compared.
    SkipManifestDigest: "skip-manifest-digest", "checkpoint::tests::damage::a_flipped_bit_falls_back_to_an_older_checkpoint";
    /// A page is read without its digest being compared.
    SkipPageDigest: "skip-page-digest", "checkpoint::tests::damage::a_flipped_bit_falls_back_to_an_older_checkpoint";
    /// A page file that an older checkpoint still names is removed.
    SweepNamedPageFile: "sweep-named-page-file", "checkpoint::tests::damage::a_damaged_checkpoint_does_not_take_the_place_of_a_good_one";
    /// Checkpoints of ticks that the journal has lost are kept.
    KeepLaterCheckpoints: "keep-later-checkpoints", "checkpoint::tests::checkpoints_after_the_end_of_the_journal_are_forgotten";
    /// What an agent's host says for a checkpoint that came to nothing is not kept, so the next one has older pages.
    ForgetDifference: "forget-difference", "checkpoint::tests::parts_that_come_late_belong_to_what_they_were_asked_for";
    /// An agent is restored with the state of another one.
    StateOfAnother: "state-of-another", CAMPAIGN;
    /// An agent is restored without its variables outside of the memory.
    ForgetGlobals: "forget-globals", CAMPAIGN;
    /// Messages that wait for an agent change their order when the run is restored.
    SwapMessages: "swap-messages", CAMPAIGN;
    /// A text goes on after a restore as if nothing of it had been written.
    ForgetTokens: "forget-tokens", "tick::tests::generations::what_is_open_is_the_same_after_a_restore";
    /// What somebody has changed of the models is forgotten when the machine is restored.
    ForgetChanged: "forget-changed", CHANGES;
    /// A version that was brought in goes by a number that another one has.
    ReuseVersion: "reuse-version", CHANGES;
    /// A version is loaded from the place that its file has in the memory of a later incarnation.
    PlaceTooEarly: "place-too-early", CAMPAIGN;
    /// A batch that is submitted again goes to the version that answers now, not to the one that was asked.
    AskNewestVersion: "ask-newest-version", CAMPAIGN;
    /// One tick too few is executed again.
    RedoOneLess: "redo-one-less", CAMPAIGN;
    /// One tick too many is executed again.
    RedoOneMore: "redo-one-more", CAMPAIGN;
    /// What a step comes to when it is executed again is not compared with the journal.
    BelieveRedone: "believe-redone", "simulation::poison::who_does_something_else_the_second_time_is_noticed";
    /// What was meant for a dead incarnation is sent to the next one.
    SendWhatWasForTheDead: "send-what-was-for-the-dead", CAMPAIGN;
    /// Half an answer of a dead engine is taken for the beginning of its successor's.
    KeepHalfAnswer: "keep-half-answer", CAMPAIGN;
    /// A new incarnation goes by the number of the dead one.
    ReuseIncarnation: "reuse-incarnation", CAMPAIGN;
    /// A host is taken to be set up that was never told what its agents have in common.
    SkipSetup: "skip-setup", CAMPAIGN;
    /// A batch that is submitted again has its requests in another order.
    OtherComposition: "other-composition", CAMPAIGN;
    /// An answer of the engine is taken a second time.
    AnswerTwice: "answer-twice", CAMPAIGN;
    /// What agents wait for forms batches in the order in which they came.
    RoundInArrivalOrder: "round-in-arrival-order", "tick::tests::rounds::the_order_of_awaits_and_answers_is_not_observable";
    /// Of the agents that wait, two get each other's answers.
    AnswerOfAnother: "answer-of-another", CAMPAIGN;
    /// A step that is taken again is not told the answers that it got before.
    ForgetAnswers: "forget-answers", CAMPAIGN;
    /// An outcome is taken a second time.
    OutcomeTwice: "outcome-twice", CAMPAIGN;
    /// A verdict is not taken when a journal is followed.
    ForgetVerdict: "forget-verdict", "simulation::poison::who_is_given_up_stays_so_in_every_life";
    /// A host that misses its deadlines is found guilty, as one that crashes.
    SlownessIsGuilt: "slowness-is-guilt", "simulation::slow::slowness_stops_a_run_and_never_changes_it";
    /// Of a batch that crashes the engine, every request is abandoned.
    AbandonWholeBatch: "abandon-whole-batch", "simulation::guilty::only_the_request_that_crashes_the_engine_is_abandoned";
    /// An agent of which too many requests were abandoned goes on once the run is resumed.
    ForgetQuarantine: "forget-quarantine", "simulation::guilty::who_goes_on_abandons_the_same_requests";
    /// A request that was abandoned goes to the engine again when models are run once more.
    ForgetAbandoned: "forget-abandoned", "simulation::guilty::only_the_request_that_crashes_the_engine_is_abandoned";
    /// A fault that was injected on purpose counts against its host.
    CountInjected: "count-injected", "recovery::policy::tests::what_does_not_count_is_never_held_against_a_host";
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
