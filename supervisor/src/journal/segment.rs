//! The files of a journal: `00000001.lkj` and on, one after the other.
//!
//! A segment has no header of its own; the digest of the record before links
//! its first record to the last one of the segment before. Where one ends is a
//! function of the records' sizes, so that equal runs have equal files.

use super::error::JournalError;
use crate::rundir::RunDir;
use std::path::PathBuf;

/// A record that would go past this begins a new segment. Small enough to copy
/// and to search, large enough that an ordinary run has one.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// The file name of a segment, counted from 1.
#[must_use]
pub fn name(number: u64) -> String {
    format!("{number:08}.lkj")
}

/// True if a record of `record_bytes` begins a new segment when this one has `segment_bytes` of `limit`.
#[must_use]
pub fn is_full(segment_bytes: u64, record_bytes: u64, limit: u64) -> bool {
    segment_bytes > 0 && segment_bytes + record_bytes > limit
}

/// The segments of a journal in order.
///
/// # Errors
/// When the folder cannot be read, one is missing, or something else is there.
pub fn list(run: &RunDir) -> Result<Vec<PathBuf>, JournalError> {
    let folder = run.journal();
    let names = run
        .disk()
        .list(&folder)
        .map_err(|source| JournalError::Read {
            file: folder.clone(),
            offset: 0,
            source,
        })?;
    let mut segments = Vec::with_capacity(names.len());
    for (number, found) in (1..).zip(names) {
        if found == name(number) {
            segments.push(folder.join(found));
        } else if is_name(&found) {
            return Err(JournalError::MissingSegment {
                file: folder.join(name(number)),
                next: folder.join(found),
            });
        } else {
            return Err(JournalError::Foreign {
                file: folder.join(found),
            });
        }
    }
    Ok(segments)
}

fn is_name(name: &str) -> bool {
    name.strip_suffix(".lkj").is_some_and(|digits| {
        digits.len() >= 8 && digits.bytes().all(|digit| digit.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_filled_to_the_last_byte_and_never_empty() {
        assert!(!is_full(60, 4, 64));
        assert!(is_full(61, 4, 64));
        assert!(!is_full(0, 1000, 64));
    }

    #[test]
    fn names_sort_as_their_numbers() {
        assert_eq!(name(1), "00000001.lkj");
        assert!(name(9) < name(10));
        assert!(is_name(&name(12)) && !is_name("1.lkj") && !is_name("00000001.bak"));
    }
}
