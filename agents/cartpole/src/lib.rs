//! One pole on a cart, balanced by the answers of a model.
//!
//! In each tick while the pole stands: a gust may kick the pole, the force of
//! the latest answer acts for one tick of physics, and the new observation
//! (`observation`, f32[1,4]) goes to the model, whose answer (`action`,
//! f32[1,1]) acts in the next tick. A fallen pole stays as it fell and asks no
//! more. Standing or fallen, the pole reports to the referee.
//!
//! Settings: `model` ("policy"), `referee` ("referee"), and `policy`, which as
//! "none" means that no model is asked and no force acts.

mod physics;

use lockstep_agent::{
    Agent, AgentId, Config, Event, InferenceResult, LogLevel, ModelId, agent, agent_id_by_name,
    host, model_id_by_name, settings, tensors,
};
use physics::CartPole;

struct Balancer {
    pole: CartPole,
    /// The latest answer; zero until the first.
    action: f32,
    /// None where the setting `policy` is "none".
    model: Option<ModelId>,
    referee: AgentId,
}

impl Agent for Balancer {
    fn init(config: &Config) -> Result<Self, String> {
        let model = match settings::get(config, "policy") {
            None => {
                let name = settings::text(config, "model", "policy");
                Some(model_id_by_name(name)?)
            }
            Some("none") => None,
            Some(other) => {
                return Err(format!(
                    "setting `policy` is \"{other}\": leave it out or say \"none\""
                ));
            }
        };
        let referee = settings::text(config, "referee", "referee");
        Ok(Self {
            pole: CartPole::start(host::random),
            action: 0.0,
            model,
            referee: agent_id_by_name(referee)?,
        })
    }

    fn step(&mut self, events: Vec<Event>) {
        for event in events {
            if let Event::Inference(result) = event {
                self.take_answer(&result);
            }
        }
        if self.pole.is_standing() {
            self.pole.advance(self.action, host::random);
            // This tick may have been its last.
            if self.pole.is_standing() {
                self.ask();
            }
        }
        host::send(self.referee, &self.pole.report()).expect("a report is within every limit");
    }
}

impl Balancer {
    /// A failed request is no answer: the one before it stays the latest.
    fn take_answer(&mut self, result: &InferenceResult) {
        match answer(result) {
            Ok(action) => self.action = action,
            Err(reason) => host::log(LogLevel::Warn, &format!("no action: {reason}")),
        }
    }

    fn ask(&self) {
        let Some(model) = self.model else { return };
        let observation = tensors::from_f32(&[1, 4], &self.pole.observation());
        host::submit(model, &[tensors::named("observation", observation)])
            .expect("the policy takes one observation in every tick");
    }
}

fn answer(result: &InferenceResult) -> Result<f32, String> {
    let outputs = result.outcome.as_ref().map_err(Clone::clone)?;
    let action = tensors::to_f32(tensors::find(outputs, "action")?)?;
    action.first().copied().ok_or_else(|| "it is empty".into())
}

agent!(Balancer);
