//! The smallest agent: a number that grows by one in every step.
//!
//! Setting `emit_every` (0 = never, the default): in every tick divisible by
//! it, the number goes out in decimal under the topic `count`.

use lockstep_agent::{Agent, Config, Event, agent, host, settings};

struct Counter {
    count: u64,
    emit_every: u64,
}

impl Agent for Counter {
    fn init(config: &Config) -> Result<Self, String> {
        Ok(Self {
            count: 0,
            emit_every: settings::parse(config, "emit_every", 0)?,
        })
    }

    fn step(&mut self, _events: Vec<Event>) {
        self.count += 1;
        if self.emit_every != 0 && host::tick() % self.emit_every == 0 {
            host::emit("count", self.count.to_string().as_bytes())
                .expect("one short number is within every limit");
        }
    }
}

agent!(Counter);
