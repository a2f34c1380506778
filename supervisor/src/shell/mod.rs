//! Performs what the machine asks for on the real world.
//!
//! * [`Manifest`]: everything a run is made of, from a fleet file or from the journal of a run;
//! * [`Layout`]: which host steps which agent;
//! * [`assemble`]: compile, start hosts, load agents and models;
//! * [`Hosts`]: what the loop needs of processes; [`Orders`]: what they are told when they start;
//! * [`Drive`]: the loop between machine, hosts and a [`Ledger`], which also brings back hosts that are lost;
//! * [`Lone`]: one model alone, without a fleet; [`read_folder`], [`read_model`]: models of several files;
//! * [`run`] and [`replay`]: the two ledgers, a journal to write and a journal to compare with.
//!
//! Data flows one way: files → manifest → crew → machine → ledger.

mod apart;
mod assemble;
mod batch_records;
mod check;
mod drive;
mod error;
mod external;
mod folder;
mod gone;
mod header;
mod hosts;
mod keeper;
mod launched;
mod layout;
mod load;
mod lone;
mod lost;
mod manifest;
mod observe;
mod operator;
mod orders;
mod outbound;
mod outbox_repair;
mod planned;
mod provenance;
mod replay;
mod resume;
mod run;
mod shelves;
#[cfg(test)]
#[path = "../../../tests/simulation/mod.rs"]
mod simulation;
mod tally;
mod versions;
mod writing;

pub use apart::{Apart, NOT_COMPARABLE, Place};
pub use assemble::{Assembled, Demands, Engines, assemble};
pub use check::{Checkup, Tried, check, checkup};
pub use drive::{Base, Drive, Ledger, Patience};
pub use error::{Kind, RunError};
pub use folder::{FolderError, read_folder, read_model};
pub use hosts::{Hosts, Real, Strike};
pub use launched::Summary;
pub use layout::{Layout, default_hosts};
pub use load::Facts;
pub use lone::{Lone, LoneRequest};
pub use manifest::{Builtin, Manifest, ModelAsked};
pub use observe::{Observer, Silent};
pub use operator::ask::{Action, Made, Wish, ask};
pub use operator::{Arriving, Asked, Operator, ToBecome};
pub use orders::Orders;
pub use provenance::{MadeBy, Provenance, Provenances};
pub use replay::{Replay, ReplayRequest, replay};
pub use resume::{ResumeRequest, resume};
pub use run::{RunRequest, run};
