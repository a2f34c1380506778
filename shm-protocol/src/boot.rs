//! The role, arguments and descriptors with which a host process is started.
//!
//! The supervisor starts `lockstep` in the role of a host, with these descriptors at fixed numbers and no others open.

use crate::id::{HostId, Incarnation};
use thiserror::Error;

/// Memory that the supervisor writes and the host reads.
pub const TO_HOST: i32 = 3;
/// Memory that the host writes and the supervisor reads.
pub const FROM_HOST: i32 = 4;
/// The event counter by which the host wakes the supervisor.
pub const BELL: i32 = 5;
/// The pipe through which the host sends the name of its control server, once.
pub const CONTROL_NAME_PIPE: i32 = 6;
/// Sealed memory with the compiled components or the models, one after the other.
pub const ARTIFACTS: i32 = 7;

/// Sealed memory with the component, for a compiler.
pub const COMPONENT: i32 = 3;
/// Memory to which a compiler writes the artifact. It is used only if the compiler exits with code 0.
pub const ARTIFACT: i32 = 4;

/// Maximum bytes of the name of a control server, which is a path in a temporary folder.
pub const MAX_CONTROL_NAME_BYTES: usize = 4096;

/// The role in which the program is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs agents in wasmtime.
    AgentHost,
    /// Runs models in ONNX Runtime.
    InferenceHost,
    /// Compiles one component and ends.
    Compiler,
}

impl Role {
    const NAMES: [(Role, &str); 3] = [
        (Role::AgentHost, "role:agent-host"),
        (Role::InferenceHost, "role:inference-host"),
        (Role::Compiler, "role:compiler"),
    ];

    /// The first argument of a process in this role. No command has this form.
    #[must_use]
    pub fn argument(self) -> &'static str {
        Role::NAMES
            .iter()
            .find(|(role, _)| *role == self)
            .map_or("", |(_, name)| name)
    }

    /// The role that a first argument names, if any.
    #[must_use]
    pub fn from_argument(argument: &str) -> Option<Role> {
        Role::NAMES
            .iter()
            .find(|(_, name)| *name == argument)
            .map(|(role, _)| *role)
    }
}

/// The arguments of a host process, after its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostArguments {
    /// The host.
    pub host: HostId,
    /// The incarnation of the host.
    pub incarnation: Incarnation,
    /// The process number of the supervisor. If it is not the parent, the supervisor has died.
    pub supervisor: i32,
}

/// Arguments that are not [`HostArguments`].
#[derive(Debug, Error)]
#[error(
    "a host takes three numbers (host, incarnation, supervisor), not {0:?}; hosts are started by the supervisor only"
)]
pub struct BadHostArguments(Vec<String>);

impl HostArguments {
    /// The arguments as the supervisor passes them.
    #[must_use]
    pub fn to_arguments(self) -> [String; 3] {
        [
            self.host.to_string(),
            self.incarnation.to_string(),
            self.supervisor.to_string(),
        ]
    }

    /// The arguments as a host receives them.
    ///
    /// # Errors
    /// When they are not three numbers.
    pub fn parse(arguments: &[String]) -> Result<Self, BadHostArguments> {
        let bad = || BadHostArguments(arguments.to_vec());
        let [host, incarnation, supervisor] = arguments else {
            return Err(bad());
        };
        Ok(HostArguments {
            host: HostId(host.parse().map_err(|_| bad())?),
            incarnation: Incarnation(incarnation.parse().map_err(|_| bad())?),
            supervisor: supervisor.parse().map_err(|_| bad())?,
        })
    }
}

/// A range of the artifact memory.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    bincode::Encode,
    bincode::Decode,
)]
pub struct Extent {
    /// Bytes from the start of the memory.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl Extent {
    /// The extent as a range of a slice, if it lies within `total` bytes.
    #[must_use]
    pub fn within(self, total: usize) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(self.offset).ok()?;
        let end = start.checked_add(usize::try_from(self.bytes).ok()?)?;
        (end <= total).then_some(start..end)
    }
}
