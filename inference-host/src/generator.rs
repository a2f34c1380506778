//! Language models: a folder of files becomes a model whose input is an order
//! and whose output are pieces (`shm_protocol::generation`).
//!
//! * [`folder`], [`settings`]: what lies in the folder, and what it says;
//! * [`text`]: text to tokens, tokens to text, chats to prompts, and what is asked;
//! * [`graph`]: what the graph takes, one run of it, keys and values between runs, and what may share a run;
//! * [`chance`], [`sample`]: the next token;
//! * [`writing`], [`prompt`], [`writer`]: one text on its way, how it begins, and all of them;
//! * [`encoder`]: texts to embeddings.
//!
//! The invariant: what comes of a sequence is a function of the model's files,
//! the engine and the sequence in the order, and of nothing else. What is kept
//! between orders only spares the way there.

mod chance;
mod encoder;
mod folder;
mod graph;
mod prompt;
mod sample;
mod settings;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod writer;
mod writing;

pub(crate) use folder::beside;
pub(crate) use text::worker::prepare;

use crate::backend::{InferenceBackend, Model, Prepared, RunError, Wanted, Written};
use crate::sys::tensor::{TensorPlace, TensorView};
use encoder::Encoder;
use folder::Folder;
use graph::decoder::Decoder;
use graph::layout::Layout;
use settings::Settings;
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::codec;
use shm_protocol::generation::{self, DecodeRequest, Deltas, Generator, MAX_SEQUENCES, MAX_TOKENS};
use shm_protocol::inference_to_supervisor::{Batching, LoadRefused};
use shm_protocol::limit;
use shm_protocol::tensor::{DType, Shape, Signature};
use text::template::Template;
use text::words::Words;
use writer::Writer;

/// Most inputs and outputs of a decoder's graph: those of 500 layers.
const MOST_PORTS: usize = 1_024;

/// Tokens that an encoder holds, if its files do not say: what BERT has.
const ENCODER_CONTEXT: u32 = 512;

/// A language model that is ready, and whether its texts share runs.
pub(crate) struct Loaded {
    pub(crate) prepared: Prepared,
    pub(crate) batching: Batching,
    pub(crate) is_encoder: bool,
}

/// What texts may have in common, where no bit depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct May {
    /// Runs.
    pub(crate) batch: bool,
    /// Keys and values of how their prompts begin, which takes memory that follows from all that was asked before.
    pub(crate) share: bool,
}

/// Makes a language model ready.
///
/// # Errors
/// Names the file and what is wrong with it or missing.
pub(crate) fn load(
    engine: &dyn InferenceBackend,
    file: &[u8],
    wanted: &Wanted<'_>,
    generator: &Generator,
    may: May,
) -> Result<Loaded, LoadRefused> {
    tokenizers::utils::parallelism::set_parallelism(false);
    let refused = |reason: String| LoadRefused {
        blame: Blame::Input,
        message: format!("model `{}`: {reason}", wanted.name),
    };
    let folder = Folder::open(file).map_err(refused)?;
    let settings = Settings::read(&folder).map_err(refused)?;
    let template = Template::read(&folder).map_err(refused)?;
    // Before the graph, which may take long, is loaded for nothing.
    let words = Words::read(&folder, settings.vocabulary).map_err(refused)?;
    let named = template.iter().flat_map(Template::names);
    if let Some(strange) = named.into_iter().find(|name| words.token(name).is_none()) {
        return Err(refused(format!(
            "its tokenizer_config.json names the token `{strange}`, which its tokenizer.json does not have: they are not of one model"
        )));
    }
    let beside = folder.beside_graph();
    let prepared = engine.load(
        folder.graph(),
        &Wanted {
            beside: &beside,
            ports: MOST_PORTS,
            ..*wanted
        },
    )?;
    let Prepared {
        model,
        provider,
        refused: refusals,
    } = prepared;
    let parts = Parts {
        folder: &folder,
        settings,
        template,
        generator,
        may,
    };
    let (model, batching) = parts.put_together(model).map_err(refused)?;
    let is_encoder = matches!(model.kind, Kind::Encoder(_));
    let prepared = Prepared {
        model: Box::new(model),
        provider,
        refused: refusals,
    };
    Ok(Loaded {
        prepared,
        batching,
        is_encoder,
    })
}

/// What a language model is made of, beside its graph.
struct Parts<'a> {
    folder: &'a Folder<'a>,
    settings: Settings,
    template: Option<Template>,
    generator: &'a Generator,
    may: May,
}

impl Parts<'_> {
    fn put_together(self, model: Box<dyn Model>) -> Result<(LanguageModel, Batching), String> {
        let signature = model.signature();
        let has = |name: &str| signature.outputs.iter().any(|port| port.name == name);
        let is_past = |name: &str| graph::layout::present_of(name, &self.settings.names).is_some();
        let has_past = signature.inputs.iter().any(|port| is_past(&port.name));
        if !has_past && has(&self.settings.names.logits) {
            return Err(
                "its graph gives logits but takes no past_key_values, so every token would cost as much as the whole \
                 text; export it with a cache (optimum: --task text-generation-with-past)"
                    .to_owned(),
            );
        }
        if has_past {
            self.writer(model)
        } else {
            self.encoder(model)
        }
    }

    fn writer(self, model: Box<dyn Model>) -> Result<(LanguageModel, Batching), String> {
        let layout = Layout::of(model.signature(), &self.settings)?;
        let vocabulary = layout.vocabulary.or(self.settings.vocabulary);
        let words = Words::read(self.folder, vocabulary)?;
        let vocabulary = vocabulary.unwrap_or(u64::from(words.count()));
        let narrow =
            u32::try_from(vocabulary).map_err(|_| format!("its graph has {vocabulary} words"))?;
        let context = self.settings.context.or(self.generator.context).ok_or(
            "neither its config.json (max_position_embeddings) nor its genai_config.json (context_length) says how many \
             tokens it holds; say it with context",
        )?;
        let context = context
            .min(self.generator.context.unwrap_or(context))
            .min(MAX_TOKENS) as usize;
        let sequences = self.generator.sequences.clamp(1, MAX_SEQUENCES) as usize;
        let mut decoder = Decoder::new(model, layout);
        let found = graph::probe::probe(&mut decoder, narrow, context, sequences, self.may.batch)
            .map_err(|error| format!("its graph does not run: {error}"))?;
        let batching = found.batching.clone();
        let writer = Writer {
            decoder,
            words,
            template: self.template,
            settings: self.settings,
            vocabulary: narrow as usize,
            context,
            found,
            cache_bytes: usize::try_from(self.generator.cache_bytes).unwrap_or(usize::MAX),
            grammars: None,
            store: graph::store::Store::default(),
            prefixes: graph::prefixes::Prefixes::default(),
            shares: self.may.share,
            kept: std::collections::BTreeMap::new(),
            orders: 0,
            scratch: writer::Scratch::default(),
        };
        Ok((LanguageModel::new(Kind::Writer(Box::new(writer))), batching))
    }

    fn encoder(self, model: Box<dyn Model>) -> Result<(LanguageModel, Batching), String> {
        let words = Words::read(self.folder, self.settings.vocabulary)?;
        let context = self.settings.context.unwrap_or(ENCODER_CONTEXT);
        let context = context.min(self.generator.context.unwrap_or(context)) as usize;
        let encoder = Encoder::new(model, self.folder, words, self.settings, context)?;
        let batching = Batching::Alone("each text of an embedding runs alone".to_owned());
        Ok((
            LanguageModel::new(Kind::Encoder(Box::new(encoder))),
            batching,
        ))
    }
}

/// A language model as the host runs any model.
struct LanguageModel {
    kind: Kind,
    signature: Signature,
    answer: Vec<u8>,
}

enum Kind {
    Writer(Box<Writer>),
    Encoder(Box<Encoder>),
}

impl LanguageModel {
    fn new(kind: Kind) -> LanguageModel {
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

    /// How much will be written is not known before.
    fn predict(&self, _output: usize, _inputs: &[Shape]) -> Option<Shape> {
        None
    }

    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        _places: &mut [Option<TensorPlace<'_>>],
    ) -> Result<Written, RunError> {
        let mut order = Vec::new();
        if let Some(input) = inputs.first() {
            input.copy_to(&mut order);
        }
        let order: DecodeRequest =
            codec::decode::<_, { limit::TENSOR_BYTES }>(&order).map_err(|error| {
                RunError(format!(
                    "the order to a language model cannot be read: {error}"
                ))
            })?;
        let pieces: Deltas = match &mut self.kind {
            Kind::Writer(writer) => writer.answer(&order),
            Kind::Encoder(encoder) => encoder.answer(&order),
        };
        self.answer.clear();
        codec::encode_into(&pieces, &mut self.answer);
        Ok(Written::Given)
    }

    fn given(&self, output: usize) -> Result<TensorView<'_>, RunError> {
        if output != 0 {
            return Err(RunError(format!(
                "a language model gives no output {output}"
            )));
        }
        let refused = |error: shm_protocol::tensor::TensorError| RunError(error.to_string());
        let shape = Shape::new(&[self.answer.len() as u64]).map_err(refused)?;
        TensorView::of_slice(DType::U8, shape, &self.answer).map_err(refused)
    }
}
