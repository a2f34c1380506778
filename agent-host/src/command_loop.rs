//! The command loop: executes the supervisor's commands in order, up to the one that starts the steps.

use crate::agent_set::AgentSet;
use crate::confine;
use crate::error::AgentHostError;
use crate::serve::serve;
use shm_protocol::agent_to_supervisor::AGENT_LOADED;
use shm_protocol::codec;
use shm_protocol::fault::{self, FaultPoint};
use shm_protocol::host_process::CommandReceiver;
use shm_protocol::id::Tick;
use shm_protocol::link::HostLink;
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_agent::{AgentCommand, LoadAgent};

/// Sets up the engine, loads the agents, and serves their steps until the supervisor drains the host.
///
/// # Errors
/// The error that ends the host. An agent that fails to load is not an error: the result is sent to the supervisor, which
/// decides.
pub(crate) fn execute_commands(
    link: &mut HostLink,
    artifacts: &[u8],
    commands: &CommandReceiver<AgentCommand>,
    is_filtered: bool,
) -> Result<(), AgentHostError> {
    let out_of_order = |command, reason| AgentHostError::Order { command, reason };
    let mut agents = None;
    while let Some(command) = commands.next() {
        match (command, &mut agents) {
            (AgentCommand::Setup(setup), None) => agents = Some(AgentSet::new(setup)?),
            (AgentCommand::Setup(_), Some(_)) => {
                return Err(out_of_order("Setup", "it may come only once"));
            }
            (AgentCommand::Load(load), Some(agents)) => {
                load_agent(link, agents, load, artifacts)?;
            }
            (AgentCommand::Start(start), Some(agents)) => {
                agents.set_models(start.models);
                if is_filtered {
                    confine::before_steps()?;
                }
                return serve(link, agents, || {
                    matches!(commands.try_next(), Some(AgentCommand::Drain))
                });
            }
            (AgentCommand::Load(_), None) => {
                return Err(out_of_order("Load", "Setup must come before it"));
            }
            (AgentCommand::Start(_), None) => {
                return Err(out_of_order("Start", "Setup must come before it"));
            }
            (AgentCommand::Drain, _) => return Ok(()),
        }
    }
    Ok(())
}

fn load_agent(
    link: &mut HostLink,
    agents: &mut AgentSet,
    load: LoadAgent,
    artifacts: &[u8],
) -> Result<(), AgentHostError> {
    let agent = load.agent.0;
    fault::at(FaultPoint::BeforeLoad, Tick::ZERO, agent);
    let loaded = agents.load(load, artifacts)?;
    fault::at(FaultPoint::AfterLoad, Tick::ZERO, agent);
    let header = RecordHeader {
        subject: loaded.agent.0,
        ..RecordHeader::new(AGENT_LOADED, Tick::ZERO)
    };
    link.push(&header, &codec::encode(&loaded))
        .map_err(AgentHostError::push(&header))
}
