//! From the first instruction of the process to the first tick.

use crate::agents::Agents;
use crate::confine;
use crate::error::HostError;
use crate::serve;
use bincode::Encode;
use shm_protocol::agent_to_supervisor::{FAILURE, LOADED, READY, Ready};
use shm_protocol::boot::HostArguments;
use shm_protocol::codec;
use shm_protocol::fault::{self, Phase};
use shm_protocol::host_process::{Commands, Inherited, Server, die_with};
use shm_protocol::id::Tick;
use shm_protocol::link::HostLink;
use shm_protocol::ring::Header;
use shm_protocol::supervisor_to_agent::Command;
use shm_protocol::sys::SealedMap;

/// Runs a host from its arguments to its end.
///
/// # Errors
/// Why it cannot go on. The supervisor has been told, if there is a ring to tell it through.
pub(crate) fn run(arguments: &[String]) -> Result<(), HostError> {
    let arguments = HostArguments::parse(arguments)?;
    let inherited = Inherited::take()?;
    die_with(arguments.supervisor)?;
    let mut link = HostLink::attach(
        inherited.down,
        inherited.up,
        inherited.bell,
        arguments.incarnation,
    )?;
    fault::point(Phase::HostBorn);
    let artifacts = SealedMap::open(inherited.artifacts).map_err(HostError::Artifacts)?;
    let server = Server::announce(inherited.hello)?;
    let mut confinement = confine::before_threads();
    let commands = server.listen(|command| matches!(command, Command::Drain))?;
    let filtered = confine::all_threads();
    let is_filtered = filtered.missing.is_none();
    confinement.push(filtered);
    let ready = Ready {
        protocol: codec::VERSION,
        confinement,
    };
    fault::point(Phase::BeforeReady);
    let ended = tell(&mut link, Header::new(READY, Tick::ZERO), &ready)
        .map(|()| fault::point(Phase::AfterReady))
        .and_then(|()| obey(&mut link, artifacts.bytes(), &commands, is_filtered));
    if let Err(error) = &ended {
        // The one thing left to do; if it fails too, standard error has the message.
        let _ = tell(
            &mut link,
            Header::new(FAILURE, Tick::ZERO),
            &error.to_failure(),
        );
    }
    ended
}

/// Does what the supervisor says, in the order in which it says it.
fn obey(
    link: &mut HostLink,
    artifacts: &[u8],
    commands: &Commands<Command>,
    is_filtered: bool,
) -> Result<(), HostError> {
    let order = |command, reason| HostError::Order { command, reason };
    let mut agents = None;
    while let Some(command) = commands.next() {
        match (command, &mut agents) {
            (Command::Setup(setup), None) => agents = Some(Agents::new(setup)?),
            (Command::Setup(_), Some(_)) => return Err(order("Setup", "it may come only once")),
            (Command::Load(load), Some(agents)) => {
                let agent = load.agent.0;
                fault::at(Phase::BeforeLoad, Tick::ZERO, agent);
                let loaded = agents.load(load, artifacts)?;
                fault::at(Phase::AfterLoad, Tick::ZERO, agent);
                let header = Header {
                    subject: loaded.agent.0,
                    ..Header::new(LOADED, Tick::ZERO)
                };
                tell(link, header, &loaded)?;
            }
            (Command::Start(start), Some(agents)) => {
                agents.start(start.models);
                if is_filtered {
                    confine::before_steps()?;
                }
                return serve::serve(link, agents, || {
                    matches!(commands.try_next(), Some(Command::Drain))
                });
            }
            (Command::Load(_), None) => return Err(order("Load", "Setup must come before it")),
            (Command::Start(_), None) => return Err(order("Start", "Setup must come before it")),
            (Command::Drain, _) => return Ok(()),
        }
    }
    Ok(())
}

/// Sends one record up.
fn tell<T: Encode>(link: &mut HostLink, header: Header, message: &T) -> Result<(), HostError> {
    let tick = header.tick;
    link.push(&header, &codec::encode(message))
        .map_err(|source| HostError::Push { tick, source })
}
