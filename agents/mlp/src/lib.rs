//! Sends a model generated numbers in every tick and sums up its results.
//!
//! Settings: `model` ("mlp"); `input` ("x"), the name of its input; `rows` (1)
//! and `width` (64) of the float32 input; `emit_every` (0 = never): in every
//! tick divisible by it the checksum of all answers so far goes out as 16
//! hexadecimal digits under the topic `checksum`; and `wrong`, one of "shape",
//! "dtype" and "name", which makes the input wrong from tick 3 on.
//!
//! A refused request is logged and added to the checksum, not fatal: whether
//! requests are refused is what some tests want to see.

mod input;

use input::{Generator, Wrong};
use lockstep_agent::{
    Agent, Checksum, Config, Event, LogLevel, ModelId, agent, host, model_id_by_name, settings,
};

/// The first tick with a wrong input; before it, the model is known to work.
const WRONG_FROM_TICK: u64 = 3;

struct Feeder {
    model: ModelId,
    input: String,
    shape: [u64; 2],
    wrong: Option<Wrong>,
    emit_every: u64,
    generator: Generator,
    checksum: Checksum,
}

impl Agent for Feeder {
    fn init(config: &Config) -> Result<Self, String> {
        Ok(Self {
            model: model_id_by_name(settings::text(config, "model", "mlp"))?,
            input: settings::text(config, "input", "x").to_string(),
            shape: [
                settings::parse(config, "rows", 1)?,
                settings::parse(config, "width", 64)?,
            ],
            wrong: settings::get(config, "wrong").map(str::parse).transpose()?,
            emit_every: settings::parse(config, "emit_every", 0)?,
            generator: Generator::new(config.id),
            checksum: Checksum::new(),
        })
    }

    fn step(&mut self, events: Vec<Event>) {
        for event in events {
            if let Event::Inference(result) = event {
                self.checksum.add_result(&result);
            }
        }
        let tick = host::tick();
        let wrong = self.wrong.filter(|_| tick >= WRONG_FROM_TICK);
        let input = self.generator.input(&self.input, self.shape, wrong);
        if let Err(refusal) = host::submit(self.model, &[input]) {
            let text = format!("the request was refused: {refusal:?}");
            self.checksum.add_with_length(text.as_bytes());
            host::log(LogLevel::Warn, &text);
        }
        if self.emit_every != 0 && tick % self.emit_every == 0 {
            host::emit("checksum", self.checksum.to_string().as_bytes())
                .expect("one checksum is within every limit");
        }
    }
}

agent!(Feeder);
