//! The calls into wasmtime and the kernel that the compiler cannot check.

mod guest;
mod memory;
pub(crate) mod seccomp;
mod step_function;

pub(crate) use guest::GuestStore;
pub(crate) use memory::AgentMemoryCreator;
pub(crate) use step_function::StepFunction;

use wasmtime::component::Component;
use wasmtime::{Config, Engine};

/// Allows the generated code to use these extensions of the processor.
pub(crate) fn enable_features(config: &mut Config, features: &[&str]) {
    for feature in features {
        // SAFETY: the flags of `determinism::FEATURES` only name instructions that may be used. The engine refuses
        // to load code for instructions that this processor lacks, so it cannot run into them.
        unsafe { config.cranelift_flag_enable(feature) };
    }
}

/// True for an error of the engine that the kernel has caused.
pub(crate) fn is_kernel_error(error: &wasmtime::Error) -> bool {
    error.root_cause().is::<rustix::io::Errno>()
}

/// Makes a component from machine code.
///
/// # Errors
/// When the code is from another version or configuration of the engine, or is not machine code.
pub(crate) fn load_machine_code(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes must be the output of `Component::serialize`, or arbitrary code runs. They are in memory that
    // the supervisor has sealed, and the supervisor takes them only from the compiler or, with a keyed digest, from its
    // own cache. A host trusts its supervisor. An attacker who can write the cache of this user gains no right that the
    // user lacks, and has fewer here, because this process has confined itself.
    unsafe { Component::deserialize(engine, code) }
}
