//! The exit codes of the binary in all of its roles: a contract, because scripts depend on them.

/// Everything went well, or the user ended a command.
pub const SUCCESS: u8 = 0;

/// A negative result: a run diverged or does not verify.
pub const NEGATIVE: u8 = 1;

/// Bad input: usage, fleet, agent or model.
pub const BAD_INPUT: u8 = 2;

/// A strict demand that cannot be met, as of providers or the sandbox.
pub const UNMET_DEMAND: u8 = 3;

/// The run directory is in use.
pub const IN_USE: u8 = 4;

/// The machine failed: disk, memory, process limits or time. The run can be resumed.
pub const MACHINE: u8 = 5;

/// An internal error.
pub const INTERNAL: u8 = 70;
