//! Start of the process, up to the first command.

use crate::confine;
use crate::error::InferenceHostError;
use shm_protocol::agent_to_supervisor::{READY, Ready};
use shm_protocol::boot::HostArguments;
use shm_protocol::codec;
use shm_protocol::fault::{self, FaultPoint};
use shm_protocol::host_process::{CommandServer, ControlChannel, InheritedDescriptors, die_with};
use shm_protocol::id::Tick;
use shm_protocol::link::HostLink;
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::InferenceCommand;
use shm_protocol::sys::SealedMap;

/// The memory and channels that this process inherits, attached and checked.
pub struct InferenceHost {
    /// The rings from and to the supervisor.
    pub link: HostLink,
    /// The files of the models, one after the other.
    pub artifacts: SealedMap,
    /// The channel of commands.
    pub server: CommandServer<InferenceCommand>,
}

impl InferenceHost {
    /// Attaches the memory and channels that the supervisor has prepared.
    ///
    /// # Errors
    /// When this process was not started by the supervisor, or its memory does not follow the protocol.
    pub fn attach(arguments: &[String]) -> Result<InferenceHost, InferenceHostError> {
        let arguments = HostArguments::parse(arguments)?;
        let inherited = InheritedDescriptors::take()?;
        die_with(arguments.supervisor)?;
        let server = CommandServer::announce(inherited.control_name_pipe)?;
        let link = HostLink::attach(
            inherited.down,
            inherited.up,
            inherited.bell,
            arguments.incarnation,
        )?;
        fault::point(FaultPoint::ProcessStarted);
        let artifacts =
            SealedMap::open(inherited.artifacts).map_err(InferenceHostError::Artifacts)?;
        Ok(InferenceHost {
            link,
            artifacts,
            server,
        })
    }

    /// Confines the process as far as possible, reports that it is ready, and waits for the supervisor on this thread:
    /// the engine is loaded and confined before there is a second one.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn ready(
        link: &mut HostLink,
        server: CommandServer<InferenceCommand>,
    ) -> Result<ControlChannel<InferenceCommand>, InferenceHostError> {
        let ready = Ready {
            protocol: codec::VERSION,
            confinement: confine::early(),
        };
        fault::point(FaultPoint::BeforeReady);
        link.push(
            &RecordHeader::new(READY, Tick::ZERO),
            &codec::encode(&ready),
        )?;
        fault::point(FaultPoint::AfterReady);
        Ok(server.accept()?)
    }
}
