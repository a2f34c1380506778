//! Requests from other processes to a run: a socket by which the models of a live run are changed.

mod client;
mod protocol;
mod server;

pub use client::request_change;
pub use protocol::{AppliedChange, ChangeRequest};
pub(crate) use server::{ChangeContext, ChangeServer};
