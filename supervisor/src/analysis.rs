//! Reads a journal for people and programs: the fields of a record, the first difference between two runs, the origin of
//! a result, and the distance between results in units in the last place. Nothing here is part of a run.

pub mod diff;
pub mod inspect;
mod projection;
mod provenance;
mod summary;
mod tensor_text;
mod ulp_distance;

pub use provenance::{ProducingVersion, Provenance, ProvenanceTracker};
pub use summary::RunSummary;
pub use tensor_text::TensorText;
pub(crate) use ulp_distance::UlpStatistics;
pub use ulp_distance::{ElementPosition, NOT_COMPARABLE, UlpDistance};
