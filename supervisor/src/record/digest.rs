//! BLAKE3 digests, the names of records, files and pages.

use std::fmt::Write as _;

/// A BLAKE3 digest.
pub type Digest = [u8; 32];

/// Bytes as lowercase hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}
