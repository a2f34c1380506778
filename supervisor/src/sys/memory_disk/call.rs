//! The calls that change a disk, by kind.

/// A call that changes a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskCall {
    /// Bytes are written, at the end of a file or in place.
    Write,
    /// The bytes of a file are brought to the disk.
    Sync,
    /// A file is cut.
    Truncate,
    /// A file is made.
    Create,
    /// A file is opened to write, and made if there is none.
    Open,
    /// A file gets another name.
    Rename,
    /// A file is removed.
    Remove,
    /// A folder is made.
    CreateDir,
    /// A folder is removed.
    RemoveDir,
    /// The names in a folder are brought to the disk.
    SyncDir,
    /// The lock of a file is taken.
    Lock,
}
