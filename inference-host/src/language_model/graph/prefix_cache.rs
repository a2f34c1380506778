//! Keys and values of common prefixes of prompts, so that later prompts with the same prefix take fewer runs.
//!
//! Prompts are prefilled alone, in chunks of a fixed size, so the keys and values of a chunk are a function of the
//! tokens up to its end. Each whole chunk is kept for itself, under a digest of those tokens, and only if its run left
//! the keys and values before it unchanged: concatenated, chunks are then bit for bit what the runs had produced.

use super::decoder::PREFILL_CHUNK_TOKENS;
use super::decoder_signature::KvCacheSpec;
use super::kv_block::KvBlock;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The BLAKE3 digest of the tokens up to the end of a chunk.
pub(crate) type ChunkDigest = [u8; 32];

/// The chunks that are kept.
#[derive(Debug, Default)]
pub(crate) struct PrefixCache {
    chunks: BTreeMap<ChunkDigest, PrefillChunk>,
    bytes: usize,
}

/// Keys and values of one chunk.
#[derive(Debug)]
struct PrefillChunk {
    block: KvBlock,
    /// Chunks before it in its prompt.
    preceding_chunks: usize,
    /// The decode request that last made or took it.
    last_used: u64,
}

/// The digests of the chunks of a prompt that may be shared: all but the last, whose logits are wanted.
pub(crate) fn chunk_digests(prompt: &[u32]) -> Vec<ChunkDigest> {
    let mut hasher = blake3::Hasher::new();
    let shared = prompt.len().saturating_sub(1) / PREFILL_CHUNK_TOKENS;
    let chunks = prompt.chunks(PREFILL_CHUNK_TOKENS).take(shared);
    chunks
        .map(|chunk| {
            chunk.iter().for_each(|token| {
                hasher.update(&token.to_le_bytes());
            });
            hasher.finalize().into()
        })
        .collect()
}

impl PrefixCache {
    /// The number of these chunks, from the first on, that are cached, and their keys and values in one block.
    pub(crate) fn lookup(
        &mut self,
        caches: &[KvCacheSpec],
        digests: &[ChunkDigest],
        request: u64,
    ) -> (usize, KvBlock) {
        let cached = digests
            .iter()
            .take_while(|digest| self.chunks.contains_key(*digest))
            .count();
        let mut block = KvBlock::new(caches, 1, cached * PREFILL_CHUNK_TOKENS);
        for (number, digest) in digests[..cached].iter().enumerate() {
            if let Some(chunk) = self.chunks.get_mut(digest) {
                chunk.last_used = request;
                let target = (0, number * PREFILL_CHUNK_TOKENS);
                block.copy(caches, target, &chunk.block, (0, 0), PREFILL_CHUNK_TOKENS);
            }
        }
        (cached, block)
    }

    /// Stores the last chunk of `present`, the result of the run on `past`, if all chunks before it are cached and
    /// unchanged.
    pub(crate) fn insert(
        &mut self,
        caches: &[KvCacheSpec],
        digests: &[ChunkDigest],
        (past, present): (&KvBlock, &KvBlock),
        request: u64,
    ) {
        let Some((digest, preceding)) = digests.split_last() else {
            return;
        };
        let follows = preceding
            .iter()
            .all(|digest| self.chunks.contains_key(digest));
        if !follows || self.chunks.contains_key(digest) || !present.starts_with(caches, past) {
            return;
        }
        let mut block = KvBlock::new(caches, 1, PREFILL_CHUNK_TOKENS);
        block.copy(
            caches,
            (0, 0),
            present,
            (0, past.capacity),
            PREFILL_CHUNK_TOKENS,
        );
        self.bytes += block.bytes();
        let chunk = PrefillChunk {
            block,
            preceding_chunks: preceding.len(),
            last_used: request,
        };
        self.chunks.insert(*digest, chunk);
    }

    /// Evicts chunks until they take at most `max_bytes`: the least recently used first, and a later chunk before those
    /// that it follows.
    pub(crate) fn evict_to(&mut self, max_bytes: usize) {
        if self.bytes <= max_bytes {
            return;
        }
        let mut oldest: Vec<(u64, Reverse<usize>, ChunkDigest)> = self
            .chunks
            .iter()
            .map(|(digest, chunk)| (chunk.last_used, Reverse(chunk.preceding_chunks), *digest))
            .collect();
        oldest.sort_unstable();
        for (_, _, digest) in oldest {
            if self.bytes <= max_bytes {
                return;
            }
            if let Some(chunk) = self.chunks.remove(&digest) {
                self.bytes -= chunk.block.bytes();
            }
        }
    }

    /// Size of all chunks.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::tensor::DType;

    const CACHES: [KvCacheSpec; 1] = [KvCacheSpec {
        dtype: DType::F16,
        heads: 2,
        head_dim: 1,
        present: 0,
    }];

    /// Size of a chunk.
    const CHUNK_BYTES: usize = PREFILL_CHUNK_TOKENS * 2 * 2;

    fn prompt(first: u32, tokens: usize) -> Vec<u32> {
        (0..).map(|token| token * 7 + first).take(tokens).collect()
    }

    /// Keys and values as a run makes them, from the position alone.
    fn present(tokens: usize) -> KvBlock {
        let mut block = KvBlock::new(&CACHES, 1, tokens);
        for (position, byte) in block.tensors[0].iter_mut().enumerate() {
            *byte = u8::try_from(position / 2 % tokens % 251).expect("less than 251");
        }
        block
    }

    /// Prefills a prompt; gives the number of chunks that were cached.
    fn prefill(prefixes: &mut PrefixCache, prompt: &[u32], request: u64) -> usize {
        let digests = chunk_digests(prompt);
        let (cached, mut past) = prefixes.lookup(&CACHES, &digests, request);
        assert_eq!(
            past.tensors,
            present(past.capacity.max(1)).tensors[..]
                .iter()
                .map(|tensor| tensor[..past.bytes()].to_vec())
                .collect::<Vec<_>>()
        );
        for number in cached..digests.len() {
            let present = present((number + 1) * PREFILL_CHUNK_TOKENS);
            prefixes.insert(&CACHES, &digests[..=number], (&past, &present), request);
            past = present;
        }
        cached
    }

    #[test]
    fn the_last_chunk_of_a_prompt_is_not_shared() {
        for (tokens, shared) in [(0, 0), (1, 0), (256, 0), (257, 1), (512, 1), (513, 2)] {
            assert_eq!(chunk_digests(&prompt(0, tokens)).len(), shared, "{tokens}");
        }
        let (short, long) = (
            chunk_digests(&prompt(0, 600)),
            chunk_digests(&prompt(0, 900)),
        );
        assert_eq!(short[..2], long[..2]);
        assert_ne!(chunk_digests(&prompt(1, 600))[0], short[0]);
    }

    #[test]
    fn prompts_share_their_common_prefix_and_no_more() {
        let mut prefixes = PrefixCache::default();
        let mut other = prompt(0, 900);
        assert_eq!(prefill(&mut prefixes, &other, 1), 0);
        assert_eq!(prefill(&mut prefixes, &other, 2), 3);
        other[600] += 1;
        assert_eq!(prefill(&mut prefixes, &other, 3), 2, "the third is another");
        assert_eq!(prefixes.bytes(), 4 * CHUNK_BYTES);
    }

    #[test]
    fn the_least_recently_used_chunks_are_evicted_first() {
        let mut prefixes = PrefixCache::default();
        prefill(&mut prefixes, &prompt(0, 600), 1);
        prefill(&mut prefixes, &prompt(1, 900), 2);
        prefill(&mut prefixes, &prompt(0, 600), 3);
        prefixes.evict_to(4 * CHUNK_BYTES);
        assert_eq!(
            prefixes
                .lookup(&CACHES, &chunk_digests(&prompt(1, 900)), 4)
                .0,
            2
        );
        prefixes.evict_to(3 * CHUNK_BYTES);
        assert_eq!(
            prefixes
                .lookup(&CACHES, &chunk_digests(&prompt(0, 600)), 5)
                .0,
            1
        );
        prefixes.evict_to(0);
        assert_eq!(prefixes.bytes(), 0);
    }

    #[test]
    fn a_chunk_whose_run_changed_the_past_is_not_cached() {
        let mut prefixes = PrefixCache::default();
        let digests = chunk_digests(&prompt(0, 600));
        let (none, first) = (KvBlock::new(&CACHES, 1, 0), present(PREFILL_CHUNK_TOKENS));
        prefixes.insert(&CACHES, &digests[..1], (&none, &first), 1);
        let mut second = present(2 * PREFILL_CHUNK_TOKENS);
        second.tensors[0][0] ^= 1;
        prefixes.insert(&CACHES, &digests, (&first, &second), 1);
        assert_eq!(prefixes.lookup(&CACHES, &digests, 2).0, 1);
    }
}
