//! Counter-based random numbers for sampling: one for each position of each sequence, a function of the seed of the
//! run, the agent, its request and the position. So they do not depend on other sequences, on their order, or on
//! restarts of the host.

use shm_protocol::id::{AgentId, RequestId};

/// The context of the key derivation.
const KEY_CONTEXT: &str = "lockstep 2026 sampling of tokens";

/// The random numbers of one sequence.
#[derive(Clone, Debug)]
pub(super) struct SampleRng([u8; 32]);

impl SampleRng {
    /// The numbers of a request; `request_seed` is the seed in the request.
    pub(super) fn new(
        seed: u64,
        agent: AgentId,
        request: RequestId,
        request_seed: u64,
    ) -> SampleRng {
        let mut key = blake3::Hasher::new_derive_key(KEY_CONTEXT);
        for part in [seed, u64::from(agent.0), request.0, request_seed] {
            key.update(&part.to_le_bytes());
        }
        SampleRng(key.finalize().into())
    }

    /// The number for a position in [0, 1), one of 2^53 at equal distances.
    pub(super) fn uniform(&self, position: u64) -> f64 {
        let hash = blake3::keyed_hash(&self.0, &position.to_le_bytes());
        let bits = hash
            .as_bytes()
            .first_chunk()
            .copied()
            .map_or(0, u64::from_le_bytes);
        #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
        let number = (bits >> 11) as f64;
        number / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_key_counts() {
        let number = |seed, agent, request, request_seed, position| {
            SampleRng::new(seed, AgentId(agent), RequestId(request), request_seed)
                .uniform(position)
                .to_bits()
        };
        let all = [
            number(0, 0, 0, 0, 0),
            number(1, 0, 0, 0, 0),
            number(0, 1, 0, 0, 0),
            number(0, 0, 1, 0, 0),
            number(0, 0, 0, 1, 0),
            number(0, 0, 0, 0, 1),
        ];
        for (position, one) in all.iter().enumerate() {
            assert!(!all[..position].contains(one), "number {position}");
        }
        assert_eq!(number(1, 2, 3, 4, 5), number(1, 2, 3, 4, 5));
    }

    #[test]
    fn numbers_are_uniform_between_zero_and_one() {
        let rng = SampleRng::new(7, AgentId(0), RequestId(0), 0);
        let numbers: Vec<f64> = (0..4000).map(|position| rng.uniform(position)).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        let low = numbers.iter().filter(|number| **number < 0.25).count();
        assert!((900..1100).contains(&low), "{low} of 4000");
    }
}
