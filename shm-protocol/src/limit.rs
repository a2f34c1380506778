//! All limits in one place, each with the reason for its value.
//!
//! The relations between limits are asserted at compile time at the end.

/// Maximum number of agents of a fleet. The cost of a tick is linear in it, and it is a thousand times the demo's.
pub const AGENTS: usize = 65_536;

/// Maximum number of models of a fleet. Each has a session with its own weights.
pub const MODELS: usize = 1_024;

/// Maximum number of host processes of a run. Each costs a process, some descriptors, and two rings of 16 MiB, which
/// are prefaulted so that no page fault occurs in the middle of a tick.
pub const HOSTS: usize = 512;

/// Maximum number of dimensions of a tensor, which all engines support.
pub const RANK: usize = 8;

/// Maximum number of tensors of one inference request, and of one result.
pub const TENSORS: usize = 64;

/// Maximum bytes of a tensor. A record's length is checked against it before it is used.
pub const TENSOR_BYTES: usize = 1 << 30;

/// Bytes of the reason for which an agent ends the run.
pub const FINISH_REASON_BYTES: usize = 4 << 10;

/// Maximum bytes of an agent's message, output or log line.
pub const PAYLOAD_BYTES: usize = 64 << 10;

/// Maximum number of messages, requests, outputs and log lines of one step, each kind counted separately.
pub const EFFECTS_PER_STEP: usize = 256;

/// Maximum number of awaits of a step, and so of rounds of a tick. Each round is a round trip to the engine in which no
/// other agent progresses. An agent that needs more continues in the next tick.
pub const ROUNDS_PER_TICK: usize = 16;

/// Maximum bytes of all effects of one step, and of the results that reach it, those that it awaits counted separately,
/// unless the fleet file sets another limit. Bounds the supervisor's memory for an agent.
pub const STEP_BYTES: usize = 1 << 20;

/// Maximum of the limit that a fleet file can set. The rings of a host take up to sixteen times as much.
pub const MAX_STEP_BYTES: usize = 256 << 20;

/// Maximum bytes of the messages that wait for an agent.
pub const INBOX_BYTES: usize = 1 << 20;

/// Maximum number of messages that wait for one agent. Further ones are dropped, which is journaled.
pub const INBOX_MESSAGES: usize = 65_536;

/// Maximum bytes of one input of a batch of several requests. Larger batches are not faster, and a fixed limit keeps
/// the composition of batches a function of the tick.
pub const BATCH_BYTES: usize = 1 << 20;

/// Maximum bytes of one encoded control message. The settings of a fleet take a fraction of it.
pub const CONTROL_BYTES: usize = 4 << 20;

/// Maximum bytes that decoding a record of a ring may allocate, unless the record itself has more than half as many.
pub const RECORD_BYTES: usize = 16 << 20;

/// Maximum bytes that decoding a larger record may allocate.
pub const LARGE_RECORD_BYTES: usize = 2 << 30;

/// Maximum bytes of one journaled tick.
pub const TICK_RECORD_BYTES: usize = 1 << 30;

/// Maximum number of commands that a host has not acknowledged. `ipc-channel` blocks its sender at the 278th small
/// message that is not read; this is less than half of that.
pub const COMMANDS_OUTSTANDING: usize = 128;

/// Minimum capacity of a ring of a link: sixteen pages, which hold a few ticks of a small host.
pub const MIN_RING_BYTES: usize = 64 << 10;

/// Maximum number of injected faults that are armed in a host at once. The control page of a segment has a slot for
/// each.
pub const FAULT_SLOTS: usize = 8;

const _: () = assert!(PAYLOAD_BYTES < STEP_BYTES);
const _: () = assert!(STEP_BYTES < RECORD_BYTES && STEP_BYTES < MAX_STEP_BYTES);
const _: () = assert!(4 * MAX_STEP_BYTES < LARGE_RECORD_BYTES);
const _: () = assert!(ROUNDS_PER_TICK <= EFFECTS_PER_STEP);
const _: () = assert!(RECORD_BYTES < TENSOR_BYTES);
const _: () = assert!(STEP_BYTES < TICK_RECORD_BYTES);
const _: () = assert!(COMMANDS_OUTSTANDING < 278);
