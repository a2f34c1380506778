//! The types and exports of `wit/lockstep.wit`, generated.
//!
//! The events for an agent and the calls of its exports are used as generated. The functions that an agent imports are
//! bound by hand in [`crate::imports`], so that the size of their arguments is checked before they are copied.
#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]

wasmtime::component::bindgen!({ path: "../wit", world: "agent" });
