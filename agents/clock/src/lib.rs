//! Reads the wall clock in every tick, and so must be refused by the loader,
//! by the name of what it imports: `wasi:clocks/monotonic-clock@0.2.0`.
//!
//! Were it ever loaded, it would emit the time under the topic `time`.

use lockstep_agent::{Agent, Config, Event, agent, host};

/// The import that the agent interface does not have. It is merged with the
/// agent's world when the component is linked.
mod ambient {
    wit_bindgen::generate!({ path: "wit", world: "ambient" });
}

struct Clock;

impl Agent for Clock {
    fn init(_config: &Config) -> Result<Self, String> {
        Ok(Self)
    }

    fn step(&mut self, _events: Vec<Event>) {
        let now = ambient::wasi::clocks::monotonic_clock::now();
        host::emit("time", now.to_string().as_bytes())
            .expect("one short number is within every limit");
    }
}

agent!(Clock);
