//! The types and exports of `wit/lockstep.wit` and of its former version, generated.
//!
//! The events for an agent and the types of its exports are used as generated. The functions that an agent imports are
//! bound by hand in [`crate::imports`], so that the size of their arguments is checked before they are copied.
#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]

wasmtime::component::bindgen!({ path: "../wit", world: "agent" });

/// The interface as components have it that were built against version 0.1.
pub(crate) mod v0_1 {
    wasmtime::component::bindgen!({ path: "../wit/0.1", world: "agent" });
}
