//! The bytes of a file: those that a reader sees, those on the disk, and the changes in between.

use shm_protocol::random::SplitMix64;

/// Bytes that reach a disk together or not at all.
const SECTOR_BYTES: usize = 512;

/// A file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// The bytes that a reader sees.
    pub(super) bytes: Vec<u8>,
    /// The bytes on the disk for certain.
    durable: Vec<u8>,
    /// The changes that no sync has brought to the disk, oldest first.
    pending: Vec<Pending>,
}

/// A change that is not on the disk for certain.
#[derive(Clone, Debug)]
struct Pending {
    /// Its number among all changes of the disk.
    number: u64,
    change: ContentChange,
}

#[derive(Clone, Debug)]
enum ContentChange {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// The changes without a sync that survive a power cut.
#[derive(Clone, Copy, Debug)]
pub(super) enum Survivors {
    /// None of them.
    Nothing,
    /// All of them.
    Everything,
    /// Those before the change with this number, and a part of that one.
    Before(u64),
    /// Any sectors of any of them.
    Any,
}

impl Content {
    /// A file that is on the disk.
    pub(super) fn on_disk(bytes: Vec<u8>) -> Content {
        let durable = bytes.clone();
        Content {
            bytes,
            durable,
            pending: Vec::new(),
        }
    }

    pub(super) fn write(&mut self, number: u64, offset: usize, bytes: &[u8]) {
        let change = ContentChange::Write {
            offset,
            bytes: bytes.to_vec(),
        };
        apply(&mut self.bytes, &change);
        self.pending.push(Pending { number, change });
    }

    pub(super) fn set_length(&mut self, number: u64, bytes: usize) {
        let change = ContentChange::Length(bytes);
        apply(&mut self.bytes, &change);
        self.pending.push(Pending { number, change });
    }

    /// Brings every change to the disk.
    pub(super) fn sync(&mut self) {
        for pending in self.pending.drain(..) {
            apply(&mut self.durable, &pending.change);
        }
    }

    /// Forgets that changes are not on the disk, as the kernel does after a sync that failed: readers see them still, and
    /// no later sync brings them to the disk.
    pub(super) fn forget_changes(&mut self) {
        self.pending.clear();
    }

    /// The bytes after a power cut.
    pub(super) fn after_power_cut(&self, left: Survivors, random: &mut SplitMix64) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for Pending { number, change } in &self.pending {
            match left {
                Survivors::Nothing => {}
                Survivors::Everything => apply(&mut bytes, change),
                Survivors::Before(end) if *number < end => apply(&mut bytes, change),
                Survivors::Before(end) if *number == end => {
                    apply_first_part(&mut bytes, change, random)
                }
                Survivors::Before(_) => {}
                Survivors::Any => apply_any_part(&mut bytes, change, random),
            }
        }
        bytes
    }
}

fn apply(bytes: &mut Vec<u8>, change: &ContentChange) {
    match change {
        ContentChange::Length(length) => bytes.resize(*length, 0),
        ContentChange::Write {
            offset,
            bytes: written,
        } => {
            let end = offset + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(written);
        }
    }
}

/// A write that stopped at any byte.
fn apply_first_part(bytes: &mut Vec<u8>, change: &ContentChange, random: &mut SplitMix64) {
    if let ContentChange::Write {
        offset,
        bytes: written,
    } = change
    {
        let part = written[..random.index(written.len() + 1)].to_vec();
        apply(
            bytes,
            &ContentChange::Write {
                offset: *offset,
                bytes: part,
            },
        );
    }
}

/// A change of which the disk took any sectors: those that it did not take are as they were before, or zero where the
/// file was shorter. The file may have got its new length without them.
fn apply_any_part(bytes: &mut Vec<u8>, change: &ContentChange, random: &mut SplitMix64) {
    let ContentChange::Write {
        offset,
        bytes: written,
    } = change
    else {
        if random.flip() {
            apply(bytes, change);
        }
        return;
    };
    let end = offset + written.len();
    let mut start = *offset;
    while start < end {
        let sector_end = (start / SECTOR_BYTES + 1) * SECTOR_BYTES;
        let stop = sector_end.min(end);
        if random.flip() {
            let sector = written[start - offset..stop - offset].to_vec();
            apply(
                bytes,
                &ContentChange::Write {
                    offset: start,
                    bytes: sector,
                },
            );
        }
        start = stop;
    }
    if bytes.len() < end && random.flip() {
        bytes.resize(end, 0);
    }
}
