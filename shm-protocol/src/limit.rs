//! Every bound in one place, each with the reason for its value.
//!
//! The relations between bounds are asserted at compile time at the end.

/// Most agents of a fleet. A tick's bookkeeping is linear in it; a thousand times the demo leaves room.
pub const AGENTS: usize = 65_536;

/// Most models of a fleet. Each holds a session with its own weights.
pub const MODELS: usize = 1_024;

/// Most host processes of a run. Each costs a process, some descriptors
/// and two rings of 16 MiB, which are memory from the start: no page is missing in the middle of a tick.
pub const HOSTS: usize = 512;

/// Most dimensions of a tensor: what the issue of every engine agrees on.
pub const RANK: usize = 8;

/// Most tensors of one inference request, and of one result.
pub const TENSORS: usize = 64;

/// Most bytes of a tensor. A slot's length is checked against it before it is used.
pub const TENSOR_BYTES: usize = 1 << 30;

/// Most bytes of an agent's message, output or log line.
pub const PAYLOAD_BYTES: usize = 64 << 10;

/// Most messages, requests, outputs and log lines of one step, each kind counted alone.
pub const EFFECTS_PER_STEP: usize = 256;

/// Most times that a step waits for a model, and so most rounds of a tick. Each is a way to the engine and back in which
/// nobody else of the fleet gets on; an agent that needs more goes on in the next tick.
pub const ROUNDS_PER_TICK: usize = 16;

/// Most bytes of everything one step does, and of the results that reach it in one step, those that it waits for within
/// the step counted alone, unless the fleet says otherwise. Bounds what the supervisor holds for an agent.
pub const STEP_BYTES: usize = 1 << 20;

/// What a fleet may say at most. The rings of a host take up to sixteen times as much.
pub const MOST_STEP_BYTES: usize = 256 << 20;

/// Most bytes of the messages that wait for an agent.
pub const INBOX_BYTES: usize = 1 << 20;

/// Most messages waiting for one agent. What is over it is dropped, and the journal says so.
pub const INBOX_MESSAGES: usize = 65_536;

/// Most bytes of one input of a batch of joined requests. Larger batches gain nothing and
/// a fixed number keeps the composition of batches a function of the tick.
pub const BATCH_BYTES: usize = 1 << 20;

/// Most bytes of one encoded control message; a fleet's settings fit many times over.
pub const CONTROL_BYTES: usize = 4 << 20;

/// Most bytes that decoding a record of a ring may allocate, unless the record itself has more than half of them.
pub const RECORD_BYTES: usize = 16 << 20;

/// Most bytes that decoding a larger record may allocate.
pub const LARGE_RECORD_BYTES: usize = 2 << 30;

/// Most bytes of one journaled tick.
pub const TICK_RECORD_BYTES: usize = 1 << 30;

/// Most commands that a host may not have acknowledged yet. `ipc-channel` blocks its
/// sender at the 278th small message that nobody reads; half of that is never reached.
pub const COMMANDS_OUTSTANDING: usize = 128;

const _: () = assert!(PAYLOAD_BYTES < STEP_BYTES);
const _: () = assert!(STEP_BYTES < RECORD_BYTES && STEP_BYTES < MOST_STEP_BYTES);
const _: () = assert!(4 * MOST_STEP_BYTES < LARGE_RECORD_BYTES);
const _: () = assert!(ROUNDS_PER_TICK <= EFFECTS_PER_STEP);
const _: () = assert!(RECORD_BYTES < TENSOR_BYTES);
const _: () = assert!(STEP_BYTES < TICK_RECORD_BYTES);
const _: () = assert!(COMMANDS_OUTSTANDING < 278);
