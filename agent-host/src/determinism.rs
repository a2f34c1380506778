//! The settings of the engine that make a component behave the same on every machine, in one list with reasons.
//!
//! The compiler and the host configure their engines from this list, so that an artifact of one is always code for the
//! other. The list, as text, is part of the key under which artifacts are cached.

use crate::{capture, sys};
use std::sync::Arc;
use wasmtime::{Config, OptLevel, Strategy};

/// The version of wasmtime that compiles and runs agents. Fuel, traps and artifacts depend on it.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// One setting of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The call that applies it.
    pub call: &'static str,
    /// The reason for its value.
    pub why: &'static str,
}

macro_rules! settings {
    ($($method:ident($argument:expr), $why:literal;)*) => {
        /// The settings that depend neither on the fleet nor on the processor.
        pub const SETTINGS: &[Setting] = &[
            $(Setting { call: concat!(stringify!($method), "(", stringify!($argument), ")"), why: $why }),*
        ];

        fn set_all(config: &mut Config) {
            $(config.$method($argument);)*
        }
    };
}

settings! {
    // What a step may cost, and where it ends.
    consume_fuel(true), "a step ends at the same operation on every machine";
    epoch_interruption(false), "an epoch is wall-clock time, which must not decide anything";
    max_wasm_stack(512 << 10), "recursion ends at the same depth; it is counted in native bytes, hence the fixed target";
    async_stack_size(2 << 20), "the stack of a step that awaits: the limit of its code, and room for host functions";

    // What arithmetic gives.
    relaxed_simd_deterministic(true), "relaxed operations give what the specification calls the deterministic result";
    wasm_simd(true), "its results are fixed by the specification";
    wasm_relaxed_simd(true), "made deterministic above";

    // What the language has. What is not named here is off in this build of the engine.
    wasm_multi_value(true), "compilers of guests expect it";
    wasm_bulk_memory(true), "compilers of guests expect it";
    wasm_extended_const(true), "compilers of guests expect it";
    wasm_tail_call(true), "compilers of functional languages expect it";
    wasm_multi_memory(false), "one memory is nearly the whole state of an agent, which makes it easy to capture";
    wasm_memory64(false), "bounds checks would come back, and no agent needs 4 GiB";
    wasm_custom_page_sizes(false), "the size of a memory is counted in pages of 64 KiB everywhere";
    wasm_wide_arithmetic(false), "not yet a standard, so its fuel may still change";
    wasm_stack_switching(false), "not yet a standard";
    wasm_component_model_map(false), "not yet a standard";
    wasm_component_model_memory64(false), "bounds checks would come back, and no agent needs 4 GiB";
    wasm_component_model_fixed_length_lists(false), "not yet a standard";
    wasm_component_model_error_context(false), "its text is made by the engine and may differ";
    shared_memory(false), "writes of several threads to one memory have no defined order";
    concurrency_support(false), "a step is one call without concurrent tasks";
    gc_support(false), "the progress of a collector would be state outside of the memory";

    // How it is compiled.
    strategy(Strategy::Cranelift), "the only compiler of the engine that is intended for hostile code";
    cranelift_opt_level(OptLevel::Speed), "frame sizes depend on it, and with them the depth of recursion";
    signals_based_traps(true), "bounds checks by guard pages cost nothing";
    wasm_backtrace_max_frames(None), "the text of a trap must not hold addresses, and collecting frames costs time";
    native_unwind_info(false), "only profilers and debuggers read it";
    generate_address_map(false), "only backtraces read it";

    // Where memory lies. The artifact holds code for exactly this layout.
    memory_reservation(4 << 30), "a 32-bit index cannot leave it, so no access needs a check; it is only address space";
    memory_guard_size(32 << 20), "constant offsets past the index are caught by it";
    memory_may_move(false), "a memory grows within its reservation";
    guard_before_linear_memory(true), "a second line against a bug of the compiler";
    memory_init_cow(false), "it cannot be combined with own memories, which the capture of agent states needs";
    table_lazy_init(true), "makes instantiation fast";
}

/// The target of artifacts. It is fixed so that code, and with it the size of stack frames, does not depend on the
/// machine that compiled it.
#[cfg(target_arch = "x86_64")]
pub const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The target of artifacts.
#[cfg(target_arch = "aarch64")]
pub const TARGET: &str = "aarch64-unknown-linux-gnu";

/// The extensions beyond the baseline of the architecture that the code may use: on x86-64 those of every processor
/// since 2009, because without SSE 4.1 rounding is a call and SIMD is slow.
#[cfg(target_arch = "x86_64")]
pub const FEATURES: &[&str] = &[
    "has_sse3",
    "has_ssse3",
    "has_sse41",
    "has_sse42",
    "has_popcnt",
    "has_cmpxchg16b",
];
/// The extensions beyond the baseline of the architecture that the code may use.
#[cfg(target_arch = "aarch64")]
pub const FEATURES: &[&str] = &[];

/// The settings as text, for the key of the cache, with the version of the additions to components. Two engines with
/// the same text generate the same code, if they have the same version and treat NaNs alike.
#[must_use]
pub fn fingerprint() -> String {
    let calls: Vec<&str> = SETTINGS.iter().map(|setting| setting.call).collect();
    let (features, calls) = (FEATURES.join(" "), calls.join(" "));
    format!("{TARGET} {features} {calls} {}", capture::VERSION)
}

/// The configuration of the engine, for the compiler and for the host.
///
/// `canonical_nan` determines the bits of NaN results: one pattern everywhere, which costs up to 87 % in float-heavy
/// code, or those of the processor.
///
/// # Errors
/// When this build of wasmtime does not know [`TARGET`].
pub fn config(canonical_nan: bool) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config.target(TARGET)?;
    set_all(&mut config);
    config.cranelift_nan_canonicalization(canonical_nan);
    sys::enable_features(&mut config, FEATURES);
    // Own memories have the layout of the settings above, so artifacts do not depend on them.
    config.with_host_memory(Arc::new(sys::AgentMemoryCreator));
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::Engine;

    #[test]
    fn both_configurations_are_valid_here() {
        for canonical_nan in [true, false] {
            let config = config(canonical_nan).expect("the target is known");
            Engine::new(&config).expect("the settings go together");
        }
    }

    #[test]
    fn the_version_is_that_of_the_lock_file() {
        let lock = include_str!("../../Cargo.lock");
        let (_, entry) = lock
            .split_once("name = \"wasmtime\"\n")
            .expect("wasmtime is locked");
        assert_eq!(
            entry.lines().next(),
            Some(format!("version = \"{WASMTIME_VERSION}\"").as_str())
        );
    }

    #[test]
    fn the_fingerprint_names_every_setting() {
        let text = fingerprint();
        assert!(text.contains("memory_reservation(4 << 30)") && text.contains("has_sse41"));
        assert!(text.ends_with(capture::VERSION));
        assert!(
            SETTINGS
                .iter()
                .all(|setting| text.contains(setting.call) && !setting.why.is_empty())
        );
    }
}
