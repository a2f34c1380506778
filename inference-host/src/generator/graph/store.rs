//! Where keys and values are kept between runs and between ticks.
//!
//! Texts that are decoded together lie in one slab, in the order of its rows, so
//! that the next run takes them where they lie. They are copied only when the
//! company changes or the room is used up.

use super::layout::Cache;
use super::slab::Slab;
use shm_protocol::id::{AgentId, RequestId};

/// Which text.
pub(in crate::generator) type Key = (AgentId, RequestId);

/// All slabs.
#[derive(Debug, Default)]
pub(in crate::generator) struct Store {
    slabs: Vec<Held>,
}

/// A slab, and whose row is whose; `None` where nobody needs it any more.
#[derive(Debug)]
pub(in crate::generator) struct Held {
    keys: Vec<Option<Key>>,
    pub(in crate::generator) slab: Slab,
}

impl Store {
    /// Keeps the one row of a slab under a key.
    pub(in crate::generator) fn insert(&mut self, key: Key, slab: Slab) {
        self.forget(key);
        self.slabs.push(Held {
            keys: vec![Some(key)],
            slab,
        });
    }

    /// Nobody needs this text any more.
    pub(in crate::generator) fn forget(&mut self, key: Key) {
        for held in &mut self.slabs {
            held.keys
                .iter_mut()
                .filter(|held| **held == Some(key))
                .for_each(|held| *held = None);
        }
        self.slabs
            .retain(|held| held.keys.iter().any(Option::is_some));
    }

    /// The texts as the rows of one slab with this room; each comes with the count of its tokens. `None` when one of
    /// them is not there.
    pub(in crate::generator) fn gather(
        &mut self,
        caches: &[Cache],
        texts: &[(Key, usize)],
        room: usize,
    ) -> Option<&mut Held> {
        let fits = |held: &Held| {
            held.slab.room == room
                && held.keys.len() == texts.len()
                && held
                    .keys
                    .iter()
                    .zip(texts)
                    .all(|(held, (key, _))| *held == Some(*key))
        };
        if let Some(position) = self.slabs.iter().position(fits) {
            return self.slabs.get_mut(position);
        }
        let rows: Option<Vec<(&Slab, usize, usize)>> = texts
            .iter()
            .map(|(key, count)| {
                let (held, row) = self.find(*key)?;
                Some((&held.slab, row, *count))
            })
            .collect();
        let slab = Slab::of_rows(caches, room, rows?.into_iter());
        texts.iter().for_each(|(key, _)| self.forget(*key));
        let keys = texts.iter().map(|(key, _)| Some(*key)).collect();
        self.slabs.push(Held { keys, slab });
        self.slabs.last_mut()
    }

    /// Gives back what only some still need: their rows get slabs of their own.
    pub(in crate::generator) fn tidy(&mut self, caches: &[Cache]) {
        let (whole, broken): (Vec<Held>, Vec<Held>) = std::mem::take(&mut self.slabs)
            .into_iter()
            .partition(|held| held.keys.iter().all(Option::is_some));
        self.slabs = whole;
        for held in broken {
            for (row, key) in held.keys.iter().enumerate() {
                if let Some(key) = key {
                    let slab = Slab::of_rows(
                        caches,
                        held.slab.room,
                        [(&held.slab, row, held.slab.room)].into_iter(),
                    );
                    self.slabs.push(Held {
                        keys: vec![Some(*key)],
                        slab,
                    });
                }
            }
        }
    }

    /// Whether a text is here.
    pub(in crate::generator) fn holds(&self, key: Key) -> bool {
        self.find(key).is_some()
    }

    /// Bytes that a text takes.
    pub(in crate::generator) fn bytes_of(&self, key: Key) -> usize {
        self.find(key)
            .map_or(0, |(held, _)| held.slab.bytes() / held.slab.rows)
    }

    /// Bytes of everything.
    #[cfg(test)]
    pub(in crate::generator) fn bytes(&self) -> usize {
        self.slabs.iter().map(|held| held.slab.bytes()).sum()
    }

    fn find(&self, key: Key) -> Option<(&Held, usize)> {
        self.slabs.iter().find_map(|held| {
            let row = held.keys.iter().position(|held| *held == Some(key))?;
            Some((held, row))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::tensor::DType;

    const CACHES: [Cache; 1] = [Cache {
        dtype: DType::F16,
        heads: 1,
        width: 1,
        present: 0,
    }];

    fn key(agent: u32) -> Key {
        (AgentId(agent), RequestId(0))
    }

    fn row(first: u8) -> Slab {
        Slab {
            rows: 1,
            room: 1,
            tensors: vec![vec![first, 0]],
        }
    }

    #[test]
    fn company_that_stays_is_not_copied() {
        let mut store = Store::default();
        (0..3)
            .for_each(|agent| store.insert(key(agent), row(1 + u8::try_from(agent).expect("few"))));
        let texts = [(key(2), 1), (key(0), 1)];
        let held = store.gather(&CACHES, &texts, 2).expect("both are there");
        assert_eq!(held.slab.tensors[0], [3, 0, 0, 0, 1, 0, 0, 0]);
        let place = held.slab.tensors[0].as_ptr();
        assert_eq!(
            store
                .gather(&CACHES, &texts, 2)
                .expect("still")
                .slab
                .tensors[0]
                .as_ptr(),
            place
        );
        assert_eq!(store.bytes(), 8 + 2);
        assert!(store.gather(&CACHES, &[(key(9), 1)], 2).is_none());
    }

    #[test]
    fn who_leaves_gives_back_the_memory() {
        let mut store = Store::default();
        (0..2).for_each(|agent| store.insert(key(agent), row(1)));
        store
            .gather(&CACHES, &[(key(0), 1), (key(1), 1)], 4)
            .expect("both are there");
        store.forget(key(0));
        assert_eq!(store.bytes(), 16);
        store.tidy(&CACHES);
        assert_eq!(
            (
                store.bytes(),
                store.bytes_of(key(1)),
                store.bytes_of(key(0))
            ),
            (8, 8, 0)
        );
        store.forget(key(1));
        assert_eq!(store.bytes(), 0);
    }
}
