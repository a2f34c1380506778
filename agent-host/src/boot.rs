//! From the first instruction of the process to the first tick.

use crate::agents::Agents;
use crate::confine;
use crate::error::HostError;
use crate::serve;
use bincode::Encode;
use shm_protocol::agent_to_supervisor::{AGENT_LOADED, FAILURE, READY, Ready};
use shm_protocol::boot::HostArguments;
use shm_protocol::codec;
use shm_protocol::fault::{self, FaultPoint};
use shm_protocol::host_process::{CommandReceiver, ControlServer, InheritedDescriptors, die_with};
use shm_protocol::id::Tick;
use shm_protocol::link::HostLink;
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_agent::AgentCommand;
use shm_protocol::sys::SealedMap;

/// Runs a host from its arguments to its end.
///
/// # Errors
/// Why it cannot go on. The supervisor has been told, if there is a ring to tell it through.
pub(crate) fn run(arguments: &[String]) -> Result<(), HostError> {
    let arguments = HostArguments::parse(arguments)?;
    let inherited = InheritedDescriptors::take()?;
    die_with(arguments.supervisor)?;
    let mut link = HostLink::attach(
        inherited.down,
        inherited.up,
        inherited.bell,
        arguments.incarnation,
    )?;
    fault::point(FaultPoint::HostBorn);
    let artifacts = SealedMap::open(inherited.artifacts).map_err(HostError::Artifacts)?;
    let server = ControlServer::announce(inherited.hello)?;
    let mut confinement = confine::before_threads();
    let commands = server.listen(|command| matches!(command, AgentCommand::Drain))?;
    let filtered = confine::all_threads();
    let is_filtered = filtered.missing.is_none();
    confinement.push(filtered);
    let ready = Ready {
        protocol: codec::VERSION,
        confinement,
    };
    fault::point(FaultPoint::BeforeReady);
    let ended = tell(&mut link, RecordHeader::new(READY, Tick::ZERO), &ready)
        .map(|()| fault::point(FaultPoint::AfterReady))
        .and_then(|()| obey(&mut link, artifacts.bytes(), &commands, is_filtered));
    if let Err(error) = &ended {
        // The one thing left to do; if it fails too, standard error has the message.
        let _ = tell(
            &mut link,
            RecordHeader::new(FAILURE, Tick::ZERO),
            &error.to_failure(),
        );
    }
    ended
}

/// Does what the supervisor says, in the order in which it says it.
fn obey(
    link: &mut HostLink,
    artifacts: &[u8],
    commands: &CommandReceiver<AgentCommand>,
    is_filtered: bool,
) -> Result<(), HostError> {
    let order = |command, reason| HostError::Order { command, reason };
    let mut agents = None;
    while let Some(command) = commands.next() {
        match (command, &mut agents) {
            (AgentCommand::Setup(setup), None) => agents = Some(Agents::new(setup)?),
            (AgentCommand::Setup(_), Some(_)) => {
                return Err(order("Setup", "it may come only once"));
            }
            (AgentCommand::Load(load), Some(agents)) => {
                let agent = load.agent.0;
                fault::at(FaultPoint::BeforeLoad, Tick::ZERO, agent);
                let loaded = agents.load(load, artifacts)?;
                fault::at(FaultPoint::AfterLoad, Tick::ZERO, agent);
                let header = RecordHeader {
                    subject: loaded.agent.0,
                    ..RecordHeader::new(AGENT_LOADED, Tick::ZERO)
                };
                tell(link, header, &loaded)?;
            }
            (AgentCommand::Start(start), Some(agents)) => {
                agents.start(start.models);
                if is_filtered {
                    confine::before_steps()?;
                }
                return serve::serve(link, agents, || {
                    matches!(commands.try_next(), Some(AgentCommand::Drain))
                });
            }
            (AgentCommand::Load(_), None) => {
                return Err(order("Load", "Setup must come before it"));
            }
            (AgentCommand::Start(_), None) => {
                return Err(order("Start", "Setup must come before it"));
            }
            (AgentCommand::Drain, _) => return Ok(()),
        }
    }
    Ok(())
}

/// Sends one record up.
fn tell<T: Encode>(
    link: &mut HostLink,
    header: RecordHeader,
    message: &T,
) -> Result<(), HostError> {
    let tick = header.tick;
    link.push(&header, &codec::encode(message))
        .map_err(|source| HostError::Push { tick, source })
}
