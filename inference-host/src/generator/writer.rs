//! A decoder as a model of this host: an order goes in, pieces come out.
//!
//! The steps of a text are the same whoever else is written: its prompt in pieces
//! of a fixed size, alone; then token by token, in a room that follows from its
//! own length. A text whose keys and values are not here, because this host is
//! new or they were given up, takes the same steps again with the tokens that the
//! order holds, and nobody can tell the difference.

use super::chance::Chance;
use super::graph::decoder::{Decoder, Feed, Logits};
use super::graph::prefixes::Prefixes;
use super::graph::probe::Found;
use super::graph::slab::Slab;
use super::graph::store::{Key, Store};
use super::settings::Settings;
use super::text::grammar::Grammars;
use super::text::request::{Request, Task};
use super::text::template::Template;
use super::text::words::Words;
use super::writing::Writing;
use shm_protocol::generation::{DecodeRequest, Delta, Deltas, Sequence};
use std::collections::{BTreeMap, BTreeSet};

/// A decoder, its words, and the texts on their way.
pub(super) struct Writer {
    pub(super) decoder: Decoder,
    pub(super) words: Words,
    pub(super) template: Option<Template>,
    pub(super) settings: Settings,
    /// Words of the model.
    pub(super) vocabulary: usize,
    /// Tokens that a text may have, prompt included.
    pub(super) context: usize,
    pub(super) found: Found,
    pub(super) cache_bytes: usize,
    /// Made when the first request wants them.
    pub(super) grammars: Option<Grammars>,
    pub(super) store: Store,
    pub(super) prefixes: Prefixes,
    /// Whether prompts that begin alike share keys and values.
    pub(super) shares: bool,
    pub(super) kept: BTreeMap<Key, Writing>,
    pub(super) orders: u64,
    pub(super) scratch: Scratch,
}

/// Memory that runs write over.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) present: Slab,
    pub(super) logits: Logits,
}

/// What one order makes of a text.
pub(super) struct Turn {
    pub(super) key: Key,
    pub(super) writing: Option<Writing>,
    piece: Result<Delta, String>,
}

impl Turn {
    /// Whether it is to grow in this order.
    fn is_due(&self, steps: usize) -> bool {
        let is_growing = self
            .writing
            .as_ref()
            .is_some_and(|writing| writing.finish.is_none());
        is_growing
            && self
                .piece
                .as_ref()
                .is_ok_and(|piece| piece.tokens.len() < steps)
    }

    fn fed(&self) -> usize {
        self.writing.as_ref().map_or(0, |writing| writing.fed)
    }
}

impl Writer {
    /// Does what an order says.
    pub(super) fn answer(&mut self, order: &DecodeRequest) -> Deltas {
        self.orders += 1;
        let steps = order.steps as usize;
        let mut seen = BTreeSet::new();
        let mut turns: Vec<Turn> = Vec::with_capacity(order.sequences.len());
        for sequence in &order.sequences {
            let key = (sequence.agent, sequence.request);
            let begun = if seen.insert(key) {
                self.begin(key, sequence)
            } else {
                Err("the order holds this request twice".to_owned())
            };
            turns.push(match begun {
                Ok(writing) => Turn {
                    key,
                    piece: Ok(empty(&writing)),
                    writing: Some(writing),
                },
                Err(error) => Turn {
                    key,
                    writing: None,
                    piece: Err(error),
                },
            });
        }
        loop {
            for turn in &mut turns {
                if turn.is_due(steps) && turn.fed() == 0 {
                    let result = self.feed_prompt(turn);
                    note(turn, result);
                }
            }
            let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (number, turn) in turns
                .iter()
                .enumerate()
                .filter(|(_, turn)| turn.is_due(steps))
            {
                groups
                    .entry(self.room(turn.fed()))
                    .or_default()
                    .push(number);
            }
            if groups.is_empty() {
                break;
            }
            for (room, mut members) in groups {
                while !members.is_empty() {
                    let rest = members.split_off(self.rows_of(members.len()));
                    self.step_together(&mut turns, &members, room);
                    members = rest;
                }
            }
        }
        self.settle(&mut turns);
        Deltas(turns.into_iter().map(|turn| turn.piece).collect())
    }

    /// The text of a sequence as it stands: the one that is here, if it has come no further, or a new one that is
    /// brought there.
    fn begin(&mut self, key: Key, sequence: &Sequence) -> Result<Writing, String> {
        let digest = digest_of(sequence);
        let kept = self.kept.remove(&key);
        let is_here = self.store.holds(key);
        let fits = |kept: &Writing| {
            is_here && kept.digest == digest && sequence.tokens.starts_with(kept.written())
        };
        let mut writing = match kept.filter(fits) {
            Some(kept) => kept,
            None => {
                self.store.forget(key);
                self.begin_new(key, sequence, digest)?
            }
        };
        writing.used = self.orders;
        for token in &sequence.tokens[writing.written().len()..] {
            if writing.finish.is_some() || *token as usize >= self.vocabulary {
                return Err(format!(
                    "the order holds token {token} where the text cannot have it"
                ));
            }
            writing.take(&self.words, *token)?;
        }
        Ok(writing)
    }

    fn begin_new(
        &mut self,
        (agent, number): Key,
        sequence: &Sequence,
        digest: [u8; 32],
    ) -> Result<Writing, String> {
        let request = Request::read(&sequence.asked, &self.settings.sampling)?;
        let prompt = match &request.task {
            Task::Prompt(prompt) => self.words.encode(prompt, true)?,
            Task::Messages(messages) => {
                let template = self.template.as_ref().ok_or(
                    "the model has no chat template (chat_template in tokenizer_config.json, or \
                     chat_template.jinja); ask with prompt instead of messages",
                )?;
                self.words
                    .encode(&template.render(messages.clone())?, false)?
            }
            Task::Embed(_) => {
                return Err("the model writes text and gives no embedding; ask with prompt or messages instead of input".to_owned());
            }
        };
        if let Some(token) = prompt
            .iter()
            .find(|token| **token as usize >= self.vocabulary)
        {
            return Err(format!(
                "the prompt has token {token}, and the model has {} words",
                self.vocabulary
            ));
        }
        let grammar = match &request.form {
            None => None,
            Some(form) => {
                if self.grammars.is_none() {
                    self.grammars = Some(Grammars::new(
                        &self.words,
                        self.vocabulary,
                        &self.settings.ends,
                    )?);
                }
                self.grammars
                    .as_ref()
                    .map(|grammars| grammars.begin(form.clone()))
                    .transpose()?
            }
        };
        let chance = Chance::new(sequence.seed, agent, number, request.seed);
        Writing::begin(request, prompt, self.context, chance, grammar, digest)
    }

    /// One token for each of these texts, in one run. Should that fail, each runs alone, so that nobody ends through
    /// another.
    fn step_together(&mut self, turns: &mut [Turn], members: &[usize], room: usize) {
        let Err(error) = self.step(turns, members, room) else {
            return;
        };
        for member in members {
            let result = if members.len() > 1 {
                self.step(turns, &[*member], room)
            } else {
                Err(error.clone())
            };
            note(&mut turns[*member], result);
        }
    }

    /// One run. An error of it has changed nothing.
    fn step(&mut self, turns: &mut [Turn], members: &[usize], room: usize) -> Result<(), String> {
        let texts: Vec<(Key, usize)> = members
            .iter()
            .map(|member| (turns[*member].key, turns[*member].fed()))
            .collect();
        let filled: Vec<usize> = texts.iter().map(|(_, filled)| *filled).collect();
        let next = |member: &usize| {
            let writing = turns[*member].writing.as_ref()?;
            writing.tokens().get(writing.fed).copied()
        };
        let tokens: Option<Vec<u32>> = members.iter().map(next).collect();
        let caches = &self.decoder.layout.caches;
        let held = self
            .store
            .gather(caches, &texts, room)
            .ok_or("its keys and values are gone")?;
        let feed = Feed {
            rows: members.len(),
            length: 1,
            tokens: &tokens.ok_or("it has no token to go on from")?,
            filled: &filled,
        };
        let Scratch { present, logits } = &mut self.scratch;
        self.decoder.run(&feed, &held.slab, present, logits)?;
        let caches = &self.decoder.layout.caches;
        let mut grown = Vec::new();
        if self.found.block == 1 {
            std::mem::swap(&mut held.slab, present);
        } else {
            for (row, (key, filled)) in texts.iter().enumerate() {
                if *filled < room {
                    held.slab
                        .copy(caches, (row, *filled), present, (row, room), 1);
                } else {
                    let slab = Slab::of_rows(
                        caches,
                        room + self.found.block,
                        [(&*present, row, room + 1)].into_iter(),
                    );
                    grown.push((*key, slab));
                }
            }
        }
        for (key, slab) in grown {
            self.store.insert(key, slab);
        }
        for (row, member) in members.iter().enumerate() {
            let turn = &mut turns[*member];
            let Some(writing) = turn.writing.as_mut() else {
                continue;
            };
            writing.fed += 1;
            if writing.fed == writing.tokens().len() {
                let mut logits = self.scratch.logits.last_of(row);
                let result = grow(turn, &self.words, &self.settings.ends, &mut logits);
                note(turn, result);
            }
        }
        Ok(())
    }

    /// The room that a text with this many tokens lies in.
    fn room(&self, filled: usize) -> usize {
        filled.next_multiple_of(self.found.block)
    }

    /// With how many rows the next run takes off from so many texts.
    fn rows_of(&self, texts: usize) -> usize {
        self.found
            .rows
            .iter()
            .copied()
            .rfind(|rows| *rows <= texts)
            .unwrap_or(1)
    }

    /// Keeps what goes on and gives up the rest: first what has been in no order for longest, then by agent and request.
    fn settle(&mut self, turns: &mut [Turn]) {
        for turn in turns {
            match turn.writing.take() {
                Some(writing) if turn.piece.is_ok() && writing.finish.is_none() => {
                    self.kept.insert(turn.key, writing);
                }
                _ => self.store.forget(turn.key),
            }
        }
        let mut oldest: Vec<(u64, Key)> = self
            .kept
            .iter()
            .map(|(key, writing)| (writing.used, *key))
            .collect();
        oldest.sort_unstable();
        let texts: usize = oldest
            .iter()
            .map(|(_, key)| self.store.bytes_of(*key))
            .sum();
        // How prompts begin is kept in what texts on their way leave.
        self.prefixes.shrink(self.cache_bytes.saturating_sub(texts));
        let mut bytes = texts;
        for (_, key) in oldest {
            if bytes <= self.cache_bytes {
                break;
            }
            bytes -= self.store.bytes_of(key);
            self.store.forget(key);
            self.kept.remove(&key);
        }
        self.store.tidy(&self.decoder.layout.caches);
    }
}

/// A piece of nothing yet.
fn empty(writing: &Writing) -> Delta {
    Delta {
        tokens: Vec::new(),
        text: String::new(),
        embedding: Vec::new(),
        finish: writing.finish,
        prompt_tokens: u32::try_from(writing.prompt().len()).unwrap_or(u32::MAX),
    }
}

/// An error ends a text.
fn note(turn: &mut Turn, result: Result<(), String>) {
    if let Err(error) = result {
        turn.piece = Err(error);
        turn.writing = None;
    }
}

/// Grows a text by one token.
pub(super) fn grow(
    turn: &mut Turn,
    words: &Words,
    ends: &[u32],
    logits: &mut [f32],
) -> Result<(), String> {
    let (Some(writing), Ok(piece)) = (turn.writing.as_mut(), turn.piece.as_mut()) else {
        return Ok(());
    };
    let (token, text) = writing.grow(words, ends, logits)?;
    piece.tokens.extend(token);
    piece.text += &text;
    piece.finish = writing.finish;
    Ok(())
}

fn digest_of(sequence: &Sequence) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&sequence.seed.to_le_bytes());
    hasher.update(&sequence.asked);
    hasher.finalize().into()
}
