//! One sequence within one decode request.

use super::graph::kv_cache::SequenceKey;
use super::sequence_state::SequenceState;
use super::text::tokenizer::ModelTokenizer;
use shm_protocol::generation::Delta;

/// A sequence of a decode request; an error ends it.
pub(super) struct SequenceStep {
    pub(super) key: SequenceKey,
    pub(super) progress: Result<SequenceProgress, String>,
}

/// A sequence that is decoded, and what this decode request has added to it.
pub(super) struct SequenceProgress {
    pub(super) state: SequenceState,
    pub(super) delta: Delta,
}

impl SequenceStep {
    pub(super) fn new(key: SequenceKey, state: Result<SequenceState, String>) -> SequenceStep {
        let progress = state.map(|state| SequenceProgress {
            delta: Delta {
                tokens: Vec::new(),
                text: String::new(),
                embedding: Vec::new(),
                finish: state.finish,
                prompt_tokens: u32::try_from(state.prompt().len()).unwrap_or(u32::MAX),
            },
            state,
        });
        SequenceStep { key, progress }
    }

    /// The progress of a sequence that still wants some of the `max_tokens` of this decode request.
    pub(super) fn due(&mut self, max_tokens: usize) -> Option<&mut SequenceProgress> {
        let progress = self.progress.as_mut().ok()?;
        let is_due = progress.state.finish.is_none() && progress.delta.tokens.len() < max_tokens;
        is_due.then_some(progress)
    }

    /// Ends the sequence if a step of it has failed.
    pub(super) fn record(&mut self, result: Result<(), String>) {
        if let Err(error) = result {
            self.progress = Err(error);
        }
    }
}

impl SequenceProgress {
    /// Samples the next token from the logits after the last one.
    pub(super) fn sample_next(
        &mut self,
        tokenizer: &ModelTokenizer,
        eos_token_ids: &[u32],
        logits: &mut [f32],
    ) -> Result<(), String> {
        let (token, text) = self.state.sample_next(tokenizer, eos_token_ids, logits)?;
        self.delta.tokens.extend(token);
        self.delta.text += &text;
        self.delta.finish = self.state.finish;
        Ok(())
    }
}
