//! Shared memory and messages between Lockstep's processes.
//!
//! This crate depends neither on WebAssembly nor on ONNX, and contains no policy. From the bottom up:
//!
//! * [`id`], [`limit`], [`tensor`], [`provider`]: the types that messages consist of;
//! * [`codec`]: encoding and decoding, in one place;
//! * [`sys`]: the operating-system calls (memfd, seals, mappings, futex);
//! * [`ring`]: the single-producer single-consumer ring over such memory;
//! * [`link`]: the two rings between the supervisor and one host;
//! * [`exit_code`]: the exit codes of the binary in all of its roles;
//! * [`fault`]: faults that are injected on purpose, at named points;
//! * [`random`]: numbers that follow from a seed;
//! * [`progress`]: progress reports of a host during long work;
//! * [`host_process`]: the start of a host process;
//! * the messages, in files named by direction.
//!
//! The invariant of the whole crate: bytes that another process can write are
//! copied once, then checked, then used; its good behaviour is never a premise.

#![deny(unsafe_code)]

pub mod agent_state;
pub mod agent_to_supervisor;
pub mod boot;
pub mod bundle;
pub mod codec;
pub mod exit_code;
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
pub mod random;
pub mod ring;
pub mod supervisor_to_agent;
#[allow(
    unsafe_code,
    reason = "the operating-system calls and raw memory accesses of this crate"
)]
pub mod supervisor_to_inference;
#[allow(
    unsafe_code,
    reason = "the operating-system calls and raw memory accesses of this crate"
)]
pub mod sys;
pub mod tensor;
