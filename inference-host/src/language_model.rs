//! Language models: the folder of a model becomes a model whose input is a decode request and whose output are deltas
//! (`shm_protocol::generation`).
//!
//! * [`model_folder`], [`model_config`]: the files of the folder, and the configuration in them;
//! * [`text`]: tokenizer, detokenizer, chat template, request and constrained decoding;
//! * [`graph`]: the inputs of the graph, one run of it, the KV cache, and the batches that may share a run;
//! * [`sample_rng`], [`sampler`]: the next token;
//! * [`sequence_state`], [`sequence_factory`], [`sequence_step`]: one sequence, its start, and its part of a decode
//!   request;
//! * [`decode_engine`]: all sequences of a decoder model;
//! * [`encoder`]: texts to embeddings.
//!
//! The invariant: the result of a sequence is a function of the model's files, the engine and the sequence in the
//! decode request, and of nothing else. What is kept between decode requests only saves work.

mod decode_engine;
mod encoder;
mod graph;
mod model_config;
mod model_folder;
mod sample_rng;
mod sampler;
mod sampling_of_request;
mod sequence_factory;
mod sequence_state;
mod sequence_step;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use model_folder::external_data_files;
pub use sampling_of_request::read_sampling;
pub(crate) use text::large_stack::start_worker;

use crate::backend::{
    InferenceBackend, LoadOptions, LoadedModel, Model, ModelRunError, OutputLocation,
};
use crate::sys::tensor::{TensorView, TensorViewMut};
use decode_engine::DecodeEngine;
use encoder::Encoder;
use graph::decoder::Decoder;
use graph::decoder_probe::plan_batching;
use graph::decoder_signature::{DecoderSignature, present_name};
use model_config::ModelConfig;
use model_folder::ModelFolder;
use sequence_factory::SequenceFactory;
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::codec;
use shm_protocol::generation::{self, DecodeRequest, Deltas, Generator, MAX_SEQUENCES, MAX_TOKENS};
use shm_protocol::inference_to_supervisor::{Batching, LoadRefused};
use shm_protocol::limit;
use shm_protocol::tensor::{DType, Shape, Signature};
use text::chat_template::ChatTemplate;
use text::tokenizer::ModelTokenizer;

/// Most inputs, and most outputs, of a decoder's graph: those of 500 layers.
const MAX_PORTS: usize = 1_024;

/// The context length of an encoder whose files do not say it: that of BERT.
const DEFAULT_ENCODER_CONTEXT: u32 = 512;

/// A language model, and whether its sequences share runs.
pub(crate) struct LoadedLanguageModel {
    pub(crate) loaded: LoadedModel,
    pub(crate) batching: Batching,
    pub(crate) is_encoder: bool,
}

/// Sharing among sequences; no bit of a result depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharingPolicy {
    /// Runs of the graph.
    pub(crate) batch: bool,
    /// Keys and values of common prefixes of prompts, which takes memory that depends on all earlier requests.
    pub(crate) share_prefixes: bool,
}

/// Loads a language model.
///
/// # Errors
/// Names the file, and what is missing or wrong in it.
pub(crate) fn load(
    engine: &dyn InferenceBackend,
    file: &[u8],
    options: &LoadOptions<'_>,
    generator: &Generator,
    policy: SharingPolicy,
) -> Result<LoadedLanguageModel, LoadRefused> {
    tokenizers::utils::parallelism::set_parallelism(false);
    let refused = |reason: String| LoadRefused {
        blame: Blame::Input,
        message: format!("model `{}`: {reason}", options.name),
    };
    let folder = ModelFolder::open(file).map_err(refused)?;
    let config = ModelConfig::read(&folder).map_err(refused)?;
    let chat_template = ChatTemplate::read(&folder).map_err(refused)?;
    // Loading the graph may take long, so the tokenizer is checked before it.
    let tokenizer = ModelTokenizer::read(&folder, config.vocab_size).map_err(refused)?;
    let special_tokens = chat_template.iter().flat_map(ChatTemplate::special_tokens);
    if let Some(missing) = special_tokens
        .into_iter()
        .find(|name| tokenizer.token_id(name).is_none())
    {
        return Err(refused(format!(
            "its tokenizer_config.json names the token `{missing}`, which its tokenizer.json does not have; use the \
             files of one model"
        )));
    }
    let external_data = folder.external_data();
    let loaded = engine.load(
        folder.graph(),
        &LoadOptions {
            external_data: &external_data,
            max_ports: MAX_PORTS,
            ..*options
        },
    )?;
    let LoadedModel {
        model,
        provider,
        refused: refusals,
    } = loaded;
    let builder = LanguageModelBuilder {
        folder: &folder,
        config,
        chat_template,
        generator,
        policy,
    };
    let (model, batching) = builder.build(model).map_err(refused)?;
    let is_encoder = matches!(model.kind, LanguageModelKind::Encoder(_));
    let loaded = LoadedModel {
        model: Box::new(model),
        provider,
        refused: refusals,
    };
    Ok(LoadedLanguageModel {
        loaded,
        batching,
        is_encoder,
    })
}

/// Builds a language model from its graph and the rest of its folder.
struct LanguageModelBuilder<'a> {
    folder: &'a ModelFolder<'a>,
    config: ModelConfig,
    chat_template: Option<ChatTemplate>,
    generator: &'a Generator,
    policy: SharingPolicy,
}

impl LanguageModelBuilder<'_> {
    fn build(self, model: Box<dyn Model>) -> Result<(LanguageModel, Batching), String> {
        let signature = model.signature();
        let has = |name: &str| signature.outputs.iter().any(|port| port.name == name);
        let is_past = |name: &str| present_name(name, &self.config.graph_names).is_some();
        let has_past = signature.inputs.iter().any(|port| is_past(&port.name));
        if !has_past && has(&self.config.graph_names.logits) {
            return Err(
                "its graph has an output with logits but no input past_key_values, so every token would take a run \
                 over the whole text; export it with a KV cache (optimum: --task text-generation-with-past)"
                    .to_owned(),
            );
        }
        if has_past {
            self.build_decoder(model)
        } else {
            self.build_encoder(model)
        }
    }

    fn build_decoder(self, model: Box<dyn Model>) -> Result<(LanguageModel, Batching), String> {
        let decoder_signature = DecoderSignature::from_signature(model.signature(), &self.config)?;
        let vocab_size = decoder_signature.vocab_size.or(self.config.vocab_size);
        let tokenizer = ModelTokenizer::read(self.folder, vocab_size)?;
        let vocab_size = vocab_size.unwrap_or(u64::from(tokenizer.vocab_size()));
        let vocab_size = u32::try_from(vocab_size).map_err(|_| {
            format!("its graph has a vocabulary of {vocab_size} tokens, which is too large")
        })?;
        let context_length = self.config.context_length.or(self.generator.context_length).ok_or(
            "neither its config.json (max_position_embeddings) nor its genai_config.json (context_length) gives its \
             context length; set context_length in the fleet file",
        )?;
        let context_length = context_length
            .min(self.generator.context_length.unwrap_or(context_length))
            .min(MAX_TOKENS) as usize;
        let max_sequences = self
            .generator
            .max_concurrent_generations
            .clamp(1, MAX_SEQUENCES) as usize;
        let mut decoder = Decoder::new(model, decoder_signature);
        let batching_plan = plan_batching(
            &mut decoder,
            vocab_size,
            context_length,
            max_sequences,
            self.policy.batch,
        )
        .map_err(|error| format!("its graph does not run: {error}"))?;
        let batching = batching_plan.batching.clone();
        let factory = SequenceFactory {
            tokenizer,
            chat_template: self.chat_template,
            config: self.config,
            vocab_size: vocab_size as usize,
            context_length,
            constraints: None,
        };
        let cache_bytes = usize::try_from(self.generator.cache_bytes).unwrap_or(usize::MAX);
        let engine = DecodeEngine::new(
            decoder,
            batching_plan,
            factory,
            cache_bytes,
            self.policy.share_prefixes,
        );
        let kind = LanguageModelKind::Decoder(Box::new(engine));
        Ok((LanguageModel::new(kind), batching))
    }

    fn build_encoder(self, model: Box<dyn Model>) -> Result<(LanguageModel, Batching), String> {
        let tokenizer = ModelTokenizer::read(self.folder, self.config.vocab_size)?;
        let context_length = self
            .config
            .context_length
            .unwrap_or(DEFAULT_ENCODER_CONTEXT);
        let context_length =
            context_length.min(self.generator.context_length.unwrap_or(context_length)) as usize;
        let encoder = Encoder::new(model, self.folder, tokenizer, self.config, context_length)?;
        let batching = Batching::Alone("each text of an embedding runs alone".to_owned());
        Ok((
            LanguageModel::new(LanguageModelKind::Encoder(Box::new(encoder))),
            batching,
        ))
    }
}

/// A language model behind the interface of any model.
struct LanguageModel {
    kind: LanguageModelKind,
    signature: Signature,
    answer: Vec<u8>,
}

enum LanguageModelKind {
    Decoder(Box<DecodeEngine>),
    Encoder(Box<Encoder>),
}

impl LanguageModel {
    fn new(kind: LanguageModelKind) -> LanguageModel {
        LanguageModel {
            kind,
            signature: generation::wire_signature(),
            answer: Vec::new(),
        }
    }
}

impl Model for LanguageModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The number of bytes of the deltas is not known before the run.
    fn predict_shape(&self, _output: usize, _inputs: &[Shape]) -> Option<Shape> {
        None
    }

    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        _places: &mut [Option<TensorViewMut<'_>>],
    ) -> Result<OutputLocation, ModelRunError> {
        let mut request = Vec::new();
        if let Some(input) = inputs.first() {
            input.copy_to(&mut request);
        }
        let request: DecodeRequest = codec::decode::<_, { limit::TENSOR_BYTES }>(&request)
            .map_err(|error| {
                ModelRunError(format!(
                    "the decode request of the supervisor cannot be decoded: {error}"
                ))
            })?;
        let deltas: Deltas = match &mut self.kind {
            LanguageModelKind::Decoder(writer) => writer.decode(&request),
            LanguageModelKind::Encoder(encoder) => encoder.embed_all(&request),
        };
        self.answer.clear();
        codec::encode_into(&deltas, &mut self.answer);
        Ok(OutputLocation::Engine)
    }

    fn output(&self, output: usize) -> Result<TensorView<'_>, ModelRunError> {
        if output != 0 {
            return Err(ModelRunError(format!(
                "a language model has one output, and no output {output}"
            )));
        }
        let shape = Shape::new(&[self.answer.len() as u64])?;
        Ok(TensorView::of_slice(DType::U8, shape, &self.answer)?)
    }
}
