//! Why the same component does the same thing everywhere: every setting of
//! the engine in one list, each with its reason.
//!
//! The compiler and the host build their engine from this list, so that an
//! artifact of one is always code for the other. The same list, as text, is
//! part of the key under which artifacts are cached.

use crate::{capture, sys};
use std::sync::Arc;
use wasmtime::{Config, OptLevel, Strategy};

/// The wasmtime that compiles and runs agents. Fuel, traps and artifacts depend on it.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// One setting of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The call that makes it.
    pub call: &'static str,
    /// Why it is as it is.
    pub why: &'static str,
}

macro_rules! settings {
    ($($method:ident($argument:expr), $why:literal;)*) => {
        /// Every setting that does not depend on the fleet or on the processor.
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
    async_stack_size(2 << 20), "where a step that waits runs: what its code may use, and what host functions need beyond that";

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
    shared_memory(false), "a memory of two threads has no order of writes";
    concurrency_support(false), "a step is one call from beginning to end";
    gc_support(false), "a collector's pace would be state outside of the memory";

    // How it is compiled.
    strategy(Strategy::Cranelift), "the only compiler that is fit for hostile code";
    cranelift_opt_level(OptLevel::Speed), "frame sizes depend on it, and with them the depth of recursion";
    signals_based_traps(true), "bounds checks by guard pages cost nothing";
    wasm_backtrace_max_frames(None), "the text of a trap must not hold addresses, and collecting frames costs time";
    native_unwind_info(false), "only profilers and debuggers read it";
    generate_address_map(false), "only backtraces read it";

    // Where memory lies. The artifact holds code for exactly this layout.
    memory_reservation(4 << 30), "a 32-bit index cannot leave it, so no access needs a check; it is only address space";
    memory_guard_size(32 << 20), "constant offsets past the index are caught by it";
    memory_may_move(false), "the reservation is all that a memory can become";
    guard_before_linear_memory(true), "a second line against a bug of the compiler";
    memory_init_cow(false), "own memories, which capturing the state of agents needs, do not go together with it";
    table_lazy_init(true), "instances are made quickly";
}

/// The processors that an artifact runs on. Named, so that code, and with it the size of frames, does not depend on
/// the machine that compiled it.
#[cfg(target_arch = "x86_64")]
pub const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The processors that an artifact runs on.
#[cfg(target_arch = "aarch64")]
pub const TARGET: &str = "aarch64-unknown-linux-gnu";

/// What the code may use beyond the first processor of that architecture: on x86-64 what every one since 2009 has,
/// because without SSE 4.1 rounding is a call and SIMD is slow.
#[cfg(target_arch = "x86_64")]
pub const FEATURES: &[&str] = &[
    "has_sse3",
    "has_ssse3",
    "has_sse41",
    "has_sse42",
    "has_popcnt",
    "has_cmpxchg16b",
];
/// What the code may use beyond the first processor of that architecture.
#[cfg(target_arch = "aarch64")]
pub const FEATURES: &[&str] = &[];

/// The settings as text, for the key of the cache, and what the compiler adds to components. Two engines with the same
/// text make the same code, if they are of the same version and treat NaNs alike.
#[must_use]
pub fn fingerprint() -> String {
    let calls: Vec<&str> = SETTINGS.iter().map(|setting| setting.call).collect();
    let (features, calls) = (FEATURES.join(" "), calls.join(" "));
    format!("{TARGET} {features} {calls} {}", capture::VERSION)
}

/// The configuration of the engine, for the compiler and for the host.
///
/// `canonical_nan` decides the bits of floating-point results that are not numbers: one pattern everywhere, at a
/// cost of up to 87 % in float-heavy code, or the processor's own.
///
/// # Errors
/// When this build of wasmtime does not know [`TARGET`].
pub fn config(canonical_nan: bool) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config.target(TARGET)?;
    set_all(&mut config);
    config.cranelift_nan_canonicalization(canonical_nan);
    sys::enable_features(&mut config, FEATURES);
    // Laid out as the settings say; the artifact does not depend on who makes it.
    config.with_host_memory(Arc::new(sys::Memories));
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
    fn the_version_is_the_one_that_is_locked() {
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
