//! The artifact that the compiler writes and a host loads: machine code, and before it how the component's state is
//! captured.

use bincode::{Decode, Encode};
use shm_protocol::codec::{self, DecodeError};
use thiserror::Error;

/// Maximum bytes of an encoded [`StateCapture`]. Its reason is a sentence.
const MAX_CAPTURE_BYTES: usize = 64 << 10;
const LENGTH_BYTES: usize = size_of::<u32>();

/// The way in which the state of a component's agents is captured.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum StateCapture {
    /// The state is the memory and this many globals. If there are any, the component exports
    /// [`GET_GLOBAL`](super::GET_GLOBAL) and [`SET_GLOBAL`](super::SET_GLOBAL).
    Complete {
        /// Number of mutable globals of all core instances.
        globals: u32,
    },
    /// The state cannot be captured.
    Opaque {
        /// The reason, as a message.
        reason: String,
    },
}

/// The parts of an artifact.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Artifact<'bytes> {
    /// The way in which the state of the component's agents is captured.
    pub(crate) capture: StateCapture,
    /// The component as wasmtime serialized it.
    pub(crate) machine_code: &'bytes [u8],
}

/// Bytes that are not an artifact.
#[derive(Debug, Error)]
pub(crate) enum ArtifactDecodeError {
    /// They end too early.
    #[error("the artifact ends after {bytes} bytes")]
    Short {
        /// Number of bytes.
        bytes: usize,
    },
    /// Their first part is not a [`StateCapture`].
    #[error(transparent)]
    StateCapture(#[from] DecodeError),
}

/// Encodes an artifact.
///
/// # Panics
/// When the reason why a component is opaque is longer than any that the analysis gives.
pub(crate) fn encode_artifact(capture: &StateCapture, machine_code: &[u8]) -> Vec<u8> {
    let capture = codec::encode(capture);
    assert!(capture.len() <= MAX_CAPTURE_BYTES, "reasons are short");
    let length = u32::try_from(capture.len()).expect("just compared");
    [&length.to_le_bytes()[..], &capture, machine_code].concat()
}

/// Decodes an artifact.
///
/// # Errors
/// When the bytes are not those of [`encode_artifact`].
pub(crate) fn decode_artifact(bytes: &[u8]) -> Result<Artifact<'_>, ArtifactDecodeError> {
    let short = || ArtifactDecodeError::Short { bytes: bytes.len() };
    let (length, rest) = bytes
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or_else(short)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| short())?;
    let (capture, machine_code) = rest.split_at_checked(length).ok_or_else(short)?;
    Ok(Artifact {
        capture: codec::decode::<StateCapture, MAX_CAPTURE_BYTES>(capture)?,
        machine_code,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_decodes_to_what_was_encoded() {
        for capture in [
            StateCapture::Complete { globals: 3 },
            StateCapture::Opaque {
                reason: "it is so".to_owned(),
            },
        ] {
            let bytes = encode_artifact(&capture, b"code");
            let machine_code = &b"code"[..];
            let artifact = decode_artifact(&bytes).expect("an artifact");
            assert_eq!(
                artifact,
                Artifact {
                    capture,
                    machine_code
                }
            );
        }
    }

    #[test]
    fn damaged_artifacts_are_refused() {
        let bytes = encode_artifact(&StateCapture::Complete { globals: 3 }, b"");
        for damaged in [
            &b""[..],
            &bytes[..3],
            &bytes[..5],
            b"\x7fELF\x02\x01\x01\0",
            b"\x01\0\0\0\x09",
        ] {
            decode_artifact(damaged).expect_err("it is damaged");
        }
    }
}
