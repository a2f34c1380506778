//! Names of former versions, which are refused with the names that they have now.

/// The key whose value it is (empty where it is a key itself), the former name, and the name that it has now.
pub(super) const RENAMED: &[(&str, &str, &str)] = &[
    ("", "step_data", "max_step_bytes"),
    ("", "intra_threads", "intra_op_threads"),
    ("", "checkpoint_ms", "checkpoint_min_ms"),
    ("", "keep", "checkpoints_kept"),
    ("", "poison", "quarantine_after"),
    ("", "spare", "hot_standby"),
    ("", "sequences", "max_concurrent_generations"),
    ("", "context", "context_length"),
    ("", "inference", "inference_host"),
    ("", "phase", "point"),
    ("", "ms", "delay_ms"),
    ("", "counts", "counts_as_restart"),
    ("", "life", "nth_start"),
    ("on_provider_lost", "refuse", "stop"),
    ("on_provider_lost", "degrade", "fallback"),
    ("on_mismatch", "refuse", "reject"),
    ("point", "outcome-heard", "outcome-received"),
    ("point", "answer-heard", "answer-received"),
    ("point", "checkpoint-begun", "checkpoint-started"),
    ("point", "recovery-begun", "recovery-started"),
    ("point", "recovery-redone", "recovery-caught-up"),
    ("point", "resume-begun", "resume-started"),
    ("point", "resume-cut", "resume-truncated"),
    ("point", "resume-redone", "resume-caught-up"),
    ("point", "host-born", "process-started"),
    ("point", "after-parked", "await-sent"),
    ("point", "before-answer", "await-answered"),
];

/// The present name of what was called `former`: a value of `key`, or a key if that is empty.
pub(super) fn new_name(key: &str, former: &str) -> Option<&'static str> {
    let mut renamed = RENAMED.iter();
    renamed.find_map(|(of, old, new)| ((*of, *old) == (key, former)).then_some(*new))
}
