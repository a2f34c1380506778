//! The definition of a run and the record of a tick: the shared vocabulary of tick machine, journal and checkpoints.
//! No input or output happens here.

mod digest;
mod model_change;
mod model_definition;
mod pins;
mod run_header;
mod run_id;
mod seal;
mod tick_record;
mod verdict;

pub use digest::{Digest, hex};
pub use model_change::{ModelChange, NewVersion, ScheduledChange};
pub use model_definition::{ModelDefinition, ModelSettings};
pub use pins::{AgentPin, EnginePin, ModelPin, VersionPin};
pub use run_header::RunHeader;
pub use run_id::RunId;
pub use seal::{Seal, SealReason};
pub use tick_record::{AwaitedRecord, DroppedMessages, ResultRecord, TickRecord};
pub use verdict::{ABANDONED, QuarantineReason, RequestName, Verdict};
