//! The end of a host's standard error, often the only hint at why it died.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::process::ChildStderr;

/// Most bytes that are kept: a panic message with its place fits.
const MAX_BYTES: usize = 4096;

/// The last [`MAX_BYTES`] of a host's standard error.
#[derive(Debug, Default)]
pub struct StderrTail {
    bytes: VecDeque<u8>,
}

impl StderrTail {
    /// Reads what is there without waiting. `false` when standard error has ended.
    pub(super) fn read_from(&mut self, stderr: &mut ChildStderr) -> bool {
        let mut chunk = [0; 1024];
        loop {
            match stderr.read(&mut chunk) {
                Ok(0) => return false,
                Ok(count) => self.keep(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let over = self.bytes.len().saturating_sub(MAX_BYTES);
        self.bytes.drain(..over);
    }

    /// The kept bytes as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let (front, back) = self.bytes.as_slices();
        String::from_utf8_lossy(&[front, back].concat())
            .trim()
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept() {
        let mut tail = StderrTail::default();
        tail.keep(&[b'a'; MAX_BYTES]);
        tail.keep(b"the end");
        assert_eq!(tail.text().len(), MAX_BYTES);
        assert!(tail.text().ends_with("athe end"));
    }
}
