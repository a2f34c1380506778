//! `lockstep`: one binary with several roles. This file chooses the role.
//!
//! Started by a user it is the command line and, for a run, the supervisor.
//! Started by a supervisor it is a host or the compiler.

#![forbid(unsafe_code)]

mod cli;

use shm_protocol::boot::Role;
use std::ffi::OsStr;
use std::process::ExitCode;

// Most of a tick's cost outside the engines is small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Any bytes can stand on a command line. Only a supervisor writes the role and what follows it.
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    let role = first
        .as_deref()
        .and_then(OsStr::to_str)
        .and_then(Role::from_argument);
    let rest: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    if let Some(role) = role {
        name_process(role);
    }
    match role {
        Some(Role::AgentHost) => agent_host::main(&rest).into(),
        Some(Role::InferenceHost) => inference_host::main(&rest).into(),
        Some(Role::Compiler) => agent_host::compiler_main(&rest).into(),
        None => cli::main(),
    }
}

/// Names the process after its role: started from a descriptor, every host would have the descriptor's number as its name.
fn name_process(role: Role) {
    let name = match role {
        Role::AgentHost => c"lockstep-agents",
        Role::InferenceHost => c"lockstep-models",
        Role::Compiler => c"lockstep-compil",
    };
    // A name is a convenience; a system that refuses it is no reason to stop.
    let _ = supervisor::sys::set_process_name(name);
}
