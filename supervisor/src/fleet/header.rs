//! What the table `[fleet]` means.

use super::bounds;
use super::section::Section;
use super::spec::{Durability, Fleet, Nan, OnLost, RestartLimits};
use crate::faults::FaultPlan;
use shm_protocol::limit;

/// Milliseconds until a host that has not answered counts as hung, unless the fleet says otherwise.
const DEADLINE_MS: u64 = 5_000;

/// Ticks between two checkpoints: what a host that is lost has to execute again at most.
const CHECKPOINT_TICKS: u64 = 64;

/// Milliseconds between two checkpoints: ticks can be so short that only this keeps them cheap.
const CHECKPOINT_MS: u64 = 100;

/// Checkpoints kept: the last, one in case that it is damaged, and one in case that both are.
const KEEP: u32 = 3;

/// An agent host only attaches its memory and confines itself before it is ready.
const AGENT_READY_MS: u64 = 2_000;

/// The inference host may have a library of hundreds of megabytes to load.
const INFERENCE_READY_MS: u64 = 30_000;

/// Compiling is done before, so only a hung host, an agent that does much at first, or a huge model is silent for longer.
const LOAD_MS: u64 = 60_000;

/// The fleet that the table describes, still without agents and models.
pub(super) fn read(mut section: Section<'_, '_>) -> Fleet {
    let fleet = Fleet {
        name: section
            .name("\"my-fleet\"")
            .map_or_else(String::new, |name| name.value.to_owned()),
        seed: section.number("seed", &bounds::SEED, 1),
        ticks: section.optional_number("ticks", &bounds::POSITIVE),
        hosts: section.optional_number("hosts", &bounds::HOSTS),
        durability: section.choice(
            "durability",
            &[
                ("batch", Durability::Batch),
                ("process", Durability::Process),
                ("sync", Durability::Sync),
            ],
        ),
        nan: section.choice(
            "nan",
            &[("canonical", Nan::Canonical), ("native", Nan::Native)],
        ),
        intra_threads: section.number("intra_threads", &bounds::INTRA_THREADS, 1),
        step_bytes: section.memory("step_data", limit::STEP_BYTES as u64, &bounds::STEP_BYTES),
        deadline_ms: section.number("deadline_ms", &bounds::DEADLINE_MS, DEADLINE_MS),
        checkpoint_ticks: section.number("checkpoint_ticks", &bounds::POSITIVE, CHECKPOINT_TICKS),
        checkpoint_ms: section.number("checkpoint_ms", &bounds::CHECKPOINT_MS, CHECKPOINT_MS),
        keep: section.number("keep", &bounds::KEEP, KEEP),
        restarts: restarts(&mut section),
        spare: section.boolean("spare", true),
        agent_ready_ms: section.number("agent_ready_ms", &bounds::DEADLINE_MS, AGENT_READY_MS),
        inference_ready_ms: section.number(
            "inference_ready_ms",
            &bounds::DEADLINE_MS,
            INFERENCE_READY_MS,
        ),
        load_ms: section.number("load_ms", &bounds::DEADLINE_MS, LOAD_MS),
        on_provider_lost: section.choice(
            "on_provider_lost",
            &[
                ("refuse", OnLost::Refuse),
                ("degrade", OnLost::Degrade),
                ("ask", OnLost::Ask),
            ],
        ),
        agents: Vec::new(),
        models: Vec::new(),
        changes: Vec::new(),
        faults: FaultPlan::default(),
    };
    schedule(&mut section);
    section.close();
    fleet
}

/// How often hosts may be started again.
fn restarts(section: &mut Section<'_, '_>) -> RestartLimits {
    let (times, seconds) = (&bounds::RESTARTS, &bounds::RESTART_SECONDS);
    RestartLimits {
        host: section.number("restarts_host", times, RestartLimits::USUAL.host),
        host_seconds: section.number(
            "restarts_host_s",
            seconds,
            RestartLimits::USUAL.host_seconds,
        ),
        run: section.number("restarts_run", times, RestartLimits::USUAL.run),
        run_seconds: section.number("restarts_run_s", seconds, RestartLimits::USUAL.run_seconds),
        poison: section.number("poison", &bounds::POISON, RestartLimits::USUAL.poison),
    }
}

/// There is one schedule so far. Its name may be written, and the other one is known.
fn schedule(section: &mut Section<'_, '_>) {
    let Some(schedule) = section.text("schedule") else {
        return;
    };
    let (label, help) = match schedule.value {
        "round-robin" => return,
        "dag" => (
            "not built yet",
            "write \"round-robin\" or leave the key out; every agent then steps in a fixed order",
        ),
        _ => (
            "no such value",
            "write \"round-robin\" or leave the key out",
        ),
    };
    let message = format!(
        "{} cannot be \"{}\"",
        section.called("schedule"),
        schedule.value
    );
    section
        .reading
        .problems
        .add(schedule.span, message, label, help);
}
