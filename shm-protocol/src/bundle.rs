//! A model bundle: several files in one object, for a model with external weights or a folder with a language model.
//!
//! A bundle has one digest, one extent of sealed memory, and one stored object, like a model of one file. Its files are
//! read in place.
//!
//! The format: [`MAGIC`]; the length of the table as a 64-bit little-endian number; the table, encoded by
//! [`crate::codec`]; the files, each at a multiple of [`ALIGNMENT`]. The first file of the table is the one that the
//! fleet file names.

use crate::codec::{self, DecodeError};
use crate::limit;
use bincode::{Decode, Encode};
use std::collections::BTreeSet;
use thiserror::Error;

/// The first bytes of a bundle. No ONNX file begins with them, because they would be a field with an unused number.
pub const MAGIC: [u8; 8] = *b"LSPACK1\n";

/// Alignment of the files, so that weights can be used in place.
pub const ALIGNMENT: usize = 64;

/// Maximum number of files of a bundle.
pub const FILES: usize = 4_096;

/// An entry of the table.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct BundledFile {
    name: String,
    offset: u64,
    bytes: u64,
}

/// Bytes that are not a bundle.
#[derive(Debug, Error)]
pub enum BundleError {
    /// They end before the table does, or do not begin with [`MAGIC`].
    #[error("the bundle of model files is truncated")]
    Short,
    /// The table cannot be decoded.
    #[error("the table of the bundle of model files cannot be decoded: {0}")]
    Table(#[from] DecodeError),
    /// The range of a file exceeds the bundle.
    #[error("file {name} exceeds the bundle of model files")]
    Outside {
        /// The file.
        name: String,
    },
    /// There is no file, or there are too many, or two have the same name.
    #[error("the bundle of model files has {0}")]
    Files(&'static str),
}

/// The files of a bundle, in place.
#[derive(Clone, Debug)]
pub struct ModelBundle<'bytes> {
    files: Vec<(String, &'bytes [u8])>,
}

/// Bundles files. The first is the one that the fleet file names.
///
/// # Panics
/// When there are more than [`FILES`].
#[must_use]
pub fn bundle(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    assert!(files.len() <= FILES, "a bundle of {} files", files.len());
    // The length of the table depends on the offsets in it, so these count from the end of the table.
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

/// True if the bytes are a bundle and not a single file.
#[must_use]
pub fn is_bundle(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

impl<'bytes> ModelBundle<'bytes> {
    /// Opens a bundle.
    ///
    /// # Errors
    /// When the bytes are not a bundle, or are damaged.
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

    /// The file that the fleet file names.
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
    fn an_opened_bundle_has_the_bundled_files() {
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
    fn a_truncated_bundle_is_refused() {
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
