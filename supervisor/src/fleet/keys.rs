//! The keys of every table of a fleet file. The reader takes exactly these, and
//! a test holds `docs/fleet.md` against them.

/// One kind of table.
#[derive(Debug)]
pub(super) struct Table {
    /// As it is written in a fleet file.
    pub(super) title: &'static str,
    /// Its keys, in the order in which they are documented.
    pub(super) keys: &'static [&'static str],
}

/// The file itself.
pub(super) const FILE: Table = Table {
    title: "the fleet file",
    keys: &["fleet", "agents", "models", "changes", "faults"],
};

/// What holds for the whole run.
pub(super) const FLEET: Table = Table {
    title: "[fleet]",
    keys: &[
        "name",
        "seed",
        "ticks",
        "hosts",
        "durability",
        "nan",
        "schedule",
        "intra_threads",
        "step_data",
        "deadline_ms",
        "checkpoint_ticks",
        "checkpoint_ms",
        "keep",
        "restarts_host",
        "restarts_host_s",
        "restarts_run",
        "restarts_run_s",
        "poison",
        "spare",
        "agent_ready_ms",
        "inference_ready_ms",
        "load_ms",
        "on_provider_lost",
    ],
};

/// One agent, or `count` of them.
pub(super) const AGENTS: Table = Table {
    title: "[[agents]]",
    keys: &[
        "name",
        "count",
        "component",
        "settings",
        "fuel",
        "memory",
        "isolate",
        "priority",
        "every",
        "on_failure",
    ],
};

/// One model.
pub(super) const MODELS: Table = Table {
    title: "[[models]]",
    keys: &[
        "name",
        "file",
        "folder",
        "version",
        "loaded",
        "memory_mib",
        "sequences",
        "tokens_per_tick",
        "context",
        "cache_mib",
        "providers",
        "latency_ticks",
        "batch",
        "max_batch",
        "on_mismatch",
        "nonfinite",
        "inputs",
        "outputs",
    ],
};

/// What becomes of a model while the run goes on.
pub(super) const CHANGES: Table = Table {
    title: "[[changes]]",
    keys: &["tick", "model", "action", "file", "folder", "version"],
};

/// Keys of one rule of a fault plan, wherever it stands.
const RULE_KEYS: &[&str] = &[
    "phase",
    "kind",
    "tick",
    "agent",
    "host",
    "model",
    "inference",
    "ms",
    "times",
    "counts",
    "life",
];

/// What is to go wrong.
pub(super) const FAULTS: Table = Table {
    title: "[faults]",
    keys: &["rules"],
};

/// One rule of it.
pub(super) const FAULT_RULES: Table = Table {
    title: "[[faults.rules]]",
    keys: RULE_KEYS,
};

/// A file with a fault plan.
pub(super) const PLAN: Table = Table {
    title: "the fault plan",
    keys: &["rules"],
};

/// One rule of such a file.
pub(super) const PLAN_RULES: Table = Table {
    title: "[[rules]]",
    keys: RULE_KEYS,
};

/// The tables that a key may be of which stands in the wrong place, from the top of the file down. Rules of faults are
/// not among them: few fleets have any, and their keys are common words.
pub(super) const ALL: [&Table; 5] = [&FILE, &FLEET, &AGENTS, &MODELS, &CHANGES];
