//! The calls into wasmtime and the kernel that the compiler of Rust cannot check.
#![allow(unsafe_code, reason = "each block says why it is sound")]

mod guest;
mod memory;

pub(crate) use guest::Guest;
pub(crate) use memory::Memories;

use wasmtime::component::Component;
use wasmtime::{Config, Engine};

/// Lets the code use these extensions of the processor.
pub(crate) fn enable_features(config: &mut Config, features: &[&str]) {
    for feature in features {
        // SAFETY: the flags of `determinism::FEATURES` say only which instructions may be used. The engine refuses
        // to load code for instructions that this processor lacks, so it cannot run into them.
        unsafe { config.cranelift_flag_enable(feature) };
    }
}

/// Makes a component of machine code.
///
/// # Errors
/// When it is of another version or another configuration, or not machine code.
pub(crate) fn load_machine_code(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes must be what `Component::serialize` gave, or code of somebody's choice runs. They come out of
    // memory that the supervisor has sealed, and the supervisor takes them from the compiler or, with a keyed digest,
    // from its own cache only. A host trusts its supervisor. Somebody who can write the cache of this user gains
    // what the user can do in any case, and here less, because this process has confined itself.
    unsafe { Component::deserialize(engine, code) }
}
