//! What the measurements share.
//!
//! * [`binary`]: the program that is measured, [`fleets`]: what it runs;
//! * [`captured`]: a run as its journal has it, the input of everything that is measured in isolation;
//! * [`bare_model`], [`bare_agents`]: the engines with nothing around them;
//! * [`engine`]: an inference host with nothing else around it;
//! * [`parts`]: the parts of a tick, each alone;
//! * [`live`]: a run in this process, to see it from within; [`struck`]: one whose host is killed;
//! * [`state_agent`]: an agent with as much state as is wanted; [`processes`]: what the system says of processes;
//! * [`clock`], [`samples`], [`report`]: measuring and telling.
#![forbid(unsafe_code)]

pub mod bare_agents;
pub mod bare_decoder;
pub mod bare_model;
pub mod binary;
pub mod captured;
pub mod clock;
pub mod engine;
pub mod fleets;
pub mod live;
pub mod parts;
pub mod processes;
pub mod report;
pub mod samples;
pub mod state_agent;
pub mod struck;

/// Why nothing could be measured; told to people and to nobody else.
pub type Trouble = Box<dyn std::error::Error>;
