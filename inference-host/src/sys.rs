//! Everything that is `unsafe` in this crate, and nothing else.
//!
//! * [`tensor`]: tensors over memory that may be shared with another process;
//! * [`in_place`]: those tensors over the records of a ring;
//! * [`session`]: the engine's C interface, where `ort` has no call that works in place;
//! * [`external`]: weights that lie in files of their own;
//! * [`library`]: asking a shared library for its version.
//! * [`signal`]: the signals whose handling changes.

pub(crate) mod external;
pub(crate) mod in_place;
pub(crate) mod library;
pub(crate) mod session;
pub(crate) mod signal;
pub(crate) mod tensor;
