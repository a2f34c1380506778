//! The fleet file and what it means.
//!
//! * [`spec`](Fleet): what a fleet is after reading; the rest of Lockstep sees only this;
//! * `read`: from a path or a text to a [`Fleet`], or to all that is wrong with it;
//! * `settings`, `agents`, `models`, `changes`, `faults`: the keys of each kind of table, one line for each key with its
//!   type, bounds and default; the keys that a table has are those for which its reader asks;
//! * `table`, `value`, `compound`: read a table, the value of a key, and those that are more than a word or a number;
//! * `parse`, `names`: texts that are names, sizes, ports and sources, and names that may be given once;
//! * `text`, `context`, `problem`, `error`: from a text to what it means, or to what is wrong, where, and what to do next;
//! * `nearest`, `renamed`: the word that was meant, and names of former versions;
//! * `source`: the bytes that a fleet names.
//!
//! The invariant: a [`Fleet`] that was read is within every bound, and reading
//! one text gives the same fleet or the same complaints everywhere.

mod agents;
mod changes;
mod compound;
mod context;
mod error;
mod faults;
mod models;
mod names;
mod nearest;
mod pace;
mod parse;
mod problem;
mod read;
mod renamed;
mod settings;
mod source;
mod spec;
mod table;
mod text;
mod value;

pub use error::{FleetError, Refusal};
pub use models::unfit_version;
pub use pace::{PACE_HELP, Pace};
pub use problem::{Place, Problem};
pub use source::SourceError;
pub use spec::{
    AgentSpec, Durability, Fleet, FleetChange, Nan, OnProviderLost, RestartLimits, Source,
};

#[cfg(test)]
mod tests;
