//! The end of what a host wrote to standard error: often the only thing that
//! says why it died.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::process::ChildStderr;

/// How much is kept, in bytes: a panic message with its place fits.
const KEPT_BYTES: usize = 4096;

/// The last [`KEPT_BYTES`] of a host's standard error.
#[derive(Debug, Default)]
pub struct StderrTail {
    bytes: VecDeque<u8>,
}

impl StderrTail {
    /// Reads what is there without blocking. False when nothing will come any more.
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
        let over = self.bytes.len().saturating_sub(KEPT_BYTES);
        self.bytes.drain(..over);
    }

    /// What was kept, as text.
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
        let mut words = StderrTail::default();
        words.keep(&[b'a'; KEPT_BYTES]);
        words.keep(b"the end");
        assert_eq!(words.text().len(), KEPT_BYTES);
        assert!(words.text().ends_with("athe end"));
    }
}
