//! What becomes of the models of a fleet while it runs, by its own plan and by somebody's wish.

use super::fleet::{FAST, MODEL};
use crate::record::{Become, ModelChange, VersionPin};
use shm_protocol::id::{ModelId, Tick};
use shm_protocol::inference_to_supervisor::Batching;
use std::ops::RangeInclusive;
use test_support::TestRng;

/// What becomes of the models of a fleet: of one in three, something.
pub(super) fn changes(seed: u64, models: usize, ticks: u64) -> Vec<ModelChange> {
    let mut random = TestRng::for_purpose(seed, 8);
    if models == 0 || !random.chance(1, 3) {
        return Vec::new();
    }
    let numbers = 2..=random.within(2..=5);
    changing(&mut random, models, ticks, numbers, "")
}

/// What somebody wants of the models of a fleet: in every other one, something.
pub(super) fn wishes(seed: u64, models: usize, ticks: u64) -> Vec<ModelChange> {
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
) -> Vec<ModelChange> {
    let mut loaded = vec![true; models];
    let mut from = 0;
    let mut change = |number: u64| {
        from += random.within(1..=ticks / 4);
        let model = random.index(models);
        let to = match (loaded[model], random.chance(1, 2)) {
            (true, true) => Become::Unloaded,
            (false, true) => Become::Loaded,
            (_, false) => Become::Version(VersionPin {
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
        loaded[model] = to != Become::Unloaded;
        ModelChange {
            from: Tick(from),
            model: ModelId::from_index(model),
            to,
        }
    };
    numbers.map(&mut change).collect()
}
