//! The fleet file and what it means.
//!
//! * [`spec`](Fleet): what a fleet is after reading; the rest of Lockstep sees only this;
//! * `read`: from a path or a text to a [`Fleet`], or to all that is wrong with it;
//! * `keys`: the keys of every table, the one list that reader and documentation share;
//! * `section`: takes the keys of one table, in types and within bounds;
//! * `compound`: takes keys whose value is more than a word or a number;
//! * `header`, `agents`, `models`, `faults`: what the kinds of table mean;
//! * `value`: texts that are more than a word: names, memory sizes, ports, sources;
//! * `problem`, `error`: what is wrong, where, and what to do next;
//! * `source`: the bytes that a fleet names.
//!
//! The invariant: a [`Fleet`] that was read is within every bound, and reading
//! one text gives the same fleet or the same complaints everywhere.

mod agents;
mod bounds;
mod changes;
mod compound;
mod error;
mod faults;
mod header;
mod keys;
mod models;
mod nearest;
mod problem;
mod read;
mod section;
mod source;
mod spec;
mod value;

pub use error::{FleetError, Refusal};
pub use models::unfit_version;
pub use problem::{Place, Problem};
pub use source::SourceError;
pub use spec::{
    AgentSpec, ChangeSpec, ChangeTo, Durability, Fleet, ModelSpec, Nan, OnLost, RestartLimits,
    Source,
};

#[cfg(test)]
mod tests;
