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

pub use host_config::HostConfig;
pub(crate) use host_config::version_title;
pub use load::LoadReport;
pub use manifest::{Builtin, Manifest, ModelSource};
pub use placement::{Placement, default_hosts};
pub(crate) use preflight::prepare;
pub use preflight::{HostCheck, ProviderTrial, check, check_hosts};
pub(crate) use provider_change::{ReloadOutcome, found, moved};
pub(crate) use run_header::{check_version, plan, reasons, run_header};
pub use standalone_model::{StandaloneModel, StandaloneModelRequest};
pub(crate) use startup::bundle;
pub use startup::{Engines, StartedHosts, StartupOptions, start_hosts};
