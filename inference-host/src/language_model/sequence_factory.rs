//! From the request of a sequence to its state: the tokens of the prompt, the random numbers and the constraint.

use super::graph::kv_cache::SequenceKey;
use super::model_config::ModelConfig;
use super::sample_rng::SampleRng;
use super::sequence_state::SequenceState;
use super::text::chat_template::ChatTemplate;
use super::text::constrained_decoding::{ConstraintCompiler, TokenConstraint};
use super::text::generation_request::{GenerationRequest, GenerationTask};
use super::text::response_format::ResponseFormat;
use super::text::tokenizer::ModelTokenizer;
use shm_protocol::generation::Sequence;

/// Everything of a decoder model that is not its graph.
pub(super) struct SequenceFactory {
    pub(super) tokenizer: ModelTokenizer,
    pub(super) chat_template: Option<ChatTemplate>,
    pub(super) config: ModelConfig,
    pub(super) vocab_size: usize,
    /// Most tokens of a sequence, prompt included.
    pub(super) context_length: usize,
    /// Made when the first request has a `response_format`.
    pub(super) constraints: Option<ConstraintCompiler>,
}

impl SequenceFactory {
    /// The state of a sequence before its first generated token.
    ///
    /// # Errors
    /// When the request is invalid, or not one for a model that generates text.
    pub(super) fn start(
        &mut self,
        (agent, number): SequenceKey,
        sequence: &Sequence,
        digest: [u8; 32],
    ) -> Result<SequenceState, String> {
        let request = GenerationRequest::read(&sequence.asked, &self.config.sampling)?;
        let prompt = self.prompt_tokens(&request.task)?;
        let constraint = request
            .response_format
            .as_ref()
            .map(|format| self.constraint(format))
            .transpose()?;
        let rng = SampleRng::new(sequence.seed, agent, number, request.seed);
        SequenceState::new(
            request,
            prompt,
            self.context_length,
            rng,
            constraint,
            digest,
        )
    }

    fn prompt_tokens(&self, task: &GenerationTask) -> Result<Vec<u32>, String> {
        let prompt = match task {
            GenerationTask::Prompt(prompt) => self.tokenizer.encode(prompt, true)?,
            GenerationTask::Messages(messages) => {
                let template = self.chat_template.as_ref().ok_or(
                    "the model has no chat template (chat_template in tokenizer_config.json, or chat_template.jinja); \
                     send prompt instead of messages",
                )?;
                let prompt = template.render(messages.clone())?;
                self.tokenizer.encode(&prompt, false)?
            }
            GenerationTask::Embed(_) => {
                return Err(
                    "the model generates text and no embeddings; send prompt or messages instead of input"
                        .to_owned(),
                );
            }
        };
        let unknown = |token: &&u32| **token as usize >= self.vocab_size;
        match prompt.iter().find(unknown) {
            Some(token) => Err(format!(
                "the prompt has token {token}, and the vocabulary of the model ends at {}; is tokenizer.json that of \
                 this model?",
                self.vocab_size
            )),
            None => Ok(prompt),
        }
    }

    fn constraint(&mut self, format: &ResponseFormat) -> Result<TokenConstraint, String> {
        let compiler = match self.constraints.take() {
            Some(compiler) => compiler,
            None => ConstraintCompiler::new(
                &self.tokenizer,
                self.vocab_size,
                &self.config.eos_token_ids,
            )?,
        };
        self.constraints.insert(compiler).compile(format.clone())
    }
}
