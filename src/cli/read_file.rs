//! Bounded reading of files that the user names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads a regular file of at most `max_bytes` bytes. Devices and pipes are refused, because they may never end.
pub(super) fn read_file(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    // Checked before it is opened, because opening a pipe waits for its writer.
    let about = std::fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(max_bytes + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::other(format!("larger than {max_bytes} bytes")));
    }
    Ok(bytes)
}

/// A model input and its file, as in `x=array.npy`. Both may contain further `=`.
#[derive(Clone, Debug)]
pub(super) struct NamedFile(String);

pub(super) fn named_file(text: &str) -> Result<NamedFile, String> {
    if text.contains('=') {
        Ok(NamedFile(text.to_owned()))
    } else {
        Err("write it as NAME=FILE.npy, as in x=image.npy".to_owned())
    }
}

impl NamedFile {
    /// Name and file: split at the first `=` that is followed by the path of a file, or else at the first `=`.
    pub(super) fn split(&self) -> (&str, &Path) {
        let places = self.0.match_indices('=').map(|(place, _)| place);
        let split = |place: usize| (&self.0[..place], Path::new(&self.0[place + 1..]));
        let mut found = places.map(split);
        let first = found.clone().next().unwrap_or((&self.0, Path::new("")));
        found.find(|(_, file)| file.is_file()).unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_within_the_limit_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("four");
        std::fs::write(&path, "four").expect("a file");
        assert_eq!(read_file(&path, 4).expect("it fits"), b"four");
        let large = read_file(&path, 3).expect_err("it does not fit");
        assert!(large.to_string().contains("larger than 3 bytes"));
        for strange in ["/dev/zero", "."] {
            let said = read_file(Path::new(strange), 9).expect_err("no file");
            assert!(said.to_string().contains("not a regular file"), "{said}");
        }
    }

    #[test]
    fn an_input_is_split_where_its_file_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["x.npy", "b=c.npy"] {
            std::fs::write(path(name), "").expect("a file");
        }
        let split_at = |name: &str, file: &str| {
            let given = format!("{name}={}", path(file).display());
            let given = named_file(&given).expect("one with a `=`");
            let (name, file) = given.split();
            (name.to_owned(), file.to_owned())
        };
        for (name, file) in [
            ("x", "x.npy"),
            ("a=1", "x.npy"),
            ("a", "b=c.npy"),
            ("a=b", "b=c.npy"),
        ] {
            assert_eq!(split_at(name, file), (name.to_owned(), path(file)));
        }
        let lost = named_file("a=b=nowhere.npy").expect("one with a `=`");
        assert_eq!(lost.split(), ("a", Path::new("b=nowhere.npy")));
        assert!(named_file("x.npy").is_err());
    }
}
