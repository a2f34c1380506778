//! The bounds of disk use that `docs/formats/checkpoint.md` promises.

use super::world::{World, folder, names};
use shm_protocol::agent_state::PAGE_BYTES;
use shm_protocol::id::Tick;
use std::collections::BTreeSet;

/// Garbage that is allowed here.
const SLACK: u64 = 64 << 10;

/// Bytes of the pages that agents have, each counted once.
fn state_bytes(world: &World) -> u64 {
    let pages: BTreeSet<&Vec<u8>> = world
        .agents
        .iter()
        .flat_map(|agent| agent.memory.iter().flatten())
        .collect();
    (pages.len() * PAGE_BYTES) as u64
}

/// Bytes of all page files.
fn pack_bytes(world: &World) -> u64 {
    (world.pack_pages() * PAGE_BYTES) as u64
}

/// The limit of the page files.
fn bound(keep: u64, largest_state: u64) -> u64 {
    (keep / 2 + 2) * (3 * largest_state + SLACK)
}

#[test]
fn a_long_run_takes_a_bounded_part_of_the_disk() {
    for keep in [1, 3, 6] {
        let mut world = World::new(8, false).with(keep, SLACK);
        let (mut largest_state, mut most, mut written) = (0, 0, 0);
        for tick in 1..=1500 {
            world.work(tick);
            let before = pack_bytes(&world);
            world.checkpoint(tick).unwrap().expect("published");
            largest_state = largest_state.max(state_bytes(&world));
            written += pack_bytes(&world).saturating_sub(before);
            most = most.max(pack_bytes(&world));
            let kept = names(&world.disk)
                .iter()
                .filter(|name| name.ends_with(".checkpoint"))
                .count();
            assert!(kept <= (keep as usize).max(2), "{kept} checkpoints");
        }
        world.check(Tick(1500));
        let bound = bound(u64::from(keep.max(2)), largest_state);
        assert!(
            most <= bound,
            "keep {keep}: {most} bytes, and {bound} are allowed"
        );
        assert!(
            written > 3 * bound,
            "nothing was ever removed: {written} bytes in all"
        );
    }
}

#[test]
fn checkpoints_that_come_to_nothing_take_a_bounded_part_too() {
    let mut world = World::new(4, false).with(3, SLACK);
    let (mut largest_state, mut most) = (0, 0);
    for tick in 1..=2000 {
        world.work(tick);
        if tick % 500 == 1 {
            world.checkpoint(tick).unwrap().expect("published");
        } else {
            world.begin(tick);
            // All but the last agent answer in time.
            (0..4).for_each(|agent| drop(world.answer(tick, agent).unwrap()));
            world.collector.abandon();
        }
        largest_state = largest_state.max(state_bytes(&world));
        most = most.max(pack_bytes(&world));
    }
    let bound = bound(3, largest_state);
    assert!(most <= bound, "{most} bytes, and {bound} are allowed");
    world.checkpoint(2001).unwrap().expect("published");
    world.check(Tick(2001));
}

#[test]
fn a_run_that_is_gone_on_with_often_takes_a_bounded_part_too() {
    let mut world = World::new(4, false).with(3, SLACK);
    let (mut largest_state, mut most) = (0, 0);
    for tick in 1..=600 {
        world.work(tick);
        world.checkpoint(tick).unwrap().expect("published");
        largest_state = largest_state.max(state_bytes(&world));
        most = most.max(pack_bytes(&world));
        if tick % 3 == 0 {
            world.reopen();
            (0..4).for_each(|agent| world.restore(agent, Tick(tick)));
        }
    }
    let bound = bound(3, largest_state);
    assert!(most <= bound, "{most} bytes, and {bound} are allowed");
    let files = names(&world.disk).len();
    assert!(files < 20, "{files} files in {:?}", folder());
}

/// Each launch leaves a page that stays, so that its page file is named for long.
#[test]
fn packs_of_earlier_launches_are_moved_too() {
    let mut world = World::new(1, false).with(3, SLACK);
    world.agents[0].memory = Some(vec![vec![1; PAGE_BYTES]; 16]);
    let (mut largest_state, mut most, mut tick) = (0, 0, 0_u64);
    for launch in 0..40_usize {
        world.agents[0].memory.as_mut().unwrap()[4 + launch % 12][..8]
            .copy_from_slice(&launch.to_le_bytes());
        for _ in 0..10 {
            tick += 1;
            for page in 0..4 {
                let bytes = (4 * tick + page).to_le_bytes();
                let page = usize::try_from(page).unwrap();
                world.agents[0].memory.as_mut().unwrap()[page][..8].copy_from_slice(&bytes);
            }
            world.checkpoint(tick).unwrap().expect("published");
            largest_state = largest_state.max(state_bytes(&world));
            most = most.max(pack_bytes(&world));
        }
        world.reopen();
        world.restore(0, Tick(tick));
    }
    let bound = bound(3, largest_state);
    assert!(most <= bound, "{most} bytes, and {bound} are allowed");
}
