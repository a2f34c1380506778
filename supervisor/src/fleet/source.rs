//! The bytes that a fleet names.

use super::nearest::nearest;
use super::parse::Unfit;
use super::spec::Source;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::{fmt, io};
use thiserror::Error;

/// Entries of a folder that are compared with a name that is not there.
const NEIGHBOURS: usize = 1_000;

/// An error of reading a source.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The path is a folder or a device.
    #[error("{} is not a regular file; name the file itself", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Nothing of that name is part of this binary.
    #[error("this binary has no part named `{name}`; name a file, without `builtin:`")]
    NoSuchPart {
        /// The name after `builtin:`.
        name: String,
    },
}

impl Source {
    /// The bytes. `builtin` finds the parts of this binary by name.
    ///
    /// # Errors
    /// When the file cannot be read, or the binary has no such part.
    pub fn read(
        &self,
        builtin: &dyn Fn(&str) -> Option<&'static [u8]>,
    ) -> Result<Vec<u8>, SourceError> {
        match self {
            Source::Builtin(name) => builtin(name)
                .map(<[u8]>::to_vec)
                .ok_or_else(|| SourceError::NoSuchPart { name: name.clone() }),
            Source::Path(path) => {
                regular(path)?;
                fs::read(path).map_err(|source| SourceError::Unreadable {
                    path: path.clone(),
                    source,
                })
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Path(path) => path.display().fmt(f),
            Source::Builtin(name) => write!(f, "builtin:{name}"),
        }
    }
}

/// Checks that a path is a regular file. Opening a pipe would wait for its writer, so this comes before it.
pub(super) fn regular(path: &Path) -> Result<(), SourceError> {
    match fs::metadata(path) {
        Err(source) => Err(SourceError::Unreadable {
            path: path.to_owned(),
            source,
        }),
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(SourceError::NotAFile {
            path: path.to_owned(),
        }),
    }
}

/// Checks that a file which a fleet names can be opened.
pub(super) fn check_file(path: &Path) -> Result<(), Unfit> {
    let shown = path.display();
    let (label, help) = match regular(path).map(|()| File::open(path)) {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(source)) | Err(SourceError::Unreadable { source, .. }) => not_there(path, &source),
        Err(_) => (
            "not a regular file".to_owned(),
            format!("{shown} is a folder or device; name the file itself"),
        ),
    };
    Err(Unfit { label, help })
}

/// Checks that what a fleet names is a folder.
pub(super) fn check_folder(path: &Path) -> Result<(), Unfit> {
    let shown = path.display();
    let (label, help) = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => (
            "not a folder".to_owned(),
            format!(
                "{shown} is a file; name the folder that has the model, its tokenizer and its config, or write `file` for a single ONNX file"
            ),
        ),
        Err(error) => not_there(path, &error),
    };
    Err(Unfit { label, help })
}

/// The label and the next step for a path that the system does not open.
fn not_there(path: &Path, error: &io::Error) -> (String, String) {
    let shown = path.display();
    if error.kind() != io::ErrorKind::NotFound {
        return (
            error.to_string(),
            format!("check {shown} and its permissions"),
        );
    }
    let help = match neighbour(path) {
        Some(name) => format!("there is no {shown}; did you mean `{name}` in the same folder?"),
        None => format!("there is no {shown}; paths start at the folder of the fleet file"),
    };
    ("not found".to_owned(), help)
}

/// The file in the same folder whose name is nearest.
fn neighbour(path: &Path) -> Option<String> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let wanted = path.file_name()?.to_str()?;
    let mut names: Vec<String> = fs::read_dir(folder)
        .ok()?
        .take(NEIGHBOURS)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    nearest(wanted, names.iter().map(String::as_str)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_parts(_: &str) -> Option<&'static [u8]> {
        None
    }

    #[test]
    fn bytes_come_from_files_and_from_parts_of_the_binary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        fs::write(&path, b"file").unwrap();
        assert_eq!(Source::Path(path).read(&no_parts).unwrap(), b"file");
        let parts = |name: &str| (name == "a").then_some(b"part".as_slice());
        assert_eq!(Source::Builtin("a".into()).read(&parts).unwrap(), b"part");
    }

    #[test]
    fn what_gives_no_bytes_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Source::Path(folder.path().join("a.wasm"))
            .read(&no_parts)
            .unwrap_err()
            .to_string();
        assert!(
            missing.contains("a.wasm") && missing.contains("No such file"),
            "{missing}"
        );
        let a_folder = Source::Path(folder.path().to_owned())
            .read(&no_parts)
            .unwrap_err()
            .to_string();
        assert!(a_folder.contains("is not a regular file"), "{a_folder}");
        let no_part = Source::Builtin("a".into())
            .read(&no_parts)
            .unwrap_err()
            .to_string();
        assert!(no_part.contains("no part named `a`"), "{no_part}");
    }

    #[test]
    fn sources_are_printed_as_they_are_written() {
        assert_eq!(Source::Builtin("a".into()).to_string(), "builtin:a");
        assert_eq!(Source::Path("f/a.wasm".into()).to_string(), "f/a.wasm");
    }
}
