//! Collects the reports of all poles and publishes one summary.
//!
//! Takes the 9-byte reports of the `cartpole` agents; who sent it says which
//! pole it is about. Under the topic `poles` goes one compact JSON object per
//! `every` ticks (setting, 1 by default):
//!
//! `{"tick":T,"standing":S,"fallen":F,"poles":[[x_mm,theta_mrad,standing],...]}`
//!
//! in the order of agent numbers, with integers only. A pole is missing until
//! its first report.

mod report;

use lockstep_agent::{Agent, AgentId, Config, Event, LogLevel, agent, host, settings};
use report::Report;
use std::collections::BTreeMap;

struct Referee {
    every: u64,
    latest: BTreeMap<AgentId, Report>,
}

impl Agent for Referee {
    fn init(config: &Config) -> Result<Self, String> {
        let every = settings::parse(config, "every", 1)?;
        if every == 0 {
            return Err("setting `every` is 0: it must be at least 1".into());
        }
        Ok(Self {
            every,
            latest: BTreeMap::new(),
        })
    }

    fn step(&mut self, events: Vec<Event>) {
        for event in events {
            let Event::Message(message) = event else {
                continue;
            };
            match Report::from_bytes(&message.payload) {
                Some(report) => {
                    self.latest.insert(message.sender, report);
                }
                None => {
                    let text = format!("agent {} sent no report of a pole", message.sender);
                    host::log(LogLevel::Warn, &text);
                }
            }
        }
        let tick = host::tick();
        if tick % self.every == 0 {
            let summary = report::summary(tick, self.latest.values());
            // A summary too large for the outbox is no reason to stop watching.
            if let Err(refusal) = host::emit("poles", summary.as_bytes()) {
                let text = format!("the summary was refused: {refusal:?}");
                host::log(LogLevel::Error, &text);
            }
        }
    }
}

agent!(Referee);
