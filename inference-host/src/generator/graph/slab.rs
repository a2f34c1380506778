//! Keys and values of several texts in the shape in which the graph takes them:
//! [rows, heads, room, width] for each cache. A row that holds less than there is
//! room for ends in zeros, which the mask hides.

use super::layout::Cache;

/// Keys and values of one or more texts.
#[derive(Clone, Debug, Default)]
pub(in crate::generator) struct Slab {
    pub(in crate::generator) rows: usize,
    /// Tokens that each row has room for.
    pub(in crate::generator) room: usize,
    /// One for each cache of the layout.
    pub(in crate::generator) tensors: Vec<Vec<u8>>,
}

impl Slab {
    /// Rows without any token.
    pub(in crate::generator) fn new(caches: &[Cache], rows: usize, room: usize) -> Slab {
        let tensors = caches
            .iter()
            .map(|cache| vec![0; bytes_of(cache, rows, room)])
            .collect();
        Slab {
            rows,
            room,
            tensors,
        }
    }

    /// Makes room for what a run will write over; what is in it does not count.
    pub(in crate::generator) fn reshape(&mut self, caches: &[Cache], rows: usize, room: usize) {
        (self.rows, self.room) = (rows, room);
        self.tensors.resize_with(caches.len(), Vec::new);
        for (tensor, cache) in self.tensors.iter_mut().zip(caches) {
            tensor.resize(bytes_of(cache, rows, room), 0);
        }
    }

    /// Bytes of all rows.
    pub(in crate::generator) fn bytes(&self) -> usize {
        self.tensors.iter().map(Vec::len).sum()
    }

    /// Copies tokens `first` to `first + count` of a row of another slab to where `at` begins in a row of this.
    pub(in crate::generator) fn copy(
        &mut self,
        caches: &[Cache],
        (row, at): (usize, usize),
        from: &Slab,
        (from_row, first): (usize, usize),
        count: usize,
    ) {
        for ((into, source), cache) in self.tensors.iter_mut().zip(&from.tensors).zip(caches) {
            let slot = cache.slot_bytes();
            for head in 0..cache.heads {
                let start = ((row * cache.heads + head) * self.room + at) * slot;
                let source_start = ((from_row * cache.heads + head) * from.room + first) * slot;
                into[start..start + count * slot]
                    .copy_from_slice(&source[source_start..source_start + count * slot]);
            }
        }
    }

    /// Whether the tokens of another slab, of one row as this, are the first ones here.
    pub(in crate::generator) fn begins_with(&self, caches: &[Cache], other: &Slab) -> bool {
        let same = |(cache, (mine, others)): (&Cache, (&Vec<u8>, &Vec<u8>))| {
            let (whole, part) = (
                self.room * cache.slot_bytes(),
                other.room * cache.slot_bytes(),
            );
            (0..cache.heads)
                .all(|head| mine[head * whole..][..part] == others[head * part..][..part])
        };
        let tensors = self.tensors.iter().zip(&other.tensors);
        self.room >= other.room && caches.iter().zip(tensors).all(same)
    }

    /// Copies of rows of other slabs, each with the count of its tokens.
    pub(in crate::generator) fn of_rows<'s>(
        caches: &[Cache],
        room: usize,
        rows: impl ExactSizeIterator<Item = (&'s Slab, usize, usize)>,
    ) -> Slab {
        let mut slab = Slab::new(caches, rows.len(), room);
        for (row, (from, from_row, count)) in rows.enumerate() {
            slab.copy(caches, (row, 0), from, (from_row, 0), count);
        }
        slab
    }
}

/// Bytes of one cache.
pub(in crate::generator) fn bytes_of(cache: &Cache, rows: usize, room: usize) -> usize {
    rows * cache.heads * room * cache.slot_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::tensor::DType;

    const CACHE: Cache = Cache {
        dtype: DType::F16,
        heads: 2,
        width: 1,
        present: 0,
    };

    #[test]
    fn a_row_is_taken_with_its_tokens_and_the_rest_is_nought() {
        let mut from = Slab::new(&[CACHE], 2, 3);
        from.tensors[0] = (1..=24).collect();
        let taken = Slab::of_rows(&[CACHE], 4, [(&from, 1, 2)].into_iter());
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
