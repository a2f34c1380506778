//! Requests from other processes to a run: a socket by which the models of a live run are changed.

mod client;
mod server;

pub use client::{Action, AppliedChange, ChangeRequest, request_change};
pub(crate) use server::{ControlContext, ControlServer};
