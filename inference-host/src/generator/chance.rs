//! Random numbers that are named and not drawn: one for each position of each
//! text, a function of the seed of the run, the agent, its request and the
//! position. So it does not matter who else writes, in which order, or how often
//! a host was lost.

use shm_protocol::id::{AgentId, RequestId};

/// What the key is derived from; another purpose would have another word.
const PURPOSE: &str = "lockstep 2026 sampling of tokens";

/// The random numbers of one text.
#[derive(Clone, Debug)]
pub(super) struct Chance([u8; 32]);

impl Chance {
    /// The numbers of a request; `own` is the seed that it names itself.
    pub(super) fn new(seed: u64, agent: AgentId, request: RequestId, own: u64) -> Chance {
        let mut key = blake3::Hasher::new_derive_key(PURPOSE);
        for part in [seed, u64::from(agent.0), request.0, own] {
            key.update(&part.to_le_bytes());
        }
        Chance(key.finalize().into())
    }

    /// The number for a position, at least 0 and less than 1, one of 2^53 that are equally far apart.
    pub(super) fn at(&self, position: u64) -> f64 {
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
    fn every_part_of_the_name_counts() {
        let number = |seed, agent, request, own, position| {
            Chance::new(seed, AgentId(agent), RequestId(request), own)
                .at(position)
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
    fn numbers_lie_between_nought_and_one_evenly() {
        let chance = Chance::new(7, AgentId(0), RequestId(0), 0);
        let numbers: Vec<f64> = (0..4000).map(|position| chance.at(position)).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        let low = numbers.iter().filter(|number| **number < 0.25).count();
        assert!((900..1100).contains(&low), "{low} of 4000");
    }
}
