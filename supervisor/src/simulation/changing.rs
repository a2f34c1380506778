//! What becomes of the models of a fleet while it runs, by its own plan and by somebody's wish.

use super::fleet::{FAST, MODEL};
use crate::record::{ModelChange, ScheduledChange, VersionPin};
use shm_protocol::id::{ModelId, Tick};
use shm_protocol::inference_to_supervisor::Batching;
use std::ops::RangeInclusive;
use test_support::TestRng;

/// What becomes of the models of a fleet: of one in three, something.
pub(super) fn changes(seed: u64, models: usize, ticks: u64) -> Vec<ScheduledChange<VersionPin>> {
    let mut random = TestRng::for_purpose(seed, 8);
    if models == 0 || !random.chance(1, 3) {
        return Vec::new();
    }
    let numbers = 2..=random.within(2..=5);
    changing(&mut random, models, ticks, numbers, "")
}

/// What somebody wants of the models of a fleet: in every other one, something.
pub(super) fn wishes(seed: u64, models: usize, ticks: u64) -> Vec<ScheduledChange<VersionPin>> {
    let mut random = TestRng::for_purpose(seed, 15);
    if models == 0 || random.chance(1, 2) {
        return Vec::new();
    }
    let numbers = 1..=random.within(1..=4);
    changing(&mut random, models, ticks, numbers, "brought-")
}

/// One change for each number, in the order of their ticks, each of which can be made after those before it.
fn changing(
    random: &mut TestRng,
    models: usize,
    ticks: u64,
    numbers: RangeInclusive<u64>,
    called: &str,
) -> Vec<ScheduledChange<VersionPin>> {
    let mut loaded = vec![true; models];
    let mut from = 0;
    let mut next = |number: u64| {
        from += random.within(1..=ticks / 4);
        let model = random.index(models);
        let change = match (loaded[model], random.chance(1, 2)) {
            (true, true) => ModelChange::Unload,
            (false, true) => ModelChange::Load,
            (_, false) => ModelChange::Replace(VersionPin {
                version: format!("{called}{number}"),
                file: *blake3::hash(MODEL).as_bytes(),
                provider: FAST.to_owned(),
                refused: Vec::new(),
                batching: match random.chance(1, 2) {
                    true => Batching::Joined,
                    false => Batching::Unwanted,
                },
            }),
        };
        loaded[model] = change != ModelChange::Unload;
        ScheduledChange {
            from: Tick(from),
            model: ModelId::from_index(model),
            change,
        }
    };
    numbers.map(&mut next).collect()
}
