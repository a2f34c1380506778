//! Several files as one run of bytes: a model whose weights lie in files of
//! their own, or a folder with a language model.
//!
//! A bundle has one digest, travels in one stretch of sealed memory and is kept as
//! one object, like any model. Its files are read where they lie.
//!
//! The bytes: [`MAGIC`]; the length of the table, a 64-bit number, little-endian;
//! the table, which [`crate::codec`] encodes; the files, each at a multiple of
//! [`ALIGNMENT`]. The first file of the table is the one that the fleet named.

use crate::codec::{self, DecodeError};
use crate::limit;
use bincode::{Decode, Encode};
use std::collections::BTreeSet;
use thiserror::Error;

/// What a bundle begins with. No ONNX file does: it would be a field of a number that is not used.
pub const MAGIC: [u8; 8] = *b"LSPACK1\n";

/// Files begin at multiples of so many bytes, so that weights can be used where they lie.
pub const ALIGNMENT: usize = 64;

/// Most files of a bundle.
pub const FILES: usize = 4_096;

/// Where a file lies.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct BundledFile {
    name: String,
    offset: u64,
    bytes: u64,
}

/// Why bytes are no bundle.
#[derive(Debug, Error)]
pub enum BundleError {
    /// They end before the table does, or begin otherwise.
    #[error("the bundle of model files is cut off")]
    Short,
    /// The table does not decode.
    #[error("the table of the bundle of model files does not decode: {0}")]
    Table(#[from] DecodeError),
    /// A file is said to lie where there is nothing.
    #[error("file {name} of the bundle lies outside of it")]
    Outside {
        /// The file.
        name: String,
    },
    /// There is no file, or there are too many, or two have the same name.
    #[error("the bundle of model files has {0}")]
    Files(&'static str),
}

/// The files of a bundle, where they lie.
#[derive(Clone, Debug)]
pub struct ModelBundle<'bytes> {
    files: Vec<(String, &'bytes [u8])>,
}

/// Packs files; the first is the one that the fleet named.
///
/// # Panics
/// When there are more than [`FILES`].
#[must_use]
pub fn bundle(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    assert!(files.len() <= FILES, "a bundle of {} files", files.len());
    // How long the table is depends on the offsets in it, so these count from the end of the table.
    let (mut offset, mut table) = (0_usize, Vec::with_capacity(files.len()));
    for (name, bytes) in files {
        table.push(BundledFile {
            name: name.clone(),
            offset: offset as u64,
            bytes: bytes.len() as u64,
        });
        offset += bytes.len().next_multiple_of(ALIGNMENT);
    }
    let table = codec::encode(&table);
    let mut packed = Vec::with_capacity(head_bytes(table.len()) + offset);
    packed.extend_from_slice(&MAGIC);
    packed.extend_from_slice(&(table.len() as u64).to_le_bytes());
    packed.extend_from_slice(&table);
    for (_, bytes) in files {
        packed.resize(packed.len().next_multiple_of(ALIGNMENT), 0);
        packed.extend_from_slice(bytes);
    }
    packed
}

/// Whether bytes are a bundle and not one file.
#[must_use]
pub fn is_bundle(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

impl<'bytes> ModelBundle<'bytes> {
    /// Opens a bundle.
    ///
    /// # Errors
    /// When the bytes are none, or were damaged.
    pub fn open(bytes: &'bytes [u8]) -> Result<ModelBundle<'bytes>, BundleError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(BundleError::Short)?;
        let (length, rest) = rest.split_first_chunk::<8>().ok_or(BundleError::Short)?;
        let length =
            usize::try_from(u64::from_le_bytes(*length)).map_err(|_| BundleError::Short)?;
        let table = rest.get(..length).ok_or(BundleError::Short)?;
        let table: Vec<BundledFile> = codec::decode::<_, { limit::CONTROL_BYTES }>(table)?;
        if table.is_empty() || table.len() > FILES {
            return Err(BundleError::Files("no file or too many"));
        }
        let data = bytes.get(head_bytes(length)..).unwrap_or_default();
        let mut names = BTreeSet::new();
        let mut files = Vec::with_capacity(table.len());
        for entry in table {
            if !names.insert(entry.name.clone()) {
                return Err(BundleError::Files("a file twice"));
            }
            let start = usize::try_from(entry.offset).ok();
            let range = start.zip(usize::try_from(entry.bytes).ok());
            let range = range.and_then(|(start, bytes)| Some(start..start.checked_add(bytes)?));
            let Some(file) = range.and_then(|range| data.get(range)) else {
                return Err(BundleError::Outside { name: entry.name });
            };
            files.push((entry.name, file));
        }
        Ok(ModelBundle { files })
    }

    /// The file that the fleet named.
    #[must_use]
    pub fn main(&self) -> &'bytes [u8] {
        self.files[0].1
    }

    /// A file by its name within the folder, with `/` between parts.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&'bytes [u8]> {
        let named = self.files.iter().find(|(known, _)| known == name);
        named.map(|(_, bytes)| *bytes)
    }

    /// All files with their names.
    pub fn files(&self) -> impl Iterator<Item = (&str, &'bytes [u8])> {
        self.files
            .iter()
            .map(|(name, bytes)| (name.as_str(), *bytes))
    }
}

/// Bytes before the first file.
fn head_bytes(table: usize) -> usize {
    (MAGIC.len() + size_of::<u64>() + table).next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<(String, Vec<u8>)> {
        let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
        vec![
            file("model.onnx", b"graph"),
            file("nothing", b""),
            file("a/weights.bin", &[7; 200]),
        ]
    }

    #[test]
    fn files_come_out_as_they_went_in() {
        let packed = bundle(&some());
        assert!(is_bundle(&packed));
        let opened = ModelBundle::open(&packed).expect("it is a bundle");
        assert_eq!(opened.main(), b"graph");
        for (name, bytes) in some() {
            assert_eq!(opened.file(&name), Some(bytes.as_slice()), "{name}");
        }
        assert_eq!(opened.file("other"), None);
        let base = packed.as_ptr() as usize;
        for (name, bytes) in opened.files() {
            let offset = bytes.as_ptr() as usize - base;
            assert!(offset.is_multiple_of(ALIGNMENT), "{name} at {offset}");
        }
    }

    #[test]
    fn a_pack_cut_anywhere_is_refused_or_whole() {
        let packed = bundle(&some());
        for end in 0..packed.len() {
            assert!(ModelBundle::open(&packed[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_file_twice_is_refused() {
        let mut files = some();
        files.push(files[0].clone());
        let said = ModelBundle::open(&bundle(&files))
            .err()
            .map(|error| error.to_string());
        assert_eq!(
            said.as_deref(),
            Some("the bundle of model files has a file twice")
        );
    }

    #[test]
    fn damage_never_panics() {
        let packed = bundle(&some());
        for bit in 0..packed.len() * 8 {
            let mut damaged = packed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(opened) = ModelBundle::open(&damaged) {
                assert!(opened.files().count() <= FILES);
            }
        }
    }
}
