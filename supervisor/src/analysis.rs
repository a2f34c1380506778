//! Reads a journal for people and programs: differences between two runs, one tick in words, where an output came from,
//! and how far two results are apart. Nothing here is part of a run.

pub mod diff;
pub mod inspect;
mod provenance;
mod ulp_distance;

pub use provenance::{MadeBy, Provenance, Provenances};
pub(crate) use ulp_distance::Measure;
pub use ulp_distance::{Apart, NOT_COMPARABLE, Place};
