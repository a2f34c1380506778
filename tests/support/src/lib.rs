//! What the tests of Lockstep's crates share. Only tests and measurements depend on it.
//!
//! * [`place`]: a folder of a test's own and the binary in it; [`process`]: one process of the binary, watched from
//!   outside until nothing of it is left; [`fleets`]: fleet files;
//! * [`host_process`]: a host process and the supervisor's end of its link;
//! * [`handwritten_agents`]: components that no compiler of guests makes;
//! * [`random`]: the generator of everything that tests draw;
//! * [`planted_bugs`]: the harness that plants a crate's bugs and requires that its tests catch them.
//!
//! Of the workspace's crates it knows `shm-protocol` alone: the unit tests of a crate that this one knew would have two
//! copies of that crate.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a process is watched from outside, where there is nothing but time"
)]

pub mod fleets;
pub mod handwritten_agents;
pub mod host_process;
pub mod place;
pub mod planted_bugs;
pub mod process;
pub mod random;

pub use fleets::{agent, change, fed, fleet, model, replace, repository, sound_model};
pub use place::{Place, chain, files, lockstep_binary, skipped};
pub use process::{Running, Said, wait_until};
pub use random::TestRng;
