//! Encoding and decoding of all messages and records.
//!
//! The encoding is `bincode` 2 in its standard configuration: little-endian, variable-length integers. Every decoder
//! has a limit, so that a hostile length cannot allocate memory, and refuses trailing bytes.

use crate::limit;
use bincode::{Decode, Encode, config};
use thiserror::Error;

/// Version of the encoding of all messages and records. Both ends of a link, and the journal, compare it before they
/// decode anything else.
pub const VERSION: u16 = 6;

/// Bytes that are not a value of the expected type.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The bytes are not an encoding of the type, or exceed the limit.
    #[error("{bytes} bytes are not a valid {what}: {reason}")]
    Malformed {
        /// The type that was expected.
        what: &'static str,
        /// Number of bytes.
        bytes: usize,
        /// The decoder's error.
        reason: bincode::error::DecodeError,
    },
    /// The value ends before the bytes do.
    #[error("{left} bytes follow the end of a {what}")]
    Trailing {
        /// The type that was decoded.
        what: &'static str,
        /// Number of trailing bytes.
        left: usize,
    },
}

/// Appends the encoding of `value` to `bytes`.
///
/// # Panics
/// Never for the types of this project: their encoding cannot fail and a `Vec` takes any number of bytes.
pub fn encode_into<T: Encode>(value: &T, bytes: &mut Vec<u8>) {
    bincode::encode_into_writer(value, Appender(bytes), config::standard())
        .expect("encoding into memory cannot fail");
}

/// Appends to memory. The writer that `bincode` has for `std::io::Write` makes a journaled tick a third slower.
struct Appender<'bytes>(&'bytes mut Vec<u8>);

impl bincode::enc::write::Writer for Appender<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// The encoding of `value`.
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_into(value, &mut bytes);
    bytes
}

/// Decodes one value from all of `bytes`, allocating at most `LIMIT` bytes.
///
/// # Errors
/// When the bytes are malformed, exceed the limit, or do not end with the value.
pub fn decode<T: Decode<()>, const LIMIT: usize>(bytes: &[u8]) -> Result<T, DecodeError> {
    let what = short_name::<T>();
    let (value, used) = bincode::decode_from_slice(bytes, config::standard().with_limit::<LIMIT>())
        .map_err(|reason| DecodeError::Malformed {
            what,
            bytes: bytes.len(),
            reason,
        })?;
    if used != bytes.len() {
        return Err(DecodeError::Trailing {
            what,
            left: bytes.len() - used,
        });
    }
    Ok(value)
}

/// Decodes a record of a ring. Its length determines the limit of allocation, so that a short record cannot allocate
/// much.
///
/// # Errors
/// As [`decode`].
pub fn decode_record<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() <= limit::RECORD_BYTES / 2 {
        decode::<T, { limit::RECORD_BYTES }>(bytes)
    } else {
        decode::<T, { limit::LARGE_RECORD_BYTES }>(bytes)
    }
}

/// The last part of a type's path.
fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}
