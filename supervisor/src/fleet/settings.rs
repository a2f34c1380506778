//! The keys of the table `[fleet]`.

use super::parse::{MILLISECONDS, POSITIVE, Sizes};
use super::spec::{Durability, Fleet, Nan, OnProviderLost, RestartLimits};
use super::table::TableReader;
use crate::faults::FaultPlan;
use shm_protocol::limit;
use std::ops::RangeInclusive;

/// Restarts, from none at all to more than any host that can be helped needs.
const RESTARTS: RangeInclusive<i128> = 0..=100_000;

/// Seconds over which restarts are counted, up to a day.
const RESTART_SECONDS: RangeInclusive<i128> = 1..=86_400;

/// Sizes from what every agent can count on to what rings of two gibibytes carry.
const STEP_BYTES: Sizes = Sizes {
    bytes: limit::STEP_BYTES as u64..=limit::MAX_STEP_BYTES as u64,
    below: "below the 1 MiB that every agent can count on",
    above: "above 256 MiB, for which each host has two rings of 2 GiB",
    help: "write a size from \"1 MiB\" to \"256 MiB\"",
};

/// The fleet that the table describes, still without agents and models.
pub(super) fn read(table: &mut TableReader<'_, '_>) -> Fleet {
    schedule(table);
    Fleet {
        name: table
            .name("\"my-fleet\"")
            .map_or_else(String::new, |name| name.get_ref().to_string()),
        seed: table.number("seed", 0..=u64::MAX.into(), 1),
        ticks: table.optional_number("ticks", POSITIVE),
        hosts: table.optional_number("hosts", 1..=limit::HOSTS as i128),
        durability: table.choice("durability", &Durability::NAMES),
        nan: table.choice(
            "nan",
            &[("canonical", Nan::Canonical), ("native", Nan::Native)],
        ),
        // More threads than any machine has are a slip of the keyboard.
        intra_op_threads: table.number("intra_op_threads", 1..=1_024, 1),
        max_step_bytes: table.size("max_step_bytes", limit::STEP_BYTES as u64, &STEP_BYTES),
        deadline_ms: table.number("deadline_ms", MILLISECONDS, 5_000),
        // The most ticks that a restarted host has to execute again.
        checkpoint_ticks: table.number("checkpoint_ticks", POSITIVE, 64),
        // Ticks can be so short that only this keeps checkpoints cheap.
        checkpoint_min_ms: table.number("checkpoint_min_ms", 0..=*MILLISECONDS.end(), 100),
        // The last, one in case that it is damaged, and one in case that both are. Each holds what changed since the
        // one before it, so many cost disk and little else.
        checkpoints_kept: table.number("checkpoints_kept", 1..=1_000, 3),
        restarts: restarts(table),
        hot_standby: table.boolean("hot_standby", true),
        pace: table.pace("pace"),
        // An agent host only attaches its memory and confines itself before it is ready.
        agent_ready_ms: table.number("agent_ready_ms", MILLISECONDS, 2_000),
        // The inference host may have a library of hundreds of megabytes to load.
        inference_ready_ms: table.number("inference_ready_ms", MILLISECONDS, 30_000),
        // Compiling is done before, so only a hung host, an agent that does much at first, or a huge model is silent
        // for longer.
        load_ms: table.number("load_ms", MILLISECONDS, 60_000),
        on_provider_lost: table.choice(
            "on_provider_lost",
            &[
                ("stop", OnProviderLost::Stop),
                ("fallback", OnProviderLost::Fallback),
                ("ask", OnProviderLost::Ask),
            ],
        ),
        agents: Vec::new(),
        models: Vec::new(),
        changes: Vec::new(),
        faults: FaultPlan::default(),
    }
}

fn restarts(table: &mut TableReader<'_, '_>) -> RestartLimits {
    let usual = RestartLimits::USUAL;
    RestartLimits {
        host: table.number("restarts_host", RESTARTS, usual.host),
        host_seconds: table.number("restarts_host_s", RESTART_SECONDS, usual.host_seconds),
        run: table.number("restarts_run", RESTARTS, usual.run),
        run_seconds: table.number("restarts_run_s", RESTART_SECONDS, usual.run_seconds),
        quarantine_after: table.number("quarantine_after", 1..=1_000, usual.quarantine_after),
    }
}

/// Notes any schedule but the one that there is so far.
fn schedule(table: &mut TableReader<'_, '_>) {
    match table.get("schedule") {
        Some(schedule) if schedule.found.get_ref().as_str() == Some("dag") => {
            let message = format!("{} cannot be \"dag\"", schedule.called);
            let help = "write \"round-robin\" or leave the key out; every agent then steps in a fixed order";
            schedule.problem(message, "not built yet", help);
        }
        _ => table.choice("schedule", &[("round-robin", ())]),
    }
}
