//! All `unsafe` code of this crate, and every call to the operating system.
//!
//! * [`tensor`]: tensors in memory that may be shared with another process;
//! * [`ring_tensor`]: tensors in the records of a ring;
//! * [`session`]: runs through the engine's C interface, where `ort` has no call that works in place;
//! * [`external_data`]: ONNX external data from memory;
//! * [`library`]: the version of a shared library for its version;
//! * [`signal`]: signals whose handling this process changes;
//! * [`limits`], [`executable_memory`]: the other calls to the operating system, which need no `unsafe`.

pub(crate) mod executable_memory;
pub(crate) mod external_data;
pub(crate) mod library;
pub(crate) mod limits;
pub(crate) mod ring_tensor;
pub(crate) mod session;
pub(crate) mod signal;
pub(crate) mod tensor;
