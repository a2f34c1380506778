//! What `wit/lockstep.wit` says, as Rust.
//!
//! The events that go into an agent and the calls of its exports are used as
//! generated. What an agent calls is bound by hand in [`crate::imports`], so
//! that its arguments are measured before they are copied.
#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]

wasmtime::component::bindgen!({ path: "../wit", world: "agent" });
