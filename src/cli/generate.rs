//! `lockstep generate`: text from a local language model, streamed, through a
//! real inference host and the rings.

use super::arguments::Generate;
use super::edge::{Done, Trouble};
use super::file::read_file;
use super::output::line;
use super::{builtin, engines};
use serde_json::{Map, Value, json};
use shm_protocol::codec;
use shm_protocol::generation::{DecodeRequest, Delta, Deltas, Finish, Generator, Sequence};
use shm_protocol::id::{AgentId, RequestId};
use shm_protocol::tensor::{DType, Shape, Tensor};
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use supervisor::error::{ErrorKind, RunError};
use supervisor::host::StopSignals;
use supervisor::launch::{StandaloneModel, StandaloneModelRequest};
use supervisor::models::read_folder;

/// Tokens of one order: few enough that text flows, and enough that the way there and back costs little.
const STEPS: u32 = 4;

/// Most bytes of keys and values that the host keeps: there is one text, so this only keeps it.
const CACHE_BYTES: u64 = 64 << 30;

/// Most bytes of a file with a schema.
const SCHEMA_BYTES: u64 = 16 << 20;

/// Most bytes of an order or an answer.
const TENSOR_BYTES: usize = 4 << 20;

/// Writes a text.
pub(super) fn generate(command: &Generate) -> Result<Done, Trouble> {
    let name = command.model.display().to_string();
    let asked = request(command)?;
    let packed = read(&command.model)?;
    let engines = engines::engines()?;
    let stop = StopSignals::install()
        .map_err(|error| Trouble::system(format!("signals cannot be taken over: {error}")))?;
    let request = StandaloneModelRequest {
        may_batch: true,
        memory_bytes: 0,
        name: &name,
        file: &packed,
        generator: Some(Generator {
            sequences: 1,
            tokens_per_tick: STEPS,
            context: command.context,
            cache_bytes: CACHE_BYTES,
        }),
        providers: command.engine.providers.clone(),
        strict_providers: command.engine.strict_providers,
        intra_threads: command.engine.intra_threads,
        tensor_bytes: TENSOR_BYTES,
        patience: Duration::from_millis(command.deadline_ms),
    };
    let mut model = StandaloneModel::load(&engines, &request, stop)?;
    drop(packed);
    let mut text = Text::new(&name, asked, command.seed);
    let ended = text.write(&mut model);
    // What was streamed has not ended its line.
    if !text.text.is_empty() {
        line("")?;
    }
    let is_stopped = match ended {
        Ok(()) => false,
        Err(Ended::Run(error)) if error.kind() == ErrorKind::Stopped => true,
        Err(Ended::Run(error)) => return Err(error.into()),
        Err(Ended::Trouble(trouble)) => return Err(trouble),
    };
    if command.json {
        line(text.figures(&model, is_stopped))?;
    }
    if !is_stopped {
        model.end()?;
    }
    Ok(Done::Fine)
}

/// The files of the model as one pack.
fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    let Some(name) = path.to_str().and_then(|path| path.strip_prefix("builtin:")) else {
        return read_folder(path).map_err(|error| Trouble::input(format!("model {error}")));
    };
    let known = builtin::find(name).filter(|bytes| shm_protocol::bundle::is_bundle(bytes));
    known.map(<[u8]>::to_vec).ok_or_else(|| {
        Trouble::input(format!(
            "there is no language model builtin:{name} in this binary; name a folder with one"
        ))
    })
}

/// The request in JSON.
fn request(command: &Generate) -> Result<Value, Trouble> {
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
        let unfit = |error: &dyn std::fmt::Display| {
            Trouble::input(format!("schema {}: {error}", path.display()))
        };
        let schema = read_file(path, SCHEMA_BYTES).map_err(|error| unfit(&error))?;
        let schema: Value = serde_json::from_slice(&schema).map_err(|error| unfit(&error))?;
        set(
            "response_format",
            Some(json!({ "type": "json_schema", "json_schema": schema })),
        );
    }
    Ok(Value::Object(request))
}

/// Why no more is written.
enum Ended {
    Run(RunError),
    Trouble(Trouble),
}

impl From<RunError> for Ended {
    fn from(error: RunError) -> Ended {
        Ended::Run(error)
    }
}

/// A text in the making.
struct Text<'a> {
    model: &'a str,
    sequence: Sequence,
    text: String,
    prompt_tokens: u32,
    finish: Option<Finish>,
    wall: Duration,
}

impl Text<'_> {
    fn new(model: &str, asked: Value, seed: u64) -> Text<'_> {
        let sequence = Sequence {
            seed,
            agent: AgentId(0),
            request: RequestId(0),
            asked: asked.to_string().into_bytes(),
            tokens: Vec::new(),
        };
        Text {
            model,
            sequence,
            text: String::new(),
            prompt_tokens: 0,
            finish: None,
            wall: Duration::ZERO,
        }
    }

    /// Writes to the end, each piece to standard output as it comes.
    fn write(&mut self, model: &mut StandaloneModel) -> Result<(), Ended> {
        while self.finish.is_none() {
            let order = codec::encode(&DecodeRequest {
                steps: STEPS,
                sequences: vec![self.sequence.clone()],
            });
            let order = Tensor {
                dtype: DType::U8,
                shape: Shape::new(&[order.len() as u64]).expect("one dimension"),
                data: order,
            };
            let (outputs, wall) = model.run(&[order])?;
            self.wall += wall;
            let piece = self.piece(&outputs).map_err(Ended::Trouble)?;
            show(&piece.text).map_err(Ended::Trouble)?;
            self.sequence.tokens.extend(&piece.tokens);
            self.text += &piece.text;
            self.prompt_tokens = piece.prompt_tokens;
            self.finish = piece.finish;
        }
        Ok(())
    }

    /// What came of an order.
    fn piece(&self, outputs: &[Tensor]) -> Result<Delta, Trouble> {
        let model = self.model;
        let bad = |error: String| {
            Trouble::system(format!("the inference host answers out of turn: {error}"))
        };
        let data = outputs.first().map_or(&[][..], |output| &output.data);
        let Deltas(pieces) = codec::decode_record(data).map_err(|error| bad(error.to_string()))?;
        let [piece] =
            <[_; 1]>::try_from(pieces).map_err(|pieces| bad(format!("{} pieces", pieces.len())))?;
        let piece = piece.map_err(|error| Trouble::input(format!("model {model}: {error}")))?;
        if piece.tokens.is_empty() && piece.finish.is_none() {
            return Err(bad("a piece without a token".to_owned()));
        }
        Ok(piece)
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
            "provider": model.facts.provider,
            "wall_s": seconds,
        })
    }
}

/// Passes text on at once. A reader that has gone away is not our trouble.
fn show(text: &str) -> Result<(), Trouble> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Trouble::system(
            format!("standard output cannot be written: {error}"),
        )),
        _ => Ok(()),
    }
}
