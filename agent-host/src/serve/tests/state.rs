//! The promise: an agent that is restored to its state after a tick continues exactly as the original, down to the fuel
//! and to every byte of its memory, however often it is restored.

use super::image::Images;
use super::supervisor::{Given, Host};
use super::world::World;
use super::{emitted, mlp_ports};
use shm_protocol::agent_state::{RESTORE, SavedInstance};
use shm_protocol::agent_to_supervisor::{Outcome, Status};
use shm_protocol::id::{AgentId, RequestId};
use shm_protocol::supervisor_to_agent::{ModelPorts, OnFailure, OnMismatch};
use shm_protocol::tensor::{DType, Port, Signature};

const TICKS: u64 = 200;

fn models() -> Vec<ModelPorts> {
    let port = |name: &str, width| Port {
        name: name.into(),
        dtype: DType::F32,
        dims: vec![None, Some(width)],
    };
    let poles = ModelPorts {
        signature: Signature {
            inputs: vec![port("observation", 4)],
            outputs: vec![port("action", 1)],
        },
        on_mismatch: OnMismatch::Reject,
    };
    vec![mlp_ports(64, OnMismatch::Reject), poles]
}

/// Every built agent, with every way to fail.
fn built() -> Vec<Given> {
    let trouble = |what: &str, at: &str| {
        Given::new("trouble")
            .setting("what", what)
            .setting("at", at)
    };
    vec![
        Given::new("counter").setting("emit_every", "3"),
        Given::new("pingpong").setting("peer", "agent-2"),
        Given::new("pingpong").setting("peer", "agent-1"),
        Given::new("mlp").setting("emit_every", "2"),
        Given::new("cartpole")
            .setting("model", "poles")
            .setting("referee", "agent-5"),
        Given::new("referee").setting("every", "4"),
        trouble("unreachable", "60").on_failure(OnFailure::Restart),
        trouble("spin", "100").on_failure(OnFailure::Restart),
        trouble("divide", "90").on_failure(OnFailure::Halt),
        trouble("memory", "85"),
        trouble("flood", "101"),
        trouble("recurse", "130").on_failure(OnFailure::Restart),
    ]
}

fn test_components() -> Vec<Given> {
    ["numbers", "growing", "fading", "memory-only"]
        .map(Given::new)
        .to_vec()
}

/// A run, and where it is.
struct Run {
    given: Vec<Given>,
    host: Host,
    world: World,
    tick: u64,
    outcomes: Vec<Vec<Outcome>>,
    /// The states after all snapshots of this and earlier hosts.
    images: Images,
}

impl Run {
    fn start(given: Vec<Given>) -> Run {
        let host = Host::start_with(&given, models());
        assert!(
            host.loaded.iter().all(|loaded| loaded.result.is_ok()),
            "{:?}",
            host.loaded
        );
        Run {
            world: World::new(given.len(), models()),
            given,
            host,
            tick: 0,
            outcomes: Vec::new(),
            images: Images::default(),
        }
    }

    fn until(&mut self, tick: u64) -> &mut Self {
        while self.tick < tick {
            self.tick += 1;
            self.outcomes
                .push(self.world.tick(&mut self.host, self.tick));
        }
        self
    }

    /// Takes a snapshot of what has changed.
    fn save(&mut self) -> &mut Self {
        self.images.add(self.host.snapshot(self.tick, false));
        self
    }

    /// Puts a new host in the place of the host.
    fn replace(&mut self, max_pages: usize) -> &mut Self {
        let given: Vec<Given> = self.given.iter().cloned().map(Given::restored).collect();
        let host = std::mem::replace(&mut self.host, Host::start_with(&given, models()));
        host.drain();
        for loaded in &self.host.loaded {
            assert_eq!((&loaded.result, &loaded.opaque), (&Ok(()), &None));
            assert_eq!(loaded.logs, [], "`init` was called");
        }
        for record in self.images.records(max_pages) {
            self.host.push(RESTORE, self.tick, &record);
        }
        self
    }

    /// All states and all outcomes at the end.
    fn end(mut self) -> (Images, Vec<Vec<Outcome>>) {
        self.until(TICKS);
        let images = Images::of(self.host.snapshot(self.tick, true));
        self.host.drain();
        (images, self.outcomes)
    }
}

fn life(images: &Images, agent: u32) -> &SavedInstance {
    &images.0[&AgentId(agent)].rest.life
}

fn expect_equal(given: Vec<Given>, interrupt: impl FnOnce(&mut Run)) {
    let (expected, outcomes) = Run::start(given.clone()).end();
    let mut run = Run::start(given);
    interrupt(&mut run);
    let (images, again) = run.end();
    for (tick, (outcomes, again)) in outcomes.iter().zip(&again).enumerate() {
        assert_eq!(again, outcomes, "tick {}", tick + 1);
    }
    assert_eq!(again.len(), outcomes.len());
    for (agent, image) in &expected.0 {
        let got = &images.0[agent];
        assert_eq!(got.rest, image.rest, "agent {agent}");
        assert!(
            got.pages == image.pages,
            "the memory of agent {agent} differs"
        );
    }
    assert_eq!(images.0.len(), expected.0.len());
}

#[test]
fn restored_agents_continue_like_the_originals() {
    expect_equal(built(), |run| {
        run.until(37).save().until(60).save();
        assert_eq!(life(&run.images, 6), &SavedInstance::Failed);
        run.replace(50).until(89).save().until(100).save();
        assert_eq!(life(&run.images, 7), &SavedInstance::Failed);
        assert_eq!(life(&run.images, 8), &SavedInstance::Halted);
        run.replace(7)
            .until(101)
            .save()
            .replace(62)
            .until(150)
            .save()
            .replace(60);
        assert_eq!(
            run.host
                .snapshot(150, false)
                .iter()
                .map(|record| record.pages.len())
                .sum::<usize>(),
            0
        );
    });
}

#[test]
fn globals_and_memories_of_every_kind_are_captured() {
    expect_equal(test_components(), |run| {
        run.save()
            .replace(3)
            .until(1)
            .save()
            .until(20)
            .save()
            .until(21)
            .save();
        run.replace(50)
            .until(22)
            .save()
            .replace(50)
            .until(120)
            .save()
            .replace(1);
    });
}

#[test]
fn a_second_snapshot_without_steps_changes_nothing() {
    let mut run = Run::start(test_components());
    run.until(50).save();
    let kept = run.images.clone();
    run.save();
    assert_eq!(run.images, kept);
    run.host.drain();
}

#[test]
fn a_full_snapshot_equals_the_sum_of_all_others() {
    for given in [built(), test_components()] {
        let mut run = Run::start(given);
        for tick in [0, 1, 2, 3, 37, 60, 61, 86, 110] {
            run.until(tick).save();
            assert_eq!(
                Images::of(run.host.snapshot(tick, true)),
                run.images,
                "tick {tick}"
            );
        }
        run.host.drain();
    }
}

#[test]
fn globals_change_between_steps_and_snapshots_have_their_values() {
    let mut run = Run::start(test_components());
    let globals = |run: &Run| match life(&run.images, 0) {
        SavedInstance::Running { globals, .. } => globals.clone(),
        other => panic!("{other:?}"),
    };
    run.save();
    let begin = globals(&run);
    run.until(1).save();
    let single = |bits: u64| f32::from_bits(u32::try_from(bits).expect("32 bits"));
    // Of both instances of the first module, then those of the second; a start function has set the first.
    assert_eq!(begin[..4], [77, 1, 77, 1]);
    assert_eq!(
        (single(begin[4]), f64::from_bits(begin[5]), begin[6]),
        (1.5, -2.25, 0x7fa0_0001)
    );
    let after = globals(&run);
    // Its sign is no part of the bits.
    assert_eq!(after[0], 77 * 2_654_435_769 % (1 << 32));
    assert!(
        begin
            .iter()
            .zip(&after)
            .all(|(begin, after)| begin != after),
        "{after:?}"
    );
    assert_eq!(
        (single(after[4]), f64::from_bits(after[5]), after[6]),
        (1.875, -2.35, 0x7fa0_0002)
    );
    run.host.drain();
}

#[test]
fn a_restored_memory_grows_to_the_same_size() {
    for memory_bytes in [1 << 20, 16 << 20] {
        let given = vec![Given::new("growing").memory_bytes(memory_bytes)];
        let mut run = Run::start(given);
        run.until(9).save().replace(5).until(60).save();
        let says = |outcome: &Outcome| -> (i32, i32) {
            let text = match &outcome.effects[..] {
                [shm_protocol::agent_to_supervisor::Effect::Emit { payload, .. }] => payload,
                other => panic!("{other:?}"),
            };
            let number = |at: usize| i32::from_le_bytes(text[at..at + 4].try_into().expect("four"));
            (number(0), number(4))
        };
        let last = i32::try_from((memory_bytes >> 16).min(40)).expect("small");
        for (tick, outcomes) in (1..).zip(&run.outcomes) {
            let expected = if tick + 2 <= last {
                (tick + 1, tick + 2)
            } else {
                (-1, last)
            };
            assert_eq!(says(&outcomes[0]), expected, "tick {tick}");
        }
        run.host.drain();
    }
}

#[test]
fn snapshots_leave_opaque_agents_out() {
    let mut host = Host::start(&[Given::new("vector"), Given::new("counter")]);
    let reasons: Vec<_> = host
        .loaded
        .iter()
        .map(|loaded| loaded.opaque.as_deref())
        .collect();
    assert_eq!(
        reasons,
        [Some("it has a mutable global of type v128"), None]
    );
    assert_eq!(host.tick(1, &[0, 1])[0].status, Status::Completed);
    let images = Images::of(host.snapshot(1, true));
    assert_eq!(images.0.keys().collect::<Vec<_>>(), [&AgentId(1)]);
    host.drain();
}

#[test]
fn the_number_of_the_next_request_is_restored() {
    let mut run = Run::start(built());
    run.until(5).save().replace(50);
    let next = |run: &Run| run.images.0[&AgentId(3)].rest.next_request;
    assert_eq!(next(&run), RequestId(5));
    run.until(6).save();
    assert_eq!(next(&run), RequestId(6));
    run.host.drain();
}

#[test]
fn a_restored_agent_emits_what_the_original_emits() {
    let mut run = Run::start(vec![Given::new("counter").setting("emit_every", "1")]);
    run.until(3).save().replace(50).until(4);
    assert_eq!(emitted(&run.outcomes[3][0], "count"), "4");
    run.host.drain();
}
