//! Everything about the graph of a decoder: no text.
//!
//! * [`layout`]: what each input and output is for;
//! * [`decoder`]: one run;
//! * [`slab`], [`store`]: keys and values in the shape in which the graph takes them, and between runs;
//! * [`prefixes`]: those of how prompts begin;
//! * [`probe`]: what may share a run.

pub(super) mod decoder;
pub(super) mod layout;
pub(super) mod prefixes;
pub(super) mod probe;
pub(super) mod slab;
pub(super) mod store;
