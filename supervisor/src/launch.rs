//! From a fleet or a journal to host processes with everything loaded.
//!
//! * [`Manifest`]: everything a run is made of, from a fleet file or from the journal of a run;
//! * [`Layout`]: which host steps which agent;
//! * [`assemble`]: compile components, start hosts, load agents and models;
//! * [`Orders`]: what hosts are told when they start;
//! * [`Lone`]: one model alone, without a fleet;
//! * [`check`], [`checkup`]: what can be known before anything starts.

pub(crate) mod fault_setup;
mod host_config;
mod load;
mod manifest;
mod placement;
mod preflight;
mod provider_change;
mod run_header;
mod standalone_model;
mod startup;

pub use host_config::Orders;
pub(crate) use host_config::version_title;
pub use load::Facts;
pub use manifest::{Builtin, Manifest, ModelAsked};
pub use placement::{Layout, default_hosts};
pub(crate) use preflight::prepare;
pub use preflight::{Checkup, Tried, check, checkup};
pub(crate) use provider_change::{Found, found, moved};
pub(crate) use run_header::{check_version, plan, reasons, run_header};
pub use standalone_model::{Lone, LoneRequest};
pub(crate) use startup::bundle;
pub use startup::{Assembled, Demands, Engines, assemble};
