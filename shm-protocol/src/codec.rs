//! The one place where values become bytes and bytes become values.
//!
//! `bincode` 2 in its standard configuration: little-endian, variable-length
//! integers. Every decoder has a limit, so that a hostile length cannot
//! allocate, and refuses bytes that are left over.

use crate::limit;
use bincode::{Decode, Encode, config};
use thiserror::Error;

/// Version of the encoding of every message and record. Both ends of a link and
/// the journal compare it before anything else is decoded.
pub const VERSION: u16 = 5;

/// Why bytes are not the value they should be.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The bytes do not spell a value of the type, or are over the limit.
    #[error("{bytes} bytes are not a valid {what}: {reason}")]
    Malformed {
        /// The type that was expected.
        what: &'static str,
        /// How many bytes there were.
        bytes: usize,
        /// What the decoder said.
        reason: bincode::error::DecodeError,
    },
    /// The value ends before the bytes do.
    #[error("{left} bytes are left over after a {what}")]
    Trailing {
        /// The type that was decoded.
        what: &'static str,
        /// How many bytes are left over.
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

/// Decodes one value that spans all of `bytes`, allocating at most `LIMIT` bytes.
///
/// # Errors
/// When the bytes are malformed, over the limit, or left over.
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

/// Decodes a record of a ring. What it may allocate follows from how long it is, so that a few bytes cannot ask for much.
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

/// The last part of a type's path, as people know it.
fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}
