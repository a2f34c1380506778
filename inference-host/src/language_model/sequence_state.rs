//! The state of one sequence: its request, its tokens, and what follows from them. All of it can be made again from the
//! request and the tokens.

use super::sample_rng::SampleRng;
use super::sampler::{self, SampleError};
use super::text::constrained_decoding::TokenConstraint;
use super::text::detokenizer::Detokenizer;
use super::text::generation_request::GenerationRequest;
use super::text::tokenizer::ModelTokenizer;
use shm_protocol::generation::Finish;

/// The state of one sequence.
pub(super) struct SequenceState {
    /// Digest of the request and the seed: another request under the same number is another sequence.
    pub(super) digest: [u8; 32],
    request: GenerationRequest,
    rng: SampleRng,
    constraint: Option<TokenConstraint>,
    detokenizer: Detokenizer,
    /// The prompt and the generated tokens.
    tokens: Vec<u32>,
    prompt_len: usize,
    /// Most tokens, prompt included.
    max_len: usize,
    /// Tokens whose keys and values are cached.
    pub(super) past_len: usize,
    /// The last decode request with this sequence.
    pub(super) last_used: u64,
    /// The reason why it has ended, if it has.
    pub(super) finish: Option<Finish>,
}

impl SequenceState {
    /// The state before the first token. `context_length` is the limit of the model.
    ///
    /// # Errors
    /// When the prompt is empty or too long.
    pub(super) fn new(
        request: GenerationRequest,
        prompt: Vec<u32>,
        context_length: usize,
        rng: SampleRng,
        constraint: Option<TokenConstraint>,
        digest: [u8; 32],
    ) -> Result<SequenceState, String> {
        if prompt.is_empty() {
            return Err("the prompt is empty; send at least one token".to_owned());
        }
        if prompt.len() >= context_length {
            return Err(format!(
                "the prompt has {} tokens, and the context of the model has {context_length}, generated tokens \
                 included; shorten the prompt",
                prompt.len()
            ));
        }
        Ok(SequenceState {
            digest,
            rng,
            constraint,
            detokenizer: Detokenizer::default(),
            max_len: context_length.min(prompt.len() + request.max_tokens),
            request,
            prompt_len: prompt.len(),
            tokens: prompt,
            past_len: 0,
            last_used: 0,
            finish: None,
        })
    }

    /// Prompt and generated tokens.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The tokens of the prompt.
    pub(super) fn prompt(&self) -> &[u32] {
        &self.tokens[..self.prompt_len]
    }

    /// The generated tokens.
    pub(super) fn generated(&self) -> &[u32] {
        &self.tokens[self.prompt_len..]
    }

    /// Samples the next token from the logits after the last one. Gives it and the text that is final with it; no token
    /// if the sequence ends.
    ///
    /// # Errors
    /// Names the position and the reason why there is no token.
    pub(super) fn sample_next(
        &mut self,
        tokenizer: &ModelTokenizer,
        eos_token_ids: &[u32],
        logits: &mut [f32],
    ) -> Result<(Option<u32>, String), String> {
        let step = self.tokens.len() - self.prompt_len;
        let allowed = self
            .constraint
            .as_mut()
            .map(TokenConstraint::allowed_tokens)
            .transpose();
        let allowed = allowed.map_err(|error| format!("token {}: {error}", step + 1))?;
        let allows = allowed
            .as_ref()
            .map(|set| move |token: u32| (token as usize) < set.len() && set.is_allowed(token));
        let allows = allows.as_ref().map(|allows| allows as &dyn Fn(u32) -> bool);
        let random = self.rng.uniform(step as u64);
        let token = sampler::sample(logits, &self.request.sampling, &self.tokens, allows, random);
        let token = token.map_err(|error| match error {
            SampleError::NotFinite { token, value } => format!(
                "token {}: the model computed {value} as the logit of token {token}; check its weights and its \
                 precision",
                step + 1
            ),
            SampleError::NoneAllowed => format!("token {}: no token of the vocabulary may follow; loosen the \
                                                 response_format", step + 1),
        })?;
        if eos_token_ids.contains(&token) {
            self.finish = Some(Finish::EndOfText);
            return Ok((None, self.flush(tokenizer)?));
        }
        Ok((Some(token), self.accept(tokenizer, token)?))
    }

    /// Appends a token. Gives the text that is final with it.
    ///
    /// # Errors
    /// When the response format does not allow it.
    pub(super) fn accept(
        &mut self,
        tokenizer: &ModelTokenizer,
        token: u32,
    ) -> Result<String, String> {
        self.tokens.push(token);
        let mut text = self
            .detokenizer
            .push(tokenizer, token, &self.request.stop_strings)?;
        if self.detokenizer.is_stopped() {
            self.finish = Some(Finish::Stop);
            return Ok(text);
        }
        let is_complete = self
            .constraint
            .as_mut()
            .map(|grammar| grammar.accept(token))
            .transpose()?;
        self.finish = if is_complete == Some(true) {
            Some(Finish::EndOfText)
        } else {
            (self.tokens.len() >= self.max_len).then_some(Finish::Length)
        };
        if self.finish.is_some() {
            text += &self.flush(tokenizer)?;
        }
        Ok(text)
    }

    /// The text that was held back, at the end of the sequence.
    fn flush(&mut self, tokenizer: &ModelTokenizer) -> Result<String, String> {
        let text = self
            .detokenizer
            .finish(tokenizer, &self.request.stop_strings)?;
        if self.detokenizer.is_stopped() {
            self.finish = Some(Finish::Stop);
        }
        Ok(text)
    }
}
