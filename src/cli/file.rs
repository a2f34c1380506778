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
}
