//! One text on its way: what was asked, what is written, and what follows from
//! that. Everything here can be made again from the request and the tokens.

use super::chance::Chance;
use super::sample::{self, NoToken};
use super::text::grammar::Grammar;
use super::text::request::Request;
use super::text::stream::Stream;
use super::text::words::Words;
use shm_protocol::generation::Finish;

/// One text on its way.
pub(super) struct Writing {
    /// Digest of the request and the seed: another request under the same number is another text.
    pub(super) digest: [u8; 32],
    request: Request,
    chance: Chance,
    grammar: Option<Grammar>,
    stream: Stream,
    /// The prompt and what was written after it.
    tokens: Vec<u32>,
    prompt: usize,
    /// Tokens that it may have, prompt included.
    most: usize,
    /// Tokens whose keys and values are there.
    pub(super) fed: usize,
    /// The order that it was last a part of.
    pub(super) used: u64,
    pub(super) finish: Option<Finish>,
}

impl Writing {
    /// Begins a text. `context` are the tokens that the model can hold.
    ///
    /// # Errors
    /// When the prompt is empty or too long.
    pub(super) fn begin(
        request: Request,
        prompt: Vec<u32>,
        context: usize,
        chance: Chance,
        grammar: Option<Grammar>,
        digest: [u8; 32],
    ) -> Result<Writing, String> {
        if prompt.is_empty() {
            return Err(
                "the prompt is empty; the model needs at least one token to go on from".to_owned(),
            );
        }
        if prompt.len() >= context {
            return Err(format!(
                "the prompt has {} tokens, and the model holds {context}, the answer included; shorten the prompt",
                prompt.len()
            ));
        }
        Ok(Writing {
            digest,
            chance,
            grammar,
            stream: Stream::default(),
            most: context.min(prompt.len() + request.max_tokens),
            request,
            prompt: prompt.len(),
            tokens: prompt,
            fed: 0,
            used: 0,
            finish: None,
        })
    }

    /// All tokens.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens of the prompt.
    pub(super) fn prompt(&self) -> &[u32] {
        &self.tokens[..self.prompt]
    }

    /// The tokens that were written.
    pub(super) fn written(&self) -> &[u32] {
        &self.tokens[self.prompt..]
    }

    /// Chooses the next token by the logits after the last one. Gives it and the text that is certain through it; no
    /// token when the text ends there.
    ///
    /// # Errors
    /// Names the step and why there is no token.
    pub(super) fn grow(
        &mut self,
        words: &Words,
        ends: &[u32],
        logits: &mut [f32],
    ) -> Result<(Option<u32>, String), String> {
        let step = self.tokens.len() - self.prompt;
        let allowed = self.grammar.as_mut().map(Grammar::allowed).transpose();
        let allowed = allowed.map_err(|error| format!("token {}: {error}", step + 1))?;
        let allows = allowed
            .as_ref()
            .map(|set| move |token: u32| (token as usize) < set.len() && set.is_allowed(token));
        let allows = allows.as_ref().map(|allows| allows as &dyn Fn(u32) -> bool);
        let chance = self.chance.at(step as u64);
        let token = sample::choose(logits, &self.request.sampling, &self.tokens, allows, chance);
        let token = token.map_err(|error| match error {
            NoToken::NotFinite { token, value } => format!(
                "token {}: the model gives {value} as the logit of word {token}; its weights or its precision are at fault",
                step + 1
            ),
            NoToken::NoneAllowed => format!("token {}: no word of the model may follow here", step + 1),
        })?;
        if ends.contains(&token) {
            self.finish = Some(Finish::EndOfText);
            return Ok((None, self.rest(words)?));
        }
        Ok((Some(token), self.take(words, token)?))
    }

    /// Goes on by a token that is known. Gives the text that is certain through it.
    ///
    /// # Errors
    /// When the request's form does not admit it.
    pub(super) fn take(&mut self, words: &Words, token: u32) -> Result<String, String> {
        self.tokens.push(token);
        let mut text = self.stream.push(words, token, &self.request.stops)?;
        if self.stream.is_stopped() {
            self.finish = Some(Finish::Stop);
            return Ok(text);
        }
        let is_complete = self
            .grammar
            .as_mut()
            .map(|grammar| grammar.take(token))
            .transpose()?;
        self.finish = if is_complete == Some(true) {
            Some(Finish::EndOfText)
        } else {
            (self.tokens.len() >= self.most).then_some(Finish::Length)
        };
        if self.finish.is_some() {
            text += &self.rest(words)?;
        }
        Ok(text)
    }

    /// What was held back, now that nothing more comes.
    fn rest(&mut self, words: &Words) -> Result<String, String> {
        let text = self.stream.finish(words, &self.request.stops)?;
        if self.stream.is_stopped() {
            self.finish = Some(Finish::Stop);
        }
        Ok(text)
    }
}
