//! The cache of machine code.
//!
//! One file for each component, version and configuration, named by a digest of
//! all three. A file ends with a digest of its content, keyed by its own name,
//! so that neither a damaged file nor one that was renamed is ever loaded: the
//! code in it would run. The folder is closed to other users.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Length of the digest at the end of a file.
const DIGEST_BYTES: usize = 32;

/// The key that names a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArtifactKey([u8; DIGEST_BYTES]);

impl ArtifactKey {
    /// The key of a component and everything else that its machine code depends on.
    pub(super) fn new(component: &[u8], rest: &[&str]) -> ArtifactKey {
        let mut hasher =
            blake3::Hasher::new_derive_key("Lockstep 2026-11 machine code of a component");
        for part in rest {
            // The length first, so that no two lists of parts read alike.
            hasher
                .update(&(part.len() as u64).to_le_bytes())
                .update(part.as_bytes());
        }
        ArtifactKey(*hasher.update(component).finalize().as_bytes())
    }

    fn file_name(&self) -> String {
        format!("{}.artifact", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

/// `$XDG_CACHE_HOME/lockstep`, or `~/.cache/lockstep`. `None` for a user without a home.
#[must_use]
pub fn default_folder() -> Option<PathBuf> {
    // By the specification, an XDG path that is not absolute is ignored.
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("lockstep"))
}

/// A folder with machine code.
pub(super) struct ArtifactCache<'a> {
    folder: &'a Path,
}

impl<'a> ArtifactCache<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        ArtifactCache { folder }
    }

    /// The artifact of a key. A damaged file counts as missing.
    pub(super) fn get(&self, key: &ArtifactKey) -> Option<Vec<u8>> {
        let path = self.folder.join(key.file_name());
        let mut content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "cannot read cached machine code; compiling again");
                return None;
            }
        };
        let artifact_bytes = content.len().checked_sub(DIGEST_BYTES);
        let is_sound = artifact_bytes.is_some_and(|bytes| {
            let (artifact, digest) = content.split_at(bytes);
            // Comparing two hashes takes the same time wherever they differ.
            <[u8; DIGEST_BYTES]>::try_from(digest).is_ok_and(|digest| seal(key, artifact) == digest)
        });
        if !is_sound {
            tracing::warn!(file = %path.display(), "cached machine code is damaged; compiling again");
            return None;
        }
        content.truncate(artifact_bytes?);
        Some(content)
    }

    /// Stores machine code. A concurrent reader sees the old file or the new one.
    pub(super) fn put(&self, key: &ArtifactKey, artifact: &[u8]) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.folder)?;
        // Made with 0600, in the same folder so that the rename stays on one file system.
        let mut file = NamedTempFile::new_in(self.folder)?;
        file.write_all(artifact)?;
        file.write_all(seal(key, artifact).as_bytes())?;
        // Not synced: after a power failure the digest shows what is missing.
        file.persist(self.folder.join(key.file_name()))?;
        Ok(())
    }
}

fn seal(key: &ArtifactKey, artifact: &[u8]) -> blake3::Hash {
    blake3::keyed_hash(&key.0, artifact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    }

    #[test]
    fn what_is_kept_comes_back_and_is_private() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("a/b");
        let cache = ArtifactCache::new(&folder);
        let key = ArtifactKey::new(b"component", &["48.0.8"]);
        assert_eq!(cache.get(&key), None);
        cache.put(&key, b"code").expect("writable");
        assert_eq!(cache.get(&key).as_deref(), Some(&b"code"[..]));
        assert_eq!(
            [mode(&folder), mode(&folder.join(key.file_name()))],
            [0o700, 0o600]
        );
    }

    #[test]
    fn a_damaged_or_renamed_file_is_no_file() {
        let home = tempfile::tempdir().expect("a folder");
        let cache = ArtifactCache::new(home.path());
        let (key, other) = (
            ArtifactKey::new(b"component", &[]),
            ArtifactKey::new(b"another", &[]),
        );
        cache.put(&key, b"code").expect("writable");
        let path = home.path().join(key.file_name());
        let sound = fs::read(&path).expect("readable");
        fs::copy(&path, home.path().join(other.file_name())).expect("copied");
        assert_eq!(cache.get(&other), None);
        for position in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[position] ^= 1;
            fs::write(&path, &damaged).expect("writable");
            assert_eq!(cache.get(&key), None, "byte {position}");
            fs::write(&path, &sound[..position]).expect("writable");
            assert_eq!(cache.get(&key), None, "cut at {position}");
        }
        cache.put(&key, b"code").expect("replaced");
        assert_eq!(cache.get(&key).as_deref(), Some(&b"code"[..]));
    }

    #[test]
    fn every_part_of_a_key_counts() {
        let key = |rest: &[&str]| ArtifactKey::new(b"component", rest);
        assert_ne!(key(&["a", "bc"]), key(&["ab", "c"]));
        assert_ne!(key(&["a"]), ArtifactKey::new(b"components", &["a"]));
    }
}
