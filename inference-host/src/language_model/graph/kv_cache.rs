//! Keys and values between runs and between ticks.
//!
//! Sequences that are decoded together lie in one block, in the order of its rows, so that the next run takes them
//! where they lie. They are copied only when the batch membership changes or the capacity is used up.

use super::decoder_signature::KvCacheSpec;
use super::kv_block::KvBlock;
use shm_protocol::id::{AgentId, RequestId};

/// The name of a sequence: who asked, and by which request.
pub(crate) type SequenceKey = (AgentId, RequestId);

/// The blocks of all sequences.
#[derive(Debug, Default)]
pub(crate) struct KvCache {
    batches: Vec<KvBatch>,
}

/// A block with the sequence of each row; `None` where the row is not needed any more.
#[derive(Debug)]
pub(crate) struct KvBatch {
    keys: Vec<Option<SequenceKey>>,
    pub(crate) block: KvBlock,
}

impl KvCache {
    /// Stores a block of one row.
    pub(crate) fn insert(&mut self, key: SequenceKey, block: KvBlock) {
        self.remove(key);
        self.batches.push(KvBatch {
            keys: vec![Some(key)],
            block,
        });
    }

    /// Drops a sequence. The memory of its row is freed by [`KvCache::compact`], or with the last row of its block.
    pub(crate) fn remove(&mut self, key: SequenceKey) {
        for batch in &mut self.batches {
            batch
                .keys
                .iter_mut()
                .filter(|row| **row == Some(key))
                .for_each(|row| *row = None);
        }
        self.batches
            .retain(|batch| batch.keys.iter().any(Option::is_some));
    }

    /// The sequences as the rows of one block of this capacity; each comes with the number of its tokens. `None` if one
    /// of them is not cached.
    pub(crate) fn gather(
        &mut self,
        caches: &[KvCacheSpec],
        sequences: &[(SequenceKey, usize)],
        capacity: usize,
    ) -> Option<&mut KvBatch> {
        let fits = |batch: &KvBatch| {
            batch.block.capacity == capacity
                && batch.keys.len() == sequences.len()
                && batch
                    .keys
                    .iter()
                    .zip(sequences)
                    .all(|(row, (key, _))| *row == Some(*key))
        };
        if let Some(position) = self.batches.iter().position(fits) {
            return self.batches.get_mut(position);
        }
        let rows: Option<Vec<(&KvBlock, usize, usize)>> = sequences
            .iter()
            .map(|(key, count)| {
                let (batch, row) = self.find(*key)?;
                Some((&batch.block, row, *count))
            })
            .collect();
        let block = KvBlock::from_rows(caches, capacity, rows?.into_iter());
        sequences.iter().for_each(|(key, _)| self.remove(*key));
        let keys = sequences.iter().map(|(key, _)| Some(*key)).collect();
        self.batches.push(KvBatch { keys, block });
        self.batches.last_mut()
    }

    /// Frees rows that are not needed: the other rows of their blocks get blocks of their own.
    pub(crate) fn compact(&mut self, caches: &[KvCacheSpec]) {
        let (full, partial): (Vec<KvBatch>, Vec<KvBatch>) = std::mem::take(&mut self.batches)
            .into_iter()
            .partition(|batch| batch.keys.iter().all(Option::is_some));
        self.batches = full;
        for batch in partial {
            for (row, key) in batch.keys.iter().enumerate() {
                if let Some(key) = key {
                    let block = KvBlock::from_rows(
                        caches,
                        batch.block.capacity,
                        [(&batch.block, row, batch.block.capacity)].into_iter(),
                    );
                    self.batches.push(KvBatch {
                        keys: vec![Some(*key)],
                        block,
                    });
                }
            }
        }
    }

    /// True if the keys and values of a sequence are here.
    pub(crate) fn contains(&self, key: SequenceKey) -> bool {
        self.find(key).is_some()
    }

    /// Size of a sequence.
    pub(crate) fn bytes_of(&self, key: SequenceKey) -> usize {
        self.find(key)
            .map_or(0, |(batch, _)| batch.block.bytes() / batch.block.rows)
    }

    /// Size of all blocks.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.block.bytes()).sum()
    }

    fn find(&self, key: SequenceKey) -> Option<(&KvBatch, usize)> {
        self.batches.iter().find_map(|batch| {
            let row = batch.keys.iter().position(|row| *row == Some(key))?;
            Some((batch, row))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::tensor::DType;

    const CACHES: [KvCacheSpec; 1] = [KvCacheSpec {
        dtype: DType::F16,
        heads: 1,
        head_dim: 1,
        present: 0,
    }];

    fn key(agent: u32) -> SequenceKey {
        (AgentId(agent), RequestId(0))
    }

    fn row(first: u8) -> KvBlock {
        KvBlock {
            rows: 1,
            capacity: 1,
            tensors: vec![vec![first, 0]],
        }
    }

    #[test]
    fn an_unchanged_batch_is_not_copied() {
        let mut store = KvCache::default();
        (0..3)
            .for_each(|agent| store.insert(key(agent), row(1 + u8::try_from(agent).expect("few"))));
        let sequences = [(key(2), 1), (key(0), 1)];
        let batch = store
            .gather(&CACHES, &sequences, 2)
            .expect("both are there");
        assert_eq!(batch.block.tensors[0], [3, 0, 0, 0, 1, 0, 0, 0]);
        let address = batch.block.tensors[0].as_ptr();
        assert_eq!(
            store
                .gather(&CACHES, &sequences, 2)
                .expect("still")
                .block
                .tensors[0]
                .as_ptr(),
            address
        );
        assert_eq!(store.bytes(), 8 + 2);
        assert!(store.gather(&CACHES, &[(key(9), 1)], 2).is_none());
    }

    #[test]
    fn the_row_of_a_sequence_that_leaves_is_freed() {
        let mut store = KvCache::default();
        (0..2).for_each(|agent| store.insert(key(agent), row(1)));
        store
            .gather(&CACHES, &[(key(0), 1), (key(1), 1)], 4)
            .expect("both are there");
        store.remove(key(0));
        assert_eq!(store.bytes(), 16);
        store.compact(&CACHES);
        assert_eq!(
            (
                store.bytes(),
                store.bytes_of(key(1)),
                store.bytes_of(key(0))
            ),
            (8, 8, 0)
        );
        store.remove(key(1));
        assert_eq!(store.bytes(), 0);
    }
}
