//! Bounds of what a fleet file may ask for, each with the reason for its value.
//! Bounds that other crates share are in [`shm_protocol::limit`].

use shm_protocol::{generation, limit};
use std::ops::RangeInclusive;

/// Bytes of a fleet file. The most agents that a fleet may have fit with a kilobyte for each.
pub(super) const FILE_BYTES: u64 = 64 << 20;

/// Bytes of the settings of one agent, which travel in one control message with room for the rest of it.
pub(super) const SETTINGS_BYTES: usize = limit::CONTROL_BYTES / 2;

/// Characters of a name. An agent's name stands in every line that is about it.
pub(super) const NAME_CHARACTERS: usize = 64;

/// Ticks of a run, fuel of a step, every so many ticks: what a TOML number can say.
pub(super) const POSITIVE: RangeInclusive<i128> = 1..=i64::MAX as i128;

/// A seed is any number of 64 bits.
pub(super) const SEED: RangeInclusive<i128> = 0..=u64::MAX as i128;

/// Host processes for agents.
pub(super) const HOSTS: RangeInclusive<i128> = 1..=limit::HOSTS as i128;

/// Threads inside one operator. More than any machine has is a slip of the keyboard.
pub(super) const INTRA_THREADS: RangeInclusive<i128> = 1..=1_024;

/// From a millisecond to a day.
pub(super) const DEADLINE_MS: RangeInclusive<i128> = 1..=86_400_000;

/// Milliseconds between checkpoints: from as often as the ticks say to a day.
pub(super) const CHECKPOINT_MS: RangeInclusive<i128> = 0..=86_400_000;

/// Checkpoints that are kept. Each holds what changed since the one before it, so many cost disk and little else.
pub(super) const KEEP: RangeInclusive<i128> = 1..=1_000;

/// Restarts: from none at all to more than any host that can be helped needs.
pub(super) const RESTARTS: RangeInclusive<i128> = 0..=100_000;

/// Mebibytes of memory of a model, up to a terabyte.
pub(super) const MODEL_MIB: RangeInclusive<i128> = 1..=1 << 20;

/// Changes of models in one run.
pub(super) const CHANGES: usize = 1_000;

/// The first tick of a change. What holds in the first tick of a run is said of the model itself.
pub(super) const CHANGE_TICK: RangeInclusive<i128> = 2..=i64::MAX as i128;

/// Seconds over which restarts are counted, up to a day.
pub(super) const RESTART_SECONDS: RangeInclusive<i128> = 1..=86_400;

/// Times that one step may cost its host.
pub(super) const POISON: RangeInclusive<i128> = 1..=1_000;

/// Rules of a fault plan: more than a run of an hour lives through.
pub(super) const FAULT_RULES: usize = 100_000;

/// How often a fault fires, and which life of a host it is for.
pub(super) const FAULT_TIMES: RangeInclusive<i128> = 1..=1_000_000;

/// Milliseconds of a slow fault, up to an hour.
pub(super) const FAULT_MS: RangeInclusive<i128> = 1..=3_600_000;

/// Number of a host.
pub(super) const FAULT_HOST: RangeInclusive<i128> = 0..=limit::HOSTS as i128 - 1;

/// Agents of one `[[agents]]` table.
pub(super) const COUNT: RangeInclusive<i128> = 1..=limit::AGENTS as i128;

/// From one page of WebAssembly memory to all that 32 bits can address.
pub(super) const MEMORY_BYTES: Sizes = Sizes {
    bytes: 64 << 10..=4 << 30,
    below: "below one page of 64 KiB",
    above: "above the 4 GiB that WebAssembly can address",
    help: "write a size from \"64 KiB\" to \"4 GiB\"",
};

/// From what every agent can count on to what rings of two gibibytes carry.
pub(super) const STEP_BYTES: Sizes = Sizes {
    bytes: limit::STEP_BYTES as u64..=limit::MOST_STEP_BYTES as u64,
    below: "below the 1 MiB that every agent can count on",
    above: "above 256 MiB, for which each host has two rings of 2 GiB",
    help: "write a size from \"1 MiB\" to \"256 MiB\"",
};

/// Sizes that may be asked for, and what is said of others.
pub(super) struct Sizes {
    pub(super) bytes: RangeInclusive<u64>,
    pub(super) below: &'static str,
    pub(super) above: &'static str,
    pub(super) help: &'static str,
}

/// Any number of 32 bits.
pub(super) const PRIORITY: RangeInclusive<i128> = i32::MIN as i128..=i32::MAX as i128;

/// Every tick of latency holds the requests of one more tick in memory.
pub(super) const LATENCY_TICKS: RangeInclusive<i128> = 1..=1_024;

/// Texts that a language model writes at once.
pub(super) const SEQUENCES: RangeInclusive<i128> = 1..=generation::MAX_SEQUENCES as i128;

/// Tokens by which a text grows in a tick: more than anybody reads in one.
pub(super) const TOKENS_PER_TICK: RangeInclusive<i128> = 1..=1_024;

/// Tokens of a text: a question and an answer of one token, to what an order can carry.
pub(super) const CONTEXT: RangeInclusive<i128> = 2..=generation::MAX_TOKENS as i128;

/// Mebibytes of keys and values, up to a tebibyte.
pub(super) const CACHE_MIB: RangeInclusive<i128> = 1..=1 << 20;

/// Rows of one batch.
pub(super) const MAX_BATCH: RangeInclusive<i128> = 1..=1 << 20;
