//! Runs the models of a Lockstep fleet in ONNX Runtime, in a process of its own.
//!
//! * [`boot`]: from a bare process to one that answers commands;
//! * [`confine`]: what the process gives up, and when;
//! * [`obey`]: the commands: load the engine, load models, start;
//! * [`serve`]: batches from the ring down, results into the ring up, in place;
//! * [`error`]: why it cannot go on, and whose fault that is;
//! * [`backend`]: what is asked of an engine, and [`onnx`], the one there is;
//! * [`library`]: where the engine's code comes from, and that it is the right one;
//! * [`generator`]: language models, from a folder to tokens;
//! * [`probe`]: whether a model's requests may be joined to batches.
//!
//! The invariant: a result depends on the model and its inputs alone, never on
//! who else was in the batch, on timing, or on where the bytes lay.

mod allowance;
pub mod backend;
pub mod boot;
pub mod confine;
pub mod error;
mod generator;
pub mod library;
pub mod load;
pub mod models;
pub mod obey;
pub mod onnx;
pub mod probe;
pub mod serve;
mod sys;
#[cfg(test)]
mod testing;

pub use library::{EmbeddedLibrary, embedded_library};
pub use sys::tensor::{TensorPlace, TensorView};

use boot::Host;

/// The whole life of an inference host; `arguments` are those after the role. Gives the exit code.
#[must_use]
pub fn main(arguments: &[String]) -> u8 {
    let Host {
        mut link,
        artifacts,
        server,
    } = match Host::attach(arguments) {
        Ok(host) => host,
        Err(error) => return error.report(None),
    };
    match Host::ready(&mut link, server)
        .and_then(|control| obey::obey(&mut link, &artifacts, control))
    {
        Ok(()) => 0,
        Err(error) => error.report(Some(&mut link)),
    }
}
