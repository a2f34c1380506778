//! The SDK for agents in Rust: the bindings of the agent interface, the entry
//! points, and helpers.
//!
//! An agent is a type that implements [`Agent`], named once in [`agent!`]:
//!
//! ```
//! use lockstep_agent::{Agent, Config, Event, agent, host};
//!
//! struct Greeter;
//!
//! impl Agent for Greeter {
//!     fn init(_config: &Config) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!     fn step(&mut self, _events: Vec<Event>) {
//!         host::emit("greeting", b"hello").expect("a short greeting is within every limit");
//!     }
//! }
//!
//! agent!(Greeter);
//! ```
//!
//! Outside of WebAssembly everything compiles but no host function can be
//! called, so the pure parts of an agent can be tested natively.

mod awaits;
mod checksum;
mod entry;
mod names;
pub mod settings;
pub mod tensors;
pub mod texts;

/// The generated bindings. Agents use the re-exports below instead.
#[doc(hidden)]
#[allow(clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "agent",
        pub_export_macro: true,
        export_macro_name: "export",
    });
}

pub use awaits::infer;
pub use bindings::lockstep::agent::host::{self, AwaitError, LogLevel, Refusal};
pub use bindings::lockstep::agent::types::{
    AgentId, Config, Dtype, Event, InferenceResult, Message, ModelId, NamedTensor, RequestId,
    Tensor,
};
pub use checksum::Checksum;
pub use entry::Agent;
#[doc(hidden)]
pub use entry::Slot;
pub use names::{agent_id_by_name, model_id_by_name};
