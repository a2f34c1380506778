//! Keys and values of several sequences in the shape in which the graph takes them: [rows, heads, capacity, head_dim]
//! for each cache. A row with fewer tokens than the capacity ends in zeros, which the attention mask hides.

use super::decoder_signature::KvCacheSpec;

/// Keys and values of one or more sequences.
#[derive(Clone, Debug, Default)]
pub(crate) struct KvBlock {
    pub(crate) rows: usize,
    /// Tokens that each row has space for.
    pub(crate) capacity: usize,
    /// One for each cache of the decoder's signature.
    pub(crate) tensors: Vec<Vec<u8>>,
}

impl KvBlock {
    /// Rows of zeros.
    pub(crate) fn new(caches: &[KvCacheSpec], rows: usize, capacity: usize) -> KvBlock {
        let tensors = caches
            .iter()
            .map(|cache| vec![0; bytes_of(cache, rows, capacity)])
            .collect();
        KvBlock {
            rows,
            capacity,
            tensors,
        }
    }

    /// Takes this shape before a run writes the block; the contents do not count.
    pub(crate) fn reshape(&mut self, caches: &[KvCacheSpec], rows: usize, capacity: usize) {
        (self.rows, self.capacity) = (rows, capacity);
        self.tensors.resize_with(caches.len(), Vec::new);
        for (tensor, cache) in self.tensors.iter_mut().zip(caches) {
            tensor.resize(bytes_of(cache, rows, capacity), 0);
        }
    }

    /// Size of all rows.
    pub(crate) fn bytes(&self) -> usize {
        self.tensors.iter().map(Vec::len).sum()
    }

    /// Copies tokens `first` to `first + count` of a row of another block to token `at` of a row of this one.
    pub(crate) fn copy(
        &mut self,
        caches: &[KvCacheSpec],
        (row, at): (usize, usize),
        from: &KvBlock,
        (from_row, first): (usize, usize),
        count: usize,
    ) {
        for ((into, source), cache) in self.tensors.iter_mut().zip(&from.tensors).zip(caches) {
            let token_bytes = cache.token_bytes();
            for head in 0..cache.heads {
                let start = ((row * cache.heads + head) * self.capacity + at) * token_bytes;
                let source_start =
                    ((from_row * cache.heads + head) * from.capacity + first) * token_bytes;
                into[start..start + count * token_bytes]
                    .copy_from_slice(&source[source_start..source_start + count * token_bytes]);
            }
        }
    }

    /// True if the tokens of another block, of one row like this one, are the first tokens here.
    pub(crate) fn starts_with(&self, caches: &[KvCacheSpec], other: &KvBlock) -> bool {
        let same = |(cache, (mine, others)): (&KvCacheSpec, (&Vec<u8>, &Vec<u8>))| {
            let (stride, part) = (
                self.capacity * cache.token_bytes(),
                other.capacity * cache.token_bytes(),
            );
            (0..cache.heads)
                .all(|head| mine[head * stride..][..part] == others[head * part..][..part])
        };
        let tensors = self.tensors.iter().zip(&other.tensors);
        self.capacity >= other.capacity && caches.iter().zip(tensors).all(same)
    }

    /// A block of copies: the block, the row and the number of tokens of each.
    pub(crate) fn from_rows<'s>(
        caches: &[KvCacheSpec],
        capacity: usize,
        rows: impl ExactSizeIterator<Item = (&'s KvBlock, usize, usize)>,
    ) -> KvBlock {
        let mut block = KvBlock::new(caches, rows.len(), capacity);
        for (row, (from, from_row, count)) in rows.enumerate() {
            block.copy(caches, (row, 0), from, (from_row, 0), count);
        }
        block
    }
}

/// Size of one cache.
pub(crate) fn bytes_of(cache: &KvCacheSpec, rows: usize, capacity: usize) -> usize {
    rows * cache.heads * capacity * cache.token_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::tensor::DType;

    const CACHE: KvCacheSpec = KvCacheSpec {
        dtype: DType::F16,
        heads: 2,
        head_dim: 1,
        present: 0,
    };

    #[test]
    fn a_row_is_copied_with_its_tokens_and_padded_with_zeros() {
        let mut from = KvBlock::new(&[CACHE], 2, 3);
        from.tensors[0] = (1..=24).collect();
        let taken = KvBlock::from_rows(&[CACHE], 4, [(&from, 1, 2)].into_iter());
        assert_eq!(
            taken.tensors[0],
            [13, 14, 15, 16, 0, 0, 0, 0, 19, 20, 21, 22, 0, 0, 0, 0]
        );
        let mut into = taken;
        into.copy(&[CACHE], (0, 3), &from, (0, 2), 1);
        assert_eq!(
            into.tensors[0],
            [13, 14, 15, 16, 0, 0, 5, 6, 19, 20, 21, 22, 0, 0, 11, 12]
        );
    }
}
