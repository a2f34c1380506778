//! From a bare process to one that answers commands.

use crate::confine;
use crate::error::HostError;
use shm_protocol::agent_to_supervisor::{READY, Ready};
use shm_protocol::boot::HostArguments;
use shm_protocol::codec;
use shm_protocol::fault::{self, FaultPoint};
use shm_protocol::host_process::{ControlChannel, ControlServer, InheritedDescriptors, die_with};
use shm_protocol::id::Tick;
use shm_protocol::link::HostLink;
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::InferenceCommand;
use shm_protocol::sys::SealedMap;

/// What this process is born with, attached and checked.
pub struct Host {
    /// The rings from and to the supervisor.
    pub link: HostLink,
    /// The models, one after the other.
    pub artifacts: SealedMap,
    /// Where commands will come from.
    pub server: ControlServer<InferenceCommand>,
}

impl Host {
    /// Takes over what the supervisor left for this process.
    ///
    /// # Errors
    /// When this process was not started by the supervisor, or its memory is not what it should be.
    pub fn attach(arguments: &[String]) -> Result<Host, HostError> {
        let arguments = HostArguments::parse(arguments)?;
        let inherited = InheritedDescriptors::take()?;
        die_with(arguments.supervisor)?;
        let server = ControlServer::announce(inherited.hello)?;
        let link = HostLink::attach(
            inherited.down,
            inherited.up,
            inherited.bell,
            arguments.incarnation,
        )?;
        fault::point(FaultPoint::HostBorn);
        let artifacts = SealedMap::open(inherited.artifacts).map_err(HostError::Artifacts)?;
        Ok(Host {
            link,
            artifacts,
            server,
        })
    }

    /// Gives up what is not needed, says that this host is ready, and waits for the supervisor on this thread: the
    /// engine is loaded and confined before there is a second one.
    ///
    /// # Errors
    /// When the supervisor cannot be told, or is gone.
    pub fn ready(
        link: &mut HostLink,
        server: ControlServer<InferenceCommand>,
    ) -> Result<ControlChannel<InferenceCommand>, HostError> {
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
