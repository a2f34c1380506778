//! Whatever changes in a file is found, and an older checkpoint serves.

use super::super::Checkpoint;
use super::world::{World, folder, names, restored};
use shm_protocol::id::Tick;

/// The newest checkpoint that can be read with all its pages, as a restart looks for it.
fn newest_good(world: &World) -> Option<Tick> {
    let shelf = world.shelf();
    shelf.newest_first().unwrap().into_iter().find(|tick| {
        let all = |checkpoint: Checkpoint| restored(&shelf, &checkpoint);
        match shelf.load(*tick).and_then(all) {
            Ok(agents) => {
                assert!(
                    agents == world.truths[tick],
                    "tick {tick}: something else is restored"
                );
                true
            }
            Err(error) => {
                assert!(error.to_string().contains("/run/checkpoints/"), "{error}");
                false
            }
        }
    })
}

/// A run with two checkpoints that share no page.
fn world() -> World {
    let mut world = World::new(2, false);
    for (tick, byte) in [(1, 1), (2, 3)] {
        world.set_page(0, 1, byte);
        world.set_page(1, 2, byte + 1);
        world.checkpoint(tick).unwrap();
    }
    world
}

#[test]
fn a_flipped_bit_falls_back_to_an_older_checkpoint() {
    let world = world();
    assert_eq!(newest_good(&world), Some(Tick(2)));
    for name in names(&world.disk) {
        let path = folder().join(&name);
        let whole = world.disk.read(&path).unwrap();
        // Every bit of a checkpoint, some of every page.
        let step = if name.ends_with(".pages") { 997 } else { 1 };
        for bit in (0..whole.len() * 8).step_by(step) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            world.disk.write(&path, &flipped);
            let expected = match name.as_str() {
                "000000000001.checkpoint" => Tick(2),
                "000000000002.checkpoint" => Tick(1),
                // The first two pages are those of the first checkpoint.
                _ if bit / 8 < 2 * 4096 => Tick(2),
                _ => Tick(1),
            };
            assert_eq!(newest_good(&world), Some(expected), "{name}, bit {bit}");
        }
        world.disk.write(&path, &whole);
    }
}

#[test]
fn a_cut_or_missing_file_falls_back_to_an_older_checkpoint() {
    let world = world();
    let path = folder().join("000000000002.checkpoint");
    let whole = world.disk.read(&path).unwrap();
    for cut in 0..whole.len() {
        world.disk.write(&path, &whole[..cut]);
        assert_eq!(newest_good(&world), Some(Tick(1)), "cut at {cut}");
    }
    world.disk.write(&path, &whole);
    let page_file = folder().join("00000001.pages");
    let whole = world.disk.read(&page_file).unwrap();
    for cut in (0..whole.len()).step_by(511) {
        world.disk.write(&page_file, &whole[..cut]);
        let expected = (cut >= 2 * 4096).then_some(Tick(1));
        assert_eq!(newest_good(&world), expected, "cut at {cut}");
    }
    crate::sys::disk::Disk::remove_file(&world.disk, &page_file).unwrap();
    assert_eq!(newest_good(&world), None);
}

/// As builds wrote them whose checkpoints had no mark of the outbox: whole, and of another format.
#[test]
fn a_checkpoint_of_another_format_falls_back_to_an_older_one() {
    let world = world();
    let path = folder().join("000000000002.checkpoint");
    let whole = world.disk.read(&path).unwrap();
    for place in [8, 9] {
        let mut other = whole[..whole.len() - 32].to_vec();
        other[place] -= 1;
        other.extend(blake3::hash(&other).as_bytes());
        world.disk.write(&path, &other);
        let error = world.shelf().load(Tick(2)).unwrap_err().to_string();
        assert!(error.contains("it has another format"), "{error}");
        assert_eq!(newest_good(&world), Some(Tick(1)));
    }
}

#[test]
fn a_damaged_checkpoint_does_not_take_the_place_of_a_good_one() {
    let mut world = World::new(1, false);
    for tick in 1..=3 {
        world.work(tick);
        world.checkpoint(tick).unwrap();
    }
    for tick in 2..=3 {
        world
            .disk
            .write(&folder().join(format!("{tick:012}.checkpoint")), b"damaged");
    }
    world.reopen();
    world.restore(0, Tick(1));
    world.work(4);
    world.checkpoint(4).unwrap();
    assert_eq!(world.shelf().newest_first().unwrap(), [4, 1].map(Tick));
    world.check(Tick(1));
    world.check(Tick(4));
}

#[test]
fn a_page_that_cannot_be_moved_is_told_again() {
    let mut world = World::new(2, false).with(2, 0);
    world.set_page(0, 0, 1);
    world.checkpoint(1).unwrap();
    for tick in 2..=9 {
        world.set_page(1, 0, u8::try_from(tick).unwrap());
        if world.checkpoint(tick).is_err() {
            break;
        }
        let page_file = folder().join("00000001.pages");
        let mut bytes = world.disk.read(&page_file).unwrap();
        bytes[7] = 9;
        world.disk.write(&page_file, &bytes);
    }
    assert!(world.collector.needs_full(), "the damage went unseen");
    world.checkpoint(10).unwrap().unwrap();
    world.check(Tick(10));
}
