//! Sends numbers to a peer in every tick and sums up what comes back.
//!
//! A message is 16 bytes: a counter from zero and a random number, both u64
//! little-endian. The checksum covers sender (u32 little-endian) and payload
//! of every message in the order of arrival, and goes out as 16 hexadecimal
//! digits under the topic `checksum` in every tick divisible by ten.
//!
//! Setting `peer` (required): the name of the agent to send to; it may be
//! this one.

use lockstep_agent::{
    Agent, AgentId, Checksum, Config, Event, LogLevel, Message, agent, agent_id_by_name, host,
    settings,
};

/// How many messages share a log line, and how many ticks a checksum.
const EVERY: u64 = 10;

struct PingPong {
    peer: AgentId,
    sent: u64,
    received: u64,
    checksum: Checksum,
}

impl Agent for PingPong {
    fn init(config: &Config) -> Result<Self, String> {
        let peer = settings::get(config, "peer").ok_or("setting `peer` is missing")?;
        Ok(Self {
            peer: agent_id_by_name(peer)?,
            sent: 0,
            received: 0,
            checksum: Checksum::new(),
        })
    }

    fn step(&mut self, events: Vec<Event>) {
        for event in events {
            if let Event::Message(message) = event {
                self.receive(&message);
            }
        }
        self.send();
        if host::tick() % EVERY == 0 {
            host::emit("checksum", self.checksum.to_string().as_bytes())
                .expect("one checksum is within every limit");
        }
    }
}

impl PingPong {
    fn receive(&mut self, message: &Message) {
        self.received += 1;
        self.checksum.add(&message.sender.to_le_bytes());
        self.checksum.add(&message.payload);
        if self.received % EVERY == 0 {
            let text = format!("message {} from agent {}", self.received, message.sender);
            host::log(LogLevel::Info, &text);
        }
    }

    fn send(&mut self) {
        let mut payload = [0; 16];
        payload[..8].copy_from_slice(&self.sent.to_le_bytes());
        payload[8..].copy_from_slice(&host::random().to_le_bytes());
        host::send(self.peer, &payload).expect("the peer exists and one message is allowed");
        self.sent += 1;
    }
}

agent!(PingPong);
