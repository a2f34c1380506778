//! What a run is and what a tick was: the shared vocabulary of tick machine, journal and checkpoints. No input or output
//! happens here.

mod run_header;
mod verdict;

pub use run_header::{
    AgentPin, AwaitedRecord, Become, Digest, DroppedMessages, EnginePin, ModelChange, ModelPin,
    ResultRecord, RunHeader, Seal, SealReason, TickRecord, VersionPin,
};
pub use verdict::{ABANDONED, QuarantineReason, RequestName, Verdict};
