//! Bytes in shared memory and messages on the wire between Lockstep's processes.
//!
//! Nothing here knows wasm, ONNX or policy. From the bottom up:
//!
//! * [`id`], [`limit`], [`tensor`], [`provider`]: the words that every message is made of;
//! * [`codec`]: the one place where bytes become values and back;
//! * [`sys`]: the operating-system calls (memfd, seals, mappings, futex);
//! * [`ring`]: the single-producer single-consumer ring over such memory;
//! * [`link`]: the two rings between the supervisor and one host;
//! * [`fault`]: faults that are injected on purpose, at named points;
//! * [`progress`]: reports of a host that works for long;
//! * [`host_process`]: the first steps of a host process;
//! * the messages, in files named by direction.
//!
//! The invariant of the whole crate: bytes that another process can write are
//! copied once, then checked, then used; its good behaviour is never a premise.

pub mod agent_state;
pub mod agent_to_supervisor;
pub mod boot;
pub mod bundle;
pub mod codec;
pub mod fault;
pub mod generation;
pub mod host_process;
pub mod id;
pub mod inference_to_supervisor;
pub mod limit;
pub mod link;
#[doc(hidden)]
pub mod planted;
pub mod progress;
pub mod provider;
pub mod ring;
pub mod supervisor_to_agent;
pub mod supervisor_to_inference;
pub mod sys;
#[cfg(test)]
#[path = "../../tests/teeth/mod.rs"]
mod teeth;
pub mod tensor;
