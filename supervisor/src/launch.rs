//! From a fleet or a journal to host processes with everything loaded.
//!
//! * [`Manifest`]: the parts of a run, from a fleet file or from the journal of a run;
//! * [`Placement`]: the host of each agent;
//! * [`start_hosts`]: compile components, start hosts, load agents and models;
//! * [`HostConfig`]: the configuration that hosts get when they start;
//! * [`StandaloneModel`]: one model without a fleet;
//! * [`check`], [`check_hosts`]: checks before a run.

mod engines;
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

pub use engines::Engines;
pub(crate) use engines::check_build;
pub use host_config::HostConfig;
pub(crate) use host_config::{ports, version_title};
pub use load::LoadReport;
pub use manifest::{Builtin, Manifest};
pub(crate) use placement::shared_hosts;
pub use placement::{Placement, default_hosts};
pub(crate) use preflight::prepare;
pub use preflight::{HostCheck, ProviderTrial, check, check_hosts};
pub(crate) use provider_change::{ReloadOutcome, compare_version, provider_changes};
pub(crate) use run_header::{check_version, plan, refusal_reasons, run_header};
pub use standalone_model::{StandaloneModel, StandaloneModelRequest};
pub(crate) use startup::bundle;
pub use startup::{StartedHosts, StartupOptions, start_hosts};
