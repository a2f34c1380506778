//! The end of a journal that ends with no whole record.

use std::fmt;
use std::path::PathBuf;

/// Bytes at the end of a journal that are no whole record, with nothing valid behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub file: PathBuf,
    /// The offset of the first byte.
    pub offset: u64,
    /// Their number.
    pub bytes: u64,
    /// Their origin.
    pub kind: TornKind,
}

/// The origin of a torn end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TornKind {
    /// They are the beginning of the next record: it is being written, or its writer died.
    Unfinished,
    /// They were not on the disk when the machine stopped, and no tick in them was acknowledged: a power cut has left a
    /// part of them.
    Unsynced {
        /// The fault of the record.
        reason: String,
    },
    /// They are as long as a record but wrong, or not the beginning of the next
    /// one: a power cut can do that, and so can a damaged disk.
    Damaged {
        /// The fault of the record.
        reason: String,
    },
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Torn {
            file,
            offset,
            bytes,
            kind,
        } = self;
        match kind {
            TornKind::Unfinished => {
                write!(
                    f,
                    "{file:?} ends with {bytes} bytes of an unfinished record at byte {offset}"
                )
            }
            TornKind::Unsynced { reason } => {
                write!(
                    f,
                    "{file:?} ends with {bytes} bytes at byte {offset} of an unsynced record, damaged by a power failure: {reason}"
                )
            }
            TornKind::Damaged { reason } => {
                write!(
                    f,
                    "{file:?} ends with {bytes} bytes at byte {offset} that are not a record: {reason}"
                )
            }
        }
    }
}
