//! Sends numbers through a model several times, each time with what came out
//! before, and gives out where that leads.
//!
//! Settings: `model` ("mlp"); `input` ("x") and `output` ("y"), names of its float32
//! input and output; `width` (64) of a row of the input; `turns` (3), how often a
//! thought goes through the model; `emit_every` (1): each thought whose number it
//! divides goes out as 16 hexadecimal digits under the topic `thought`; `how`, "wait"
//! or "submit"; `wrong`, "shape" or "model", which spoils each first turn; and
//! `trap_at` (0 = never), a tick in which it traps after the first turn.
//!
//! With `how = "wait"` a whole thought is one step. With "submit" each turn takes the
//! model's latency, so that a thought takes `turns` ticks, and comes to the same.

mod thought;

use lockstep_agent::{
    Agent, Config, Event, LogLevel, ModelId, NamedTensor, agent, host, infer, model_id_by_name,
    settings, tensors,
};
use thought::Thought;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Shape,
    Model,
}

struct Ponderer {
    model: ModelId,
    input: String,
    output: String,
    width: usize,
    turns: u32,
    emit_every: u64,
    waits: bool,
    wrong: Option<Wrong>,
    trap_at: u64,
    seed: u64,
    thoughts: u64,
    thought: Option<Thought>,
}

impl Agent for Ponderer {
    fn init(config: &Config) -> Result<Self, String> {
        let waits = match settings::text(config, "how", "wait") {
            "wait" => true,
            "submit" => false,
            other => {
                return Err(format!(
                    "setting `how` is \"{other}\": it must be \"wait\" or \"submit\""
                ));
            }
        };
        let wrong = match settings::get(config, "wrong") {
            None => None,
            Some("shape") => Some(Wrong::Shape),
            Some("model") => Some(Wrong::Model),
            Some(other) => {
                return Err(format!(
                    "setting `wrong` is \"{other}\": it must be \"shape\" or \"model\""
                ));
            }
        };
        Ok(Self {
            model: model_id_by_name(settings::text(config, "model", "mlp"))?,
            input: settings::text(config, "input", "x").to_string(),
            output: settings::text(config, "output", "y").to_string(),
            width: settings::parse(config, "width", 64)?,
            turns: settings::parse(config, "turns", 3)?,
            emit_every: settings::parse(config, "emit_every", 1)?,
            waits,
            wrong,
            trap_at: settings::parse(config, "trap_at", 0)?,
            seed: u64::from(config.id),
            thoughts: 0,
            thought: None,
        })
    }

    fn step(&mut self, events: Vec<Event>) {
        if self.waits {
            return self.think_at_once();
        }
        for event in events {
            if let Event::Inference(result) = event {
                let output = result
                    .outcome
                    .and_then(|outputs| tensors::to_f32(tensors::find(&outputs, &self.output)?));
                self.take(output);
            }
        }
        let input = self.row();
        if let Err(refusal) = host::submit(self.model, &[input]) {
            host::log(LogLevel::Warn, &format!("refused: {refusal:?}"));
        }
    }
}

impl Ponderer {
    /// A whole thought in one step.
    fn think_at_once(&mut self) {
        for turn in 0..self.turns {
            let input = self.row();
            let model = match (turn, self.wrong) {
                (0, Some(Wrong::Model)) => ModelId::MAX,
                _ => self.model,
            };
            let output =
                infer(model, input, &self.output).and_then(|output| tensors::to_f32(&output));
            self.take(output);
            if host::tick() == self.trap_at {
                panic!("asked to trap after a turn");
            }
        }
    }

    /// The row that goes through the model next.
    fn row(&mut self) -> NamedTensor {
        let thought = self
            .thought
            .get_or_insert_with(|| Thought::begin(self.seed, self.thoughts, self.width));
        let is_wrong = thought.turns() == 0 && self.wrong == Some(Wrong::Shape);
        let row = match is_wrong {
            true => &thought.row()[1..],
            false => thought.row(),
        };
        tensors::named(&self.input, tensors::from_f32(&[1, row.len() as u64], row))
    }

    /// Takes what the model made of it.
    fn take(&mut self, output: Result<Vec<f32>, String>) {
        let Some(thought) = &mut self.thought else {
            return;
        };
        if let Err(reason) = &output {
            host::log(LogLevel::Warn, reason);
        }
        thought.take(output);
        if thought.turns() < self.turns {
            return;
        }
        let text = thought.to_string();
        self.thought = None;
        self.thoughts += 1;
        if self.emit_every != 0 && self.thoughts.is_multiple_of(self.emit_every) {
            host::emit("thought", text.as_bytes()).expect("a short text is within every limit");
        }
    }
}

agent!(Ponderer);
