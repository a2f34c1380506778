//! Talks with another agent, each in the words of a language model.
//!
//! Settings: `model` and `partner`, their names; `system`, who this agent is and
//! what it knows; `begins`, whether it speaks first (`false`); `turns`, after how
//! many of its own turns a conversation ends and a new one begins (`6`); `tokens`,
//! most tokens of one turn (`60`); `temperature` (`0.7`).
//!
//! Text goes out as it is written, under the topic `text`; a turn that is done goes
//! out whole under `said`, and to the partner. A turn that cannot be written goes
//! out under `failed`, and nothing more is said.

use lockstep_agent::texts::{Piece, Request};
use lockstep_agent::{
    Agent, AgentId, Config, Event, InferenceResult, ModelId, agent, agent_id_by_name, host,
    model_id_by_name, settings, texts,
};

/// First byte of a message: a turn, or one with which the conversation ends.
const TURN: u8 = 0;
const LAST_TURN: u8 = 1;

struct Talker {
    model: ModelId,
    partner: AgentId,
    system: String,
    begins: bool,
    turns: u64,
    tokens: u32,
    temperature: f32,
    /// Whether the partner said each, and what.
    said: Vec<(bool, String)>,
    /// What is being written, if it is this agent's turn.
    writing: Option<String>,
}

impl Agent for Talker {
    fn init(config: &Config) -> Result<Self, String> {
        Ok(Self {
            model: model_id_by_name(settings::text(config, "model", ""))?,
            partner: agent_id_by_name(settings::text(config, "partner", ""))?,
            system: settings::text(config, "system", "").to_string(),
            begins: settings::parse(config, "begins", false)?,
            turns: settings::parse(config, "turns", 6_u64)?.max(1),
            tokens: settings::parse(config, "tokens", 60)?,
            temperature: settings::parse(config, "temperature", 0.7)?,
            said: Vec::new(),
            writing: None,
        })
    }

    fn step(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Message(message) if message.sender == self.partner => {
                    self.hear(&message.payload);
                }
                Event::Message(_) => {}
                Event::Inference(result) => self.grow(&result),
            }
        }
        if host::tick() == 1 && self.begins {
            self.speak();
        }
    }
}

impl Talker {
    fn hear(&mut self, message: &[u8]) {
        let Some((kind, text)) = message.split_first() else {
            return;
        };
        let text = String::from_utf8_lossy(text).into_owned();
        if *kind == LAST_TURN {
            // Whoever hears the last word begins the next conversation.
            self.said.clear();
        } else {
            self.said.push((true, text));
        }
        self.speak();
    }

    /// Asks for the words of the next turn.
    fn speak(&mut self) {
        let said = self.said.iter().map(|(by_partner, text)| {
            (
                if *by_partner { "user" } else { "assistant" },
                text.as_str(),
            )
        });
        let request = Request::chat([("system", self.system.as_str())].into_iter().chain(said))
            .max_tokens(self.tokens)
            .temperature(self.temperature);
        match texts::submit(self.model, &request) {
            Ok(_) => self.writing = Some(String::new()),
            Err(refusal) => fail(&format!("the request was refused: {refusal:?}")),
        }
    }

    fn grow(&mut self, result: &InferenceResult) {
        let piece = match Piece::of(result) {
            Ok(piece) => piece,
            Err(reason) => return fail(&reason),
        };
        let Some(writing) = &mut self.writing else {
            return;
        };
        writing.push_str(&piece.text);
        if !piece.text.is_empty() {
            emit("text", piece.text.as_bytes());
        }
        if piece.is_last() {
            let turn = self.writing.take().unwrap_or_default();
            self.end_turn(turn.trim().to_string());
        }
    }

    fn end_turn(&mut self, turn: String) {
        emit("said", turn.as_bytes());
        self.said.push((false, turn.clone()));
        let mine = self.said.iter().filter(|(by_partner, _)| !by_partner);
        let is_last = mine.count() as u64 >= self.turns;
        let mut message = vec![if is_last { LAST_TURN } else { TURN }];
        message.extend_from_slice(turn.as_bytes());
        if host::send(self.partner, &message).is_err() {
            fail("the partner cannot be told");
        }
        if is_last {
            self.said.clear();
        }
    }
}

fn fail(reason: &str) {
    emit("failed", reason.as_bytes());
}

fn emit(topic: &str, payload: &[u8]) {
    host::emit(topic, payload).expect("a turn is within every limit");
}

agent!(Talker);
