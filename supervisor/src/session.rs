//! The three ways to execute a run: [`run`] a fleet, [`resume`] a run directory, [`replay`] a journal.
//!
//! Each starts hosts ([`crate::launch`]), gives a ledger to the [`crate::event_loop`], and ends the hosts. The ledger
//! is the difference: a run and a resume write the journal, a replay compares with it.

pub(crate) mod catch_up;
mod checkpoint_schedule;
pub(crate) mod comparing_ledger;
pub(crate) mod journal_scan;
pub(crate) mod live_run;
mod or_resume;
mod outbox_repair;
pub(crate) mod recording_ledger;
pub(crate) mod replay;
mod resume;
pub(crate) mod run;
pub(crate) mod run_store;
pub(crate) mod stats;

pub use live_run::RunReport;
pub use or_resume::is_resumable;
pub use replay::{ReplayReport, ReplayRequest, replay};
pub use resume::{ResumeRequest, resume};
pub use run::{RunRequest, run};
