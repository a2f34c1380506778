//! The prompt of a text is fed: in pieces of a fixed size, alone, from where another prompt has been with the same tokens.

use super::graph::decoder::{Feed, MOST_AT_ONCE};
use super::graph::prefixes;
use super::graph::slab::Slab;
use super::writer::{Turn, Writer, grow};

impl Writer {
    /// Feeds the prompt of a text, alone, and grows it by its first token unless that is known.
    pub(super) fn feed_prompt(&mut self, turn: &mut Turn) -> Result<(), String> {
        let Some(writing) = turn.writing.as_mut() else {
            return Ok(());
        };
        let names = match self.shares {
            true => prefixes::names(writing.prompt()),
            false => Vec::new(),
        };
        let caches = &self.decoder.layout.caches;
        let (here, mut past) = self.prefixes.take(caches, &names, self.orders);
        let pieces = writing.prompt().chunks(MOST_AT_ONCE).enumerate();
        for (number, part) in pieces.skip(here) {
            let feed = Feed {
                rows: 1,
                length: part.len(),
                tokens: part,
                filled: &[past.room],
            };
            self.decoder.run(
                &feed,
                &past,
                &mut self.scratch.present,
                &mut self.scratch.logits,
            )?;
            let present = &mut self.scratch.present;
            if let Some(names) = names.get(..=number) {
                let caches = &self.decoder.layout.caches;
                self.prefixes
                    .keep(caches, names, (&past, present), self.orders);
                self.prefixes.shrink(self.cache_bytes);
            }
            std::mem::swap(&mut past, present);
        }
        let filled = past.room;
        writing.fed = filled;
        let room = filled.next_multiple_of(self.found.block);
        if room > filled {
            past = Slab::of_rows(
                &self.decoder.layout.caches,
                room,
                [(&past, 0, filled)].into_iter(),
            );
        }
        self.store.insert(turn.key, past);
        if writing.tokens().len() == filled {
            let mut logits = self.scratch.logits.last_of(0);
            return grow(turn, &self.words, &self.settings.ends, &mut logits);
        }
        Ok(())
    }
}
