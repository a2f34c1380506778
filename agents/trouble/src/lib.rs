//! Misbehaves in a chosen way at a chosen tick; for tests.
//!
//! Settings: `what`, one of the ways in `kind.rs` (nothing if left out); `at`
//! (1), the tick in which it happens; `bytes` (8388608), the size for
//! "large"; `emit_every` (0 = never) as in `counter`.
//!
//! In every other tick it counts as `counter` does and logs one line. So it
//! does in the tick of the trouble and after it, if it survives.

#![cfg_attr(target_arch = "wasm32", feature(asm_experimental_arch))]

mod kind;
mod nan;
mod quotas;
mod traps;

use kind::Kind;
use lockstep_agent::{Agent, AgentId, Config, Event, LogLevel, agent, host, settings};

struct Trouble {
    id: AgentId,
    count: u64,
    emit_every: u64,
    at: u64,
    what: Option<Kind>,
    bytes: usize,
}

impl Agent for Trouble {
    fn init(config: &Config) -> Result<Self, String> {
        let what = settings::get(config, "what").map(str::parse).transpose()?;
        if what == Some(Kind::InitError) {
            return Err("asked to refuse".into());
        }
        Ok(Self {
            id: config.id,
            count: 0,
            emit_every: settings::parse(config, "emit_every", 0)?,
            at: settings::parse(config, "at", 1)?,
            what,
            bytes: settings::parse(config, "bytes", 1 << 23)?,
        })
    }

    fn step(&mut self, _events: Vec<Event>) {
        let tick = host::tick();
        self.count += 1;
        host::log(LogLevel::Info, &format!("count {}", self.count));
        if let Some(what) = self.what.filter(|_| tick == self.at) {
            self.misbehave(what);
        }
        if self.emit_every != 0 && tick % self.emit_every == 0 {
            emit("count", &self.count.to_string());
        }
    }
}

impl Trouble {
    fn misbehave(&self, what: Kind) {
        match what {
            Kind::Unreachable => traps::unreachable(),
            Kind::Panic => panic!("asked to panic"),
            Kind::Divide => traps::divide(),
            Kind::OutOfBounds => traps::out_of_bounds(),
            Kind::Spin => traps::spin(),
            Kind::Recurse => traps::recurse(),
            Kind::Memory => quotas::memory(),
            Kind::Flood => quotas::flood(self.id),
            Kind::Large => quotas::large(self.id, self.bytes),
            Kind::Nan => emit("nan", &nan::bits()),
            Kind::Finish => match host::finish("asked to finish") {
                Ok(()) => emit("finish", "granted"),
                Err(refusal) => emit("finish", &format!("{refusal:?}")),
            },
            Kind::InitError => unreachable!("init has refused"),
        }
    }
}

fn emit(topic: &str, text: &str) {
    host::emit(topic, text.as_bytes()).expect("a short text is within every limit");
}

agent!(Trouble);
