//! A checksum of a long history, to compare two runs.

use crate::{InferenceResult, Tensor};
use std::fmt;

/// A running 64-bit FNV-1a checksum. It detects differences, not forgeries.
///
/// Printed as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(u64);

impl Checksum {
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds bytes as they are: `"ab"` then `"c"` equals `"a"` then `"bc"`.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Adds the length first, so that bytes moved between neighbours are detected.
    pub fn add_with_length(&mut self, bytes: &[u8]) {
        self.add(&(bytes.len() as u64).to_le_bytes());
        self.add(bytes);
    }

    /// Adds the result of a model, outputs or an error.
    pub fn add_result(&mut self, result: &InferenceResult) {
        self.add(&result.request.to_le_bytes());
        match &result.outcome {
            Ok(outputs) => {
                for output in outputs {
                    self.add_with_length(output.name.as_bytes());
                    self.add_tensor(&output.value);
                }
            }
            Err(reason) => self.add_with_length(reason.as_bytes()),
        }
    }

    fn add_tensor(&mut self, tensor: &Tensor) {
        self.add(&[tensor.dtype as u8]);
        for dimension in &tensor.shape {
            self.add(&dimension.to_le_bytes());
        }
        self.add_with_length(&tensor.data);
    }
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_values() {
        let mut checksum = Checksum::new();
        assert_eq!(checksum.to_string(), "cbf29ce484222325");
        checksum.add(b"foobar");
        assert_eq!(checksum.to_string(), "85944171f73967e8");
    }
}
