//! `lockstep generate`: text from a local language model, streamed, through a
//! real inference host and the rings.

use super::arguments::GenerateArguments;
use super::error::{CliError, ExitStatus};
use super::output::{self, line};
use super::read_file::read_file;
use super::stop_signals;
use super::{builtin, engine_config};
use serde_json::{Map, Value, json};
use shm_protocol::codec;
use shm_protocol::generation::{DecodeRequest, Delta, Deltas, Finish, Generator, Sequence};
use shm_protocol::id::{AgentId, RequestId};
use shm_protocol::tensor::{DType, Shape, Tensor};
use std::path::Path;
use std::time::Duration;
use supervisor::launch::{StandaloneModel, StandaloneModelRequest};
use supervisor::models::read_folder;
use supervisor::record::{ModelDefinition, ModelSettings};

/// Tokens of one decode request: few enough for a steady stream, and enough to make the round trip cheap.
const STEPS: u32 = 4;

/// Maximum bytes of keys and values that the host keeps. There is one generation, which needs them all.
const CACHE_BYTES: u64 = 64 << 30;

/// Maximum bytes of a file with a schema.
const SCHEMA_BYTES: u64 = 16 << 20;

/// Maximum bytes of a decode request or of its deltas.
const TENSOR_BYTES: usize = 4 << 20;

/// Generates text and streams it to standard output.
pub(super) fn generate(command: &GenerateArguments) -> Result<ExitStatus, CliError> {
    let name = command.model.display().to_string();
    let prompt = request(command)?;
    let bundle = read_bundle(&command.model)?;
    let engines = engine_config::engines()?;
    let stop = stop_signals::install()?;
    let request = StandaloneModelRequest {
        model: ModelDefinition {
            providers: command.engine.providers.clone(),
            settings: ModelSettings {
                generator: Some(Generator {
                    max_concurrent_generations: 1,
                    tokens_per_tick: STEPS,
                    context_length: command.context_length,
                    cache_bytes: CACHE_BYTES,
                }),
                ..ModelSettings::default()
            },
            ..ModelDefinition::new(&name, bundle.as_slice())
        },
        strict_providers: command.engine.strict_providers,
        intra_op_threads: command.engine.intra_op_threads,
        tensor_bytes: TENSOR_BYTES,
        timeout: Duration::from_millis(command.deadline_ms),
    };
    let mut model = StandaloneModel::load(&engines, &request, stop)?;
    drop(bundle);
    let mut stream = TextStream::new(&name, &prompt, command.seed);
    let result = stream.run(&mut model);
    // The streamed text does not end its last line.
    if !stream.text.is_empty() {
        line("")?;
    }
    let is_stopped = match result {
        Ok(()) => false,
        Err(error) if error.is_stop() => true,
        Err(error) => return Err(error),
    };
    if command.json {
        line(stream.figures(&model, is_stopped))?;
    }
    if !is_stopped {
        model.end()?;
    }
    Ok(ExitStatus::Success)
}

/// The files of the model as one bundle.
fn read_bundle(path: &Path) -> Result<Vec<u8>, CliError> {
    let Some(name) = path.to_str().and_then(|path| path.strip_prefix("builtin:")) else {
        return Ok(read_folder(path)?);
    };
    let part = builtin::find(name).filter(|bytes| shm_protocol::bundle::is_bundle(bytes));
    part.map(<[u8]>::to_vec).ok_or_else(|| {
        CliError::input(format!(
            "this binary has no language model builtin:{name}; name a folder with one"
        ))
    })
}

/// The request in JSON.
fn request(command: &GenerateArguments) -> Result<Value, CliError> {
    let mut request = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        request.extend(value.map(|value| (key.to_owned(), value)));
    };
    set(
        "prompt",
        command.prompt.as_ref().map(|prompt| json!(prompt)),
    );
    if let Some(chat) = &command.chat {
        let system = command
            .system
            .iter()
            .map(|text| json!({ "role": "system", "content": text }));
        let messages: Vec<Value> = system
            .chain([json!({ "role": "user", "content": chat })])
            .collect();
        set("messages", Some(json!(messages)));
    }
    set("max_tokens", Some(json!(command.max_tokens)));
    set("temperature", command.temperature.map(|value| json!(value)));
    set("top_k", command.top_k.map(|value| json!(value)));
    set("top_p", command.top_p.map(|value| json!(value)));
    set("min_p", command.min_p.map(|value| json!(value)));
    set(
        "stop",
        (!command.stop.is_empty()).then(|| json!(command.stop)),
    );
    if let Some(path) = &command.schema {
        let name = format!("schema {}", path.display());
        let schema = read_file(path, SCHEMA_BYTES).map_err(|error| CliError::io(&name, &error))?;
        let schema: Value = serde_json::from_slice(&schema)
            .map_err(|error| CliError::input(format!("{name}: {error}")))?;
        set(
            "response_format",
            Some(json!({ "type": "json_schema", "json_schema": schema })),
        );
    }
    Ok(Value::Object(request))
}

/// A generation that is streamed to standard output.
struct TextStream<'a> {
    model: &'a str,
    sequence: Sequence,
    text: String,
    prompt_tokens: u32,
    finish: Option<Finish>,
    wall: Duration,
}

impl TextStream<'_> {
    fn new<'a>(model: &'a str, prompt: &Value, seed: u64) -> TextStream<'a> {
        let sequence = Sequence {
            seed,
            agent: AgentId(0),
            request: RequestId(0),
            asked: prompt.to_string().into_bytes(),
            tokens: Vec::new(),
        };
        TextStream {
            model,
            sequence,
            text: String::new(),
            prompt_tokens: 0,
            finish: None,
            wall: Duration::ZERO,
        }
    }

    /// Runs the generation to its end and writes every delta to standard output.
    fn run(&mut self, model: &mut StandaloneModel) -> Result<(), CliError> {
        while self.finish.is_none() {
            let request = codec::encode(&DecodeRequest {
                steps: STEPS,
                sequences: vec![self.sequence.clone()],
            });
            let request = Tensor {
                dtype: DType::U8,
                shape: Shape::new(&[request.len() as u64]).expect("one dimension"),
                data: request,
            };
            let (outputs, wall) = model.run(&[request])?;
            self.wall += wall;
            let delta = self.delta(&outputs)?;
            output::write(&delta.text)?;
            self.sequence.tokens.extend(&delta.tokens);
            self.text += &delta.text;
            self.prompt_tokens = delta.prompt_tokens;
            self.finish = delta.finish;
        }
        Ok(())
    }

    /// The delta in the outputs of a decode request.
    fn delta(&self, outputs: &[Tensor]) -> Result<Delta, CliError> {
        let model = self.model;
        let bad = |error: String| {
            CliError::internal(format!(
                "the inference host sent an unexpected answer: {error}"
            ))
        };
        let data = outputs.first().map_or(&[][..], |output| &output.data);
        let Deltas(deltas) = codec::decode_record(data).map_err(|error| bad(error.to_string()))?;
        let [delta] =
            <[_; 1]>::try_from(deltas).map_err(|deltas| bad(format!("{} deltas", deltas.len())))?;
        let delta = delta.map_err(|error| CliError::input(format!("model {model}: {error}")))?;
        if delta.tokens.is_empty() && delta.finish.is_none() {
            return Err(bad("a delta without a token".to_owned()));
        }
        Ok(delta)
    }

    fn figures(&self, model: &StandaloneModel, is_stopped: bool) -> Value {
        let seconds = self.wall.as_secs_f64();
        let tokens = self.sequence.tokens.len();
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = if seconds > 0.0 {
            tokens as f64 / seconds
        } else {
            0.0
        };
        json!({
            "text": self.text,
            "tokens": tokens,
            "finish": if is_stopped { Some("stopped") } else { self.finish.map(Finish::name) },
            "prompt_tokens": self.prompt_tokens,
            "tokens_per_s": rate,
            "engine": model.engine.engine,
            "provider": model.info.provider,
            "wall_s": seconds,
        })
    }
}
