//! What the compiler makes and a host loads: machine code, and before it what
//! is known of the component's state.

use super::Capture;
use shm_protocol::codec::{self, DecodeError};
use thiserror::Error;

/// Most bytes of what is known of a component; a reason is a sentence.
const CAPTURE_BYTES: usize = 64 << 10;
const LENGTH_BYTES: usize = size_of::<u32>();

/// The parts of an artifact.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Artifact<'bytes> {
    /// What is known of the component's state.
    pub(crate) capture: Capture,
    /// What wasmtime serialized.
    pub(crate) machine_code: &'bytes [u8],
}

/// Why bytes are not an artifact.
#[derive(Debug, Error)]
pub(crate) enum BadArtifact {
    /// They end too early.
    #[error("it ends after {bytes} bytes")]
    Short {
        /// How many there are.
        bytes: usize,
    },
    /// Their first part is something else.
    #[error(transparent)]
    Capture(#[from] DecodeError),
}

/// The bytes of an artifact.
///
/// # Panics
/// When the reason why a component is opaque is longer than the survey makes it.
pub(crate) fn wrap(capture: &Capture, machine_code: &[u8]) -> Vec<u8> {
    let capture = codec::encode(capture);
    assert!(capture.len() <= CAPTURE_BYTES, "reasons are short");
    let length = u32::try_from(capture.len()).expect("just compared");
    [&length.to_le_bytes()[..], &capture, machine_code].concat()
}

/// The parts of an artifact.
///
/// # Errors
/// When the bytes are not of [`wrap`].
pub(crate) fn unwrap(bytes: &[u8]) -> Result<Artifact<'_>, BadArtifact> {
    let short = || BadArtifact::Short { bytes: bytes.len() };
    let (length, rest) = bytes
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or_else(short)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| short())?;
    let (capture, machine_code) = rest.split_at_checked(length).ok_or_else(short)?;
    Ok(Artifact {
        capture: codec::decode::<Capture, CAPTURE_BYTES>(capture)?,
        machine_code,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_has_what_was_put_into_it() {
        for capture in [
            Capture::Complete { globals: 3 },
            Capture::Opaque {
                reason: "it is so".to_owned(),
            },
        ] {
            let bytes = wrap(&capture, b"code");
            let machine_code = &b"code"[..];
            let artifact = unwrap(&bytes).expect("an artifact");
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
    fn what_is_no_artifact_is_refused() {
        let bytes = wrap(&Capture::Complete { globals: 3 }, b"");
        for damaged in [
            &b""[..],
            &bytes[..3],
            &bytes[..5],
            b"\x7fELF\x02\x01\x01\0",
            b"\x01\0\0\0\x09",
        ] {
            unwrap(damaged).expect_err("it is damaged");
        }
    }
}
