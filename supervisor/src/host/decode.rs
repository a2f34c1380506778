//! Decoding of records of hosts.

use crate::host::error::{HostKind, HostSetError};
use shm_protocol::agent_to_supervisor::{FAILURE, Failure};
use shm_protocol::codec;
use shm_protocol::id::HostId;
use shm_protocol::ring::RecordHeader;

/// Decodes a record of a host, which must be of this kind.
///
/// # Errors
/// As [`super::HostSet::expect`].
pub fn decoded<T: bincode::Decode<()>>(
    kind: HostKind,
    host: HostId,
    header: &RecordHeader,
    wanted: u16,
    payload: &[u8],
) -> Result<T, HostSetError> {
    if header.kind == FAILURE && wanted != FAILURE {
        let Failure { blame, message } = decoded(kind, host, header, FAILURE, payload)?;
        return Err(HostSetError::Failed { blame, message });
    }
    if header.kind != wanted {
        return Err(HostSetError::UnexpectedRecord {
            kind,
            host,
            record: header.kind,
        });
    }
    codec::decode_record::<T>(payload).map_err(|source| HostSetError::Decode { kind, host, source })
}
