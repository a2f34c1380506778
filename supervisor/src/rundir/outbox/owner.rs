//! Finds lines of another run in an outbox: its file may have been copied here, and foreign lines are not overwritten.

use crate::record::RunId;
use crate::sys::disk::{File, read_fully};
use std::io;

/// Bytes of the file that are read at a time.
const WINDOW_BYTES: usize = 64 << 10;

/// The beginning of every line, before the digits of its run.
const BEGINNING: &[u8] = br#"{"key":""#;

/// Digits of a run.
const DIGITS: usize = 2 * size_of::<RunId>();

/// Bytes at the beginning of a line that name its run: a colon comes after the digits.
const HEAD_BYTES: usize = BEGINNING.len() + DIGITS + 1;

/// Digits in which the names of two runs differ at least. By chance nearly all do; damage changes a few.
const DIFFERENT_DIGITS: usize = DIGITS / 2;

/// A line of another run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForeignLine {
    /// Its offset.
    pub(super) offset: u64,
    /// Its number, counted from 1.
    pub(super) line: u64,
    /// The digits of its run.
    pub(super) run: String,
}

/// The first line of another run at or behind `from`, where a line begins.
pub(super) fn foreign_line(
    file: &dyn File,
    run: RunId,
    from: u64,
) -> io::Result<Option<ForeignLine>> {
    let own = run.to_string();
    let mut window = vec![0; WINDOW_BYTES];
    let mut head = Vec::with_capacity(HEAD_BYTES);
    let (mut offset, mut begin) = (from, from);
    loop {
        let read = read_fully(file, &mut window, offset)?;
        for part in window[..read].split_inclusive(|byte| *byte == b'\n') {
            offset += part.len() as u64;
            let missing = HEAD_BYTES - head.len();
            head.extend(&part[..part.len().min(missing)]);
            if let Some(run) = run_of(&head).filter(|run| is_other(&own, run)) {
                return Ok(Some(ForeignLine {
                    offset: begin,
                    line: lines_before(file, begin)? + 1,
                    run: run.to_owned(),
                }));
            }
            if part.ends_with(b"\n") {
                head.clear();
                begin = offset;
            }
        }
        if read < WINDOW_BYTES {
            return Ok(None);
        }
    }
}

/// The digits of the run in the head of a line, if it is one.
fn run_of(head: &[u8]) -> Option<&str> {
    let (run, colon) = head.strip_prefix(BEGINNING)?.split_at_checked(DIGITS)?;
    let is_key = run.iter().all(u8::is_ascii_hexdigit) && colon == b":";
    std::str::from_utf8(run).ok().filter(|_| is_key)
}

fn is_other(own: &str, run: &str) -> bool {
    let pairs = own.bytes().zip(run.bytes());
    pairs.filter(|(own, digit)| own != digit).count() > DIFFERENT_DIGITS
}

fn lines_before(file: &dyn File, end: u64) -> io::Result<u64> {
    let mut window = vec![0; WINDOW_BYTES];
    let (mut offset, mut lines) = (0, 0);
    while offset < end {
        let wanted =
            usize::try_from(end - offset).map_or(WINDOW_BYTES, |left| left.min(WINDOW_BYTES));
        let read = read_fully(file, &mut window[..wanted], offset)?;
        if read == 0 {
            break;
        }
        lines += window[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        offset += read as u64;
    }
    Ok(lines)
}
