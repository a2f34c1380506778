//! Ways to end a step that never return.
//!
//! Rust checks divisions and addresses itself and would panic, which is one
//! and the same trap for all of them. Inline assembly is the one sound way to
//! the instructions that trap by themselves.

use std::hint::black_box;

#[cfg(target_arch = "wasm32")]
use std::arch::asm;

/// "wasm `unreachable` instruction executed".
pub fn unreachable() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort()
}

/// "integer divide by zero".
pub fn divide() {
    // SAFETY: the instruction touches nothing, and traps.
    #[cfg(target_arch = "wasm32")]
    unsafe {
        asm!("i32.const 1", "i32.const 0", "i32.div_s", "drop");
    }
}

/// "out of bounds memory access": the last bytes of the address space, which
/// no memory of an agent reaches.
pub fn out_of_bounds() {
    // SAFETY: a load changes nothing, and traps.
    #[cfg(target_arch = "wasm32")]
    unsafe {
        asm!("i32.const -8", "i64.load 0", "drop");
    }
}

/// Never ends by itself.
pub fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// "call stack exhausted": calls that keep nothing in linear memory, so that
/// the stack of the host ends first.
pub fn recurse() {
    let depth = deeper(1);
    panic!("the recursion ended at {depth}");
}

#[allow(unconditional_recursion)]
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    // The rotation after the call keeps this from becoming a loop.
    deeper(depth + 1).rotate_left(1) ^ depth
}
