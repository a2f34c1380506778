//! Keys and values of how prompts begin, so that texts that begin alike take fewer runs.
//!
//! Prompts are fed in pieces of a fixed size, alone, so the keys and values of a piece follow from the tokens up to its end
//! and from nothing else. Each whole piece is kept for itself, under a digest of those tokens, and only if its
//! run left the keys and values before it as they were: put behind each other, pieces are then bit for bit what the runs had
//! made.

use super::decoder::MOST_AT_ONCE;
use super::layout::Cache;
use super::slab::Slab;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The tokens up to the end of a piece: a BLAKE3 digest.
pub(in crate::generator) type Name = [u8; 32];

/// The pieces that are kept.
#[derive(Debug, Default)]
pub(in crate::generator) struct Prefixes {
    pieces: BTreeMap<Name, Piece>,
    bytes: usize,
}

/// Keys and values of one piece.
#[derive(Debug)]
struct Piece {
    slab: Slab,
    /// Pieces before it.
    before: usize,
    /// The order in which it was last made or taken.
    used: u64,
}

/// The names of the pieces of a prompt that may be shared: all but the last, whose logits are wanted.
pub(in crate::generator) fn names(prompt: &[u32]) -> Vec<Name> {
    let mut hasher = blake3::Hasher::new();
    let shared = prompt.len().saturating_sub(1) / MOST_AT_ONCE;
    let pieces = prompt.chunks(MOST_AT_ONCE).take(shared);
    pieces
        .map(|piece| {
            piece.iter().for_each(|token| {
                hasher.update(&token.to_le_bytes());
            });
            hasher.finalize().into()
        })
        .collect()
}

impl Prefixes {
    /// How many of these pieces, from the first on, are here, and their keys and values behind each other.
    pub(in crate::generator) fn take(
        &mut self,
        caches: &[Cache],
        names: &[Name],
        order: u64,
    ) -> (usize, Slab) {
        let here = names
            .iter()
            .take_while(|name| self.pieces.contains_key(*name))
            .count();
        let mut slab = Slab::new(caches, 1, here * MOST_AT_ONCE);
        for (number, name) in names[..here].iter().enumerate() {
            if let Some(piece) = self.pieces.get_mut(name) {
                piece.used = order;
                let place = (0, number * MOST_AT_ONCE);
                slab.copy(caches, place, &piece.slab, (0, 0), MOST_AT_ONCE);
            }
        }
        (here, slab)
    }

    /// Keeps the last piece of `present`, the run that was fed `past`, if all before it are kept and are what they were.
    pub(in crate::generator) fn keep(
        &mut self,
        caches: &[Cache],
        names: &[Name],
        (past, present): (&Slab, &Slab),
        order: u64,
    ) {
        let Some((name, before)) = names.split_last() else {
            return;
        };
        let follows = before.iter().all(|name| self.pieces.contains_key(name));
        if !follows || self.pieces.contains_key(name) || !present.begins_with(caches, past) {
            return;
        }
        let mut slab = Slab::new(caches, 1, MOST_AT_ONCE);
        slab.copy(caches, (0, 0), present, (0, past.room), MOST_AT_ONCE);
        self.bytes += slab.bytes();
        let piece = Piece {
            slab,
            before: before.len(),
            used: order,
        };
        self.pieces.insert(*name, piece);
    }

    /// Gives up pieces until they take this many bytes at most: first those that were not taken for longest, later pieces
    /// before those that they follow.
    pub(in crate::generator) fn shrink(&mut self, most: usize) {
        if self.bytes <= most {
            return;
        }
        let mut oldest: Vec<(u64, Reverse<usize>, Name)> = self
            .pieces
            .iter()
            .map(|(name, piece)| (piece.used, Reverse(piece.before), *name))
            .collect();
        oldest.sort_unstable();
        for (_, _, name) in oldest {
            if self.bytes <= most {
                return;
            }
            if let Some(piece) = self.pieces.remove(&name) {
                self.bytes -= piece.slab.bytes();
            }
        }
    }

    /// Bytes of everything.
    #[cfg(test)]
    pub(in crate::generator) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::tensor::DType;

    const CACHES: [Cache; 1] = [Cache {
        dtype: DType::F16,
        heads: 2,
        width: 1,
        present: 0,
    }];

    /// Bytes of a piece.
    const PIECE: usize = MOST_AT_ONCE * 2 * 2;

    fn prompt(first: u32, tokens: usize) -> Vec<u32> {
        (0..).map(|token| token * 7 + first).take(tokens).collect()
    }

    /// Keys and values as a run makes them, from the position alone.
    fn present(tokens: usize) -> Slab {
        let mut slab = Slab::new(&CACHES, 1, tokens);
        for (place, byte) in slab.tensors[0].iter_mut().enumerate() {
            *byte = u8::try_from(place / 2 % tokens % 251).expect("less than 251");
        }
        slab
    }

    /// Feeds a prompt; how many pieces were there already.
    fn feed(prefixes: &mut Prefixes, prompt: &[u32], order: u64) -> usize {
        let names = names(prompt);
        let (here, mut past) = prefixes.take(&CACHES, &names, order);
        assert_eq!(
            past.tensors,
            present(past.room.max(1)).tensors[..]
                .iter()
                .map(|tensor| tensor[..past.bytes()].to_vec())
                .collect::<Vec<_>>()
        );
        for number in here..names.len() {
            let present = present((number + 1) * MOST_AT_ONCE);
            prefixes.keep(&CACHES, &names[..=number], (&past, &present), order);
            past = present;
        }
        here
    }

    #[test]
    fn the_last_piece_of_a_prompt_is_not_shared() {
        for (tokens, shared) in [(0, 0), (1, 0), (256, 0), (257, 1), (512, 1), (513, 2)] {
            assert_eq!(names(&prompt(0, tokens)).len(), shared, "{tokens}");
        }
        let (short, long) = (names(&prompt(0, 600)), names(&prompt(0, 900)));
        assert_eq!(short[..2], long[..2]);
        assert_ne!(names(&prompt(1, 600))[0], short[0]);
    }

    #[test]
    fn prompts_share_what_they_begin_with_and_no_more() {
        let mut prefixes = Prefixes::default();
        let mut other = prompt(0, 900);
        assert_eq!(feed(&mut prefixes, &other, 1), 0);
        assert_eq!(feed(&mut prefixes, &other, 2), 3);
        other[600] += 1;
        assert_eq!(feed(&mut prefixes, &other, 3), 2, "the third is another");
        assert_eq!(prefixes.bytes(), 4 * PIECE);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_later_pieces_before_earlier_ones() {
        let mut prefixes = Prefixes::default();
        feed(&mut prefixes, &prompt(0, 600), 1);
        feed(&mut prefixes, &prompt(1, 900), 2);
        feed(&mut prefixes, &prompt(0, 600), 3);
        prefixes.shrink(4 * PIECE);
        assert_eq!(prefixes.take(&CACHES, &names(&prompt(1, 900)), 4).0, 2);
        prefixes.shrink(3 * PIECE);
        assert_eq!(prefixes.take(&CACHES, &names(&prompt(0, 600)), 5).0, 1);
        prefixes.shrink(0);
        assert_eq!(prefixes.bytes(), 0);
    }

    #[test]
    fn a_piece_whose_run_has_changed_what_was_before_is_not_kept() {
        let mut prefixes = Prefixes::default();
        let names = names(&prompt(0, 600));
        let (none, first) = (Slab::new(&CACHES, 1, 0), present(MOST_AT_ONCE));
        prefixes.keep(&CACHES, &names[..1], (&none, &first), 1);
        let mut second = present(2 * MOST_AT_ONCE);
        second.tensors[0][0] ^= 1;
        prefixes.keep(&CACHES, &names, (&first, &second), 1);
        assert_eq!(prefixes.take(&CACHES, &names, 2).0, 1);
    }
}
