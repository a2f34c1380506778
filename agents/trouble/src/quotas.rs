//! Ways to take more than one's share. Each ends with being refused and emits
//! what it got until then.

use crate::emit;
use lockstep_agent::{AgentId, Refusal, host};
use std::fmt::Write;

/// Grows the memory page by page, touching each, and emits the number of bytes
/// it got (what the agent had before is not counted) under `memory`.
pub fn memory() {
    // What is needed afterwards must be there before the memory runs out.
    let mut text = String::with_capacity(32);
    let bytes = take_pages();
    write!(text, "{bytes}").expect("the capacity is enough for any number");
    emit("memory", &text);
}

#[cfg(target_arch = "wasm32")]
fn take_pages() -> u64 {
    use std::arch::wasm32::memory_grow;
    const PAGE: usize = 1 << 16;
    let mut bytes = 0;
    loop {
        let page = memory_grow::<0>(1);
        if page == usize::MAX {
            return bytes;
        }
        // SAFETY: the page is in the memory, and nobody else knows it.
        unsafe { std::ptr::write_volatile((page * PAGE) as *mut u64, bytes + 1) };
        bytes += PAGE as u64;
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn take_pages() -> u64 {
    0
}

/// Sends one byte after the other to itself until refused, and emits how many
/// messages were taken under `flood`.
pub fn flood(own: AgentId) {
    let mut sent = 0_u64;
    while host::send(own, &[sent as u8]).is_ok() {
        sent += 1;
    }
    emit("flood", &sent.to_string());
}

/// Sends and emits one huge payload and emits under `large` what came of it:
/// `send=too-large emit=too-large`, or `accepted` in the place of the refusal.
/// If there is not even memory for the payload, the text is `no-memory`.
pub fn large(own: AgentId, bytes: usize) {
    let mut payload = Vec::new();
    if payload.try_reserve_exact(bytes).is_err() {
        return emit("large", "no-memory");
    }
    payload.resize(bytes, 0x5a);
    let sent = host::send(own, &payload);
    let emitted = host::emit("payload", &payload);
    let text = format!("send={} emit={}", name(&sent), name(&emitted));
    emit("large", &text);
}

fn name(outcome: &Result<(), Refusal>) -> &'static str {
    match outcome {
        Ok(()) => "accepted",
        Err(Refusal::TooLarge) => "too-large",
        Err(Refusal::TooMany) => "too-many",
        Err(_) => "refused",
    }
}
