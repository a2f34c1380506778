//! The start of a host process: from its arguments and inherited descriptors to a confined process that reads commands.

use crate::command_loop::execute_commands;
use crate::confine;
use crate::error::AgentHostError;
use shm_protocol::agent_to_supervisor::{FAILURE, READY, Ready};
use shm_protocol::boot::HostArguments;
use shm_protocol::codec;
use shm_protocol::fault::{self, FaultPoint};
use shm_protocol::host_process::{CommandServer, InheritedDescriptors, die_with};
use shm_protocol::id::Tick;
use shm_protocol::link::HostLink;
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_agent::AgentCommand;
use shm_protocol::sys::SealedMap;

/// Runs a host from its arguments to its end.
///
/// # Errors
/// The error that ended the host. The supervisor has received it, if the rings could be attached.
pub(crate) fn run(arguments: &[String]) -> Result<(), AgentHostError> {
    let arguments = HostArguments::parse(arguments)?;
    let inherited = InheritedDescriptors::take()?;
    die_with(arguments.supervisor)?;
    let mut link = HostLink::attach(
        inherited.down,
        inherited.up,
        inherited.bell,
        arguments.incarnation,
    )?;
    fault::point(FaultPoint::ProcessStarted);
    let artifacts = SealedMap::open(inherited.artifacts).map_err(AgentHostError::Artifacts)?;
    let server = CommandServer::announce(inherited.control_name_pipe)?;
    let mut confinement = confine::before_threads();
    let commands = server.listen(|command| matches!(command, AgentCommand::Drain))?;
    let filter = confine::all_threads();
    let is_filtered = filter.missing.is_none();
    confinement.push(filter);
    let ready = Ready {
        protocol: codec::VERSION,
        confinement,
    };
    fault::point(FaultPoint::BeforeReady);
    let result = send(&mut link, READY, &codec::encode(&ready))
        .map(|()| fault::point(FaultPoint::AfterReady))
        .and_then(|()| execute_commands(&mut link, artifacts.bytes(), &commands, is_filtered));
    if let Err(error) = &result {
        // The last thing that the host does. If it fails as well, standard error has the message.
        let _ = send(&mut link, FAILURE, &codec::encode(&error.to_failure()));
    }
    result
}

fn send(link: &mut HostLink, kind: u16, payload: &[u8]) -> Result<(), AgentHostError> {
    let header = RecordHeader::new(kind, Tick::ZERO);
    link.push(&header, payload)
        .map_err(AgentHostError::push(&header))
}
