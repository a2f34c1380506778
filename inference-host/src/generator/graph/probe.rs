//! What a decoder may be spared and what not, found out while it is loaded.
//!
//! Two questions, asked with tokens from a counter. Is room for more tokens than
//! there are harmless? Then texts of about the same length can share a run, as
//! their room is a multiple of [`BLOCK`]; if not, only those of the same length
//! can. And are a row's bits the same alone and in company, in every number of
//! rows that will be used, at changing positions? If not, each text runs alone.

use super::decoder::{Decoder, Feed, Logits};
use super::layout::Cache;
use super::slab::Slab;
use shm_protocol::inference_to_supervisor::Batching;

/// The room of a text is a multiple of so many tokens, if the graph bears it.
pub(in crate::generator) const BLOCK: usize = 32;

/// Numbers of rows that a run may have. Every one up to 16, as kernels change among the small ones.
const ROWS: [usize; 24] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 32, 48, 64, 96, 128, 192, 256,
];

/// Most bytes of keys and values in one run: more rows than fit gain nothing.
const RUN_BYTES: usize = 1 << 30;

/// Different rows that are tried.
const TRIED: usize = 4;

/// By how much the logits may differ through spare room, measured by the largest of them. Rounding makes about 1e-6 in
/// single precision and 1e-3 in half; a wrong position or mask makes more than 0.1.
const SPARE_ROOM_DIFFERENCE: f32 = 0.02;

/// What was found out.
pub(in crate::generator) struct Found {
    /// Texts have room for a multiple of so many tokens.
    pub(in crate::generator) block: usize,
    /// Numbers of rows that a run may have, ascending; the first is 1.
    pub(in crate::generator) rows: Vec<usize>,
    pub(in crate::generator) batching: Batching,
}

/// Finds it out. `context` are the tokens that the model holds, `sequences` the rows that are wanted.
///
/// # Errors
/// When the graph does not run at all.
pub(in crate::generator) fn probe(
    decoder: &mut Decoder,
    words: u32,
    context: usize,
    sequences: usize,
    may_batch: bool,
) -> Result<Found, String> {
    let mut probe = Probe {
        decoder,
        words: words.max(1),
        logits: Logits::default(),
    };
    let block = if context > 2 * BLOCK && probe.bears_spare_room()? {
        BLOCK
    } else {
        1
    };
    let alone = |batching| Found {
        block,
        rows: vec![1],
        batching,
    };
    if !may_batch {
        return Ok(alone(Batching::Unwanted));
    }
    let lengths: Vec<usize> = [20, 70]
        .into_iter()
        .filter(|length| length + 1 < context)
        .collect();
    let room = context.next_multiple_of(block);
    let most = RUN_BYTES / (room * probe.decoder.layout.token_bytes()).max(1);
    let rows: Vec<usize> = ROWS
        .into_iter()
        .filter(|rows| *rows <= sequences.min(most.max(1)))
        .collect();
    if lengths.is_empty() {
        return Ok(alone(Batching::Alone(format!(
            "a context of {context} tokens is too short to try it"
        ))));
    }
    for length in lengths {
        if let Some(reason) = probe.differs_in_company(length, block, &rows)? {
            return Ok(alone(Batching::Alone(reason)));
        }
    }
    Ok(Found {
        block,
        rows,
        batching: Batching::Joined,
    })
}

struct Probe<'d> {
    decoder: &'d mut Decoder,
    words: u32,
    logits: Logits,
}

impl Probe<'_> {
    /// A token from a counter.
    fn token(&self, row: usize, position: usize) -> u32 {
        let number = u32::try_from(row * 7919 + position * 31 + 1).unwrap_or(1);
        number.wrapping_mul(2_654_435_761) % self.words
    }

    /// Keys and values of the first `length` tokens of a row.
    fn begun(&mut self, row: usize, length: usize) -> Result<Slab, String> {
        let tokens: Vec<u32> = (0..length)
            .map(|position| self.token(row, position))
            .collect();
        let (past, mut present) = (
            Slab::new(&self.decoder.layout.caches, 1, 0),
            Slab::default(),
        );
        let feed = Feed {
            rows: 1,
            length,
            tokens: &tokens,
            filled: &[0],
        };
        self.decoder
            .run(&feed, &past, &mut present, &mut self.logits)?;
        Ok(present)
    }

    /// Feeds some tokens one by one with rooms of a multiple of `block`; the logits after each.
    fn one_by_one(
        &mut self,
        begun: &Slab,
        block: usize,
        count: usize,
    ) -> Result<Vec<Vec<f32>>, String> {
        let caches = self.decoder.layout.caches.clone();
        let mut filled = begun.room;
        let mut past = Slab::of_rows(
            &caches,
            filled.next_multiple_of(block),
            [(begun, 0, filled)].into_iter(),
        );
        let (mut present, mut all) = (Slab::default(), Vec::new());
        for _ in 0..count {
            let feed = Feed {
                rows: 1,
                length: 1,
                tokens: &[self.token(0, filled)],
                filled: &[filled],
            };
            self.decoder
                .run(&feed, &past, &mut present, &mut self.logits)?;
            all.push(self.logits.last_of(0));
            let mut next = Slab::of_rows(
                &caches,
                (filled + 1).next_multiple_of(block),
                [(&past, 0, filled)].into_iter(),
            );
            next.copy(&caches, (0, filled), &present, (0, past.room), 1);
            (past, filled) = (next, filled + 1);
        }
        Ok(all)
    }

    fn bears_spare_room(&mut self) -> Result<bool, String> {
        // The steps cross a border of rooms.
        let begun = self.begun(0, BLOCK - 5)?;
        let exact = self.one_by_one(&begun, 1, 10)?;
        let Ok(spare) = self.one_by_one(&begun, BLOCK, 10) else {
            return Ok(false);
        };
        let is_close = |(exact, spare): (&Vec<f32>, &Vec<f32>)| {
            let most = exact.iter().map(|logit| logit.abs()).fold(0.0, f32::max);
            let difference = exact
                .iter()
                .zip(spare)
                .map(|(exact, spare)| (exact - spare).abs());
            exact.len() == spare.len()
                && difference.fold(0.0, f32::max) <= most * SPARE_ROOM_DIFFERENCE
        };
        Ok(exact.iter().zip(&spare).all(is_close))
    }

    /// Why rows of this length cannot share a run, if they cannot.
    fn differs_in_company(
        &mut self,
        length: usize,
        block: usize,
        numbers: &[usize],
    ) -> Result<Option<String>, String> {
        let caches = self.decoder.layout.caches.clone();
        let room = length.next_multiple_of(block);
        let begun = (0..TRIED)
            .map(|row| self.begun(row, length))
            .collect::<Result<Vec<_>, _>>()?;
        let mut alone = Vec::new();
        let mut present = Slab::default();
        for row in 0..TRIED {
            self.together(&begun, &[row], length, room, &mut present)?;
            alone.push((
                self.logits.bytes_of(0).to_vec(),
                last_slot(&caches, &present, 0),
            ));
        }
        for number in numbers.iter().copied().filter(|number| *number > 1) {
            let members: Vec<usize> = (0..number)
                .map(|position| (position * 3 + number) % TRIED)
                .collect();
            if let Err(error) = self.together(&begun, &members, length, room, &mut present) {
                return Ok(Some(format!(
                    "the probe could not run {number} of its rows: {error}"
                )));
            }
            for (position, member) in members.iter().enumerate() {
                let is_same = self.logits.bytes_of(position) == alone[*member].0
                    && last_slot(&caches, &present, position) == alone[*member].1;
                if !is_same {
                    return Ok(Some(format!(
                        "its bits differ when a text of {length} tokens is at position {position} of {number} instead of alone"
                    )));
                }
            }
        }
        Ok(None)
    }

    fn together(
        &mut self,
        begun: &[Slab],
        members: &[usize],
        length: usize,
        room: usize,
        present: &mut Slab,
    ) -> Result<(), String> {
        let caches = self.decoder.layout.caches.clone();
        let past = Slab::of_rows(
            &caches,
            room,
            members.iter().map(|row| (&begun[*row], 0, length)),
        );
        let tokens: Vec<u32> = members.iter().map(|row| self.token(*row, length)).collect();
        let filled = vec![length; members.len()];
        let feed = Feed {
            rows: members.len(),
            length: 1,
            tokens: &tokens,
            filled: &filled,
        };
        self.decoder.run(&feed, &past, present, &mut self.logits)
    }
}

/// Keys and values of the newest token of a row.
fn last_slot(caches: &[Cache], present: &Slab, row: usize) -> Vec<Vec<u8>> {
    let mut into = Slab::new(caches, 1, 1);
    into.copy(caches, (0, 0), present, (row, present.room - 1), 1);
    into.tensors
}
