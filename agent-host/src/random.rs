//! The random numbers of an agent: one stream for each agent and tick.
//!
//! The generator is ChaCha with 8 rounds. Its key is derived by BLAKE3 from the key of the run and the number of the
//! agent, its stream is the tick. A value therefore depends on the seed, the agent, the tick and the number of earlier
//! values of this tick, and not on the values that other agents or ticks have drawn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use shm_protocol::id::{AgentId, Tick};

const CONTEXT: &str = "Lockstep 2026-11 randomness of an agent";

/// The random number generator of one agent.
pub(crate) struct AgentRandom {
    key: [u8; 32],
    stream: Option<ChaCha8Rng>,
}

impl AgentRandom {
    pub(crate) fn new(run_key: &[u8; 32], agent: AgentId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(run_key).update(&agent.0.to_le_bytes());
        AgentRandom {
            key: *hasher.finalize().as_bytes(),
            stream: None,
        }
    }

    /// Ends the stream of the tick before.
    pub(crate) fn begin_tick(&mut self) {
        self.stream = None;
    }

    /// The next value of a tick.
    pub(crate) fn next(&mut self, tick: Tick) -> u64 {
        let key = self.key;
        let stream = self.stream.get_or_insert_with(|| {
            let mut stream = ChaCha8Rng::from_seed(key);
            stream.set_stream(tick.0);
            stream
        });
        stream.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(run_key: u8, agent: u32, tick: u64, count: usize) -> Vec<u64> {
        let mut random = AgentRandom::new(&[run_key; 32], AgentId(agent));
        (0..count).map(|_| random.next(Tick(tick))).collect()
    }

    #[test]
    fn seed_agent_and_tick_each_give_other_values() {
        let base = draw(1, 2, 3, 4);
        assert_eq!(base, draw(1, 2, 3, 4));
        for other in [draw(2, 2, 3, 4), draw(1, 3, 3, 4), draw(1, 2, 4, 4)] {
            assert!(base.iter().zip(&other).all(|(left, right)| left != right));
        }
    }

    #[test]
    fn the_draws_of_a_tick_do_not_affect_the_next() {
        let mut random = AgentRandom::new(&[1; 32], AgentId(2));
        random.next(Tick(1));
        random.begin_tick();
        assert_eq!(random.next(Tick(3)), draw(1, 2, 3, 1)[0]);
    }

    #[test]
    fn the_values_are_part_of_the_format() {
        // A change of these values breaks the replay of existing journals.
        assert_eq!(
            draw(0, 0, 1, 2),
            [17_360_705_936_130_211_505, 16_793_406_272_592_870_083]
        );
    }
}
