//! Runs the models of a Lockstep fleet in ONNX Runtime, in a process of its own.
//!
//! * [`boot`]: start of the process, up to the first command;
//! * [`confine`]: the rights that it gives up, and when;
//! * [`command_loop`]: the commands: load the engine, load models, start;
//! * [`serve`]: batches from the ring, results to the ring, in place;
//! * [`error`]: errors that end the host, and who is to blame;
//! * [`backend`]: the interface of an engine, and [`onnx`], its one implementation;
//! * [`library`]: the engine's library, checked before it is loaded;
//! * [`model_loader`], [`model_registry`]: loading of models, and the loaded ones;
//! * [`batch_invariance`]: the probe that decides whether a model's requests may be batched;
//! * [`language_model`]: language models: tokenizer, KV cache, sampling, decode loop;
//! * [`memory_budget`]: the limit on the memory of a model.
//!
//! The invariant: a result depends on the model and its inputs alone, never on the other requests in a batch, on
//! timing, or on the place of the bytes in memory.

#![deny(unsafe_code)]

pub mod backend;
pub mod batch_invariance;
pub mod boot;
pub mod command_loop;
pub mod confine;
pub mod error;
mod error_chain;
mod floats;
mod language_model;
pub mod library;
mod memory_budget;
pub mod model_loader;
pub mod model_registry;
pub mod onnx;
pub mod serve;
#[allow(
    unsafe_code,
    reason = "the one place for it: the engine's C interface and memory that is shared with the supervisor"
)]
mod sys;
#[cfg(test)]
mod testing;

#[doc(hidden)]
pub use language_model::read_sampling;
pub use library::{EmbeddedLibrary, embedded_library};
pub use sys::tensor::{TensorView, TensorViewMut};

use boot::InferenceHost;

/// Runs an inference host to its end; `arguments` are those after the role. Gives the exit code.
#[must_use]
pub fn main(arguments: &[String]) -> u8 {
    let InferenceHost {
        mut link,
        artifacts,
        server,
    } = match InferenceHost::attach(arguments) {
        Ok(host) => host,
        Err(error) => return error.report(None),
    };
    match InferenceHost::ready(&mut link, server)
        .and_then(|control| command_loop::run(&mut link, &artifacts, control))
    {
        Ok(()) => 0,
        Err(error) => error.report(Some(&mut link)),
    }
}
