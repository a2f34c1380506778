//! Files that people name.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A whole file, which is one and has at most so many bytes: a device or a pipe may never end.
pub(super) fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Looked at before it is opened, because opening a pipe waits for somebody at its other end.
    let about = std::fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// An input and its file, as `NAME=FILE.npy`. Names and paths may have a `=` in them too.
#[derive(Clone, Debug)]
pub(super) struct NamedFile(String);

pub(super) fn named_file(text: &str) -> Result<NamedFile, String> {
    let example = "write it as NAME=FILE.npy, as in x=image.npy";
    let is_one = text.contains('=');
    is_one
        .then(|| NamedFile(text.to_owned()))
        .ok_or_else(|| example.to_owned())
}

impl NamedFile {
    /// Name and file: divided at the first `=` behind which there is a file, or at the first of all.
    pub(super) fn divided(&self) -> (&str, &Path) {
        let places = self.0.match_indices('=').map(|(place, _)| place);
        let divide = |place: usize| (&self.0[..place], Path::new(&self.0[place + 1..]));
        let mut found = places.map(divide);
        let first = found.clone().next().unwrap_or((&self.0, Path::new("")));
        found.find(|(_, file)| file.is_file()).unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_or_too_large_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("four");
        std::fs::write(&path, "four").expect("a file");
        assert_eq!(read_file(&path, 4).expect("it fits"), b"four");
        let large = read_file(&path, 3).expect_err("it does not fit");
        assert!(large.to_string().contains("more than 3 bytes"));
        for strange in ["/dev/zero", "."] {
            let said = read_file(Path::new(strange), 9).expect_err("no file");
            assert!(said.to_string().contains("not a file"), "{said}");
        }
    }

    #[test]
    fn an_input_is_divided_where_its_file_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["x.npy", "b=c.npy"] {
            std::fs::write(path(name), "").expect("a file");
        }
        let divided = |name: &str, file: &str| {
            let given = format!("{name}={}", path(file).display());
            let given = named_file(&given).expect("one with a `=`");
            let (name, file) = given.divided();
            (name.to_owned(), file.to_owned())
        };
        for (name, file) in [
            ("x", "x.npy"),
            ("a=1", "x.npy"),
            ("a", "b=c.npy"),
            ("a=b", "b=c.npy"),
        ] {
            assert_eq!(divided(name, file), (name.to_owned(), path(file)));
        }
        let lost = named_file("a=b=nowhere.npy").expect("one with a `=`");
        assert_eq!(lost.divided(), ("a", Path::new("b=nowhere.npy")));
        assert!(named_file("x.npy").is_err());
    }
}
