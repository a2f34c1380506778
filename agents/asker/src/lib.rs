//! Sends one request to a model and emits the result, byte for byte.
//!
//! Settings: `model`, its name; and `input NAME` for each input NAME of the
//! model, as element type, dimensions and the elements in Base64:
//! `float32[2,1] AACAPwAAAEA=`. In tick 1 the request is submitted. Its outputs go
//! out under the topics `output NAME float32[2,1]`, in pieces of at most 48 KiB in
//! their order; if there are none, the reason goes out under `failed`.

mod text;

use lockstep_agent::{
    Agent, Config, Event, InferenceResult, ModelId, NamedTensor, agent, host, model_id_by_name,
    settings,
};

/// The prefix of the settings of inputs.
const INPUT: &str = "input ";

/// Maximum bytes of one output; the limit for an agent is 64 KiB.
const PIECE_BYTES: usize = 48 << 10;

struct Asker {
    model: ModelId,
    inputs: Vec<NamedTensor>,
}

impl Agent for Asker {
    fn init(config: &Config) -> Result<Self, String> {
        let inputs = config.settings.iter().filter_map(|(key, value)| {
            let name = key.strip_prefix(INPUT)?;
            let tensor = text::tensor(value)
                .map_err(|reason| format!("setting `{key}`: {reason}"))
                .map(|value| NamedTensor {
                    name: name.to_string(),
                    value,
                });
            Some(tensor)
        });
        Ok(Self {
            model: model_id_by_name(settings::text(config, "model", ""))?,
            inputs: inputs.collect::<Result<_, _>>()?,
        })
    }

    fn step(&mut self, events: Vec<Event>) {
        if host::tick() == 1 {
            if let Err(refusal) = host::submit(self.model, &self.inputs) {
                say_failed(&format!("the request was refused: {refusal:?}"));
            }
        }
        for event in events {
            if let Event::Inference(result) = event {
                give_out(&result);
            }
        }
    }
}

fn give_out(result: &InferenceResult) {
    let outputs = match &result.outcome {
        Ok(outputs) => outputs,
        Err(reason) => return say_failed(reason),
    };
    for NamedTensor { name, value } in outputs {
        let topic = format!("output {name} {}", text::kind(value));
        // An output without elements goes out too.
        let pieces = value.data.len().div_ceil(PIECE_BYTES).max(1);
        for piece in 0..pieces {
            let start = piece * PIECE_BYTES;
            let end = value.data.len().min(start + PIECE_BYTES);
            if let Err(refusal) = host::emit(&topic, &value.data[start..end]) {
                return say_failed(&format!("output {name} cannot go out: {refusal:?}"));
            }
        }
    }
}

fn say_failed(reason: &str) {
    host::emit("failed", reason.as_bytes()).expect("a reason is within every limit");
}

agent!(Asker);
