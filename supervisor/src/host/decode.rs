//! Records of hosts, decoded.

use crate::host::error::{CrewError, Kind};
use shm_protocol::agent_to_supervisor::{FAILURE, Failure};
use shm_protocol::codec;
use shm_protocol::id::HostId;
use shm_protocol::ring::Header;

/// Decodes a record of a host, which must be of this kind.
///
/// # Errors
/// As [`Crew::expect`].
pub fn decoded<T: bincode::Decode<()>>(
    kind: Kind,
    host: HostId,
    header: &Header,
    wanted: u16,
    payload: &[u8],
) -> Result<T, CrewError> {
    if header.kind == FAILURE && wanted != FAILURE {
        let Failure { blame, message } = decoded(kind, host, header, FAILURE, payload)?;
        return Err(CrewError::Failed { blame, message });
    }
    if header.kind != wanted {
        return Err(CrewError::OutOfPlace {
            kind,
            host,
            record: header.kind,
        });
    }
    codec::decode_record::<T>(payload).map_err(|source| CrewError::Decode { kind, host, source })
}
