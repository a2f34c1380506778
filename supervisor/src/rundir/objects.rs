//! Copies of components and models, each under the digest of its bytes, so that
//! a run can be replayed when the files it was started with are gone.

use super::{RunDir, RunDirError};
use crate::record::Digest;
use crate::record::hex;
use std::io;
use std::path::PathBuf;

impl RunDir {
    /// Stores a component or model under its digest.
    ///
    /// # Errors
    /// When it cannot be written.
    ///
    /// # Panics
    /// Without the lock.
    pub fn put_object(&self, bytes: &[u8]) -> Result<Digest, RunDirError> {
        let digest = *blake3::hash(bytes).as_bytes();
        // A damaged one is replaced: the bytes at hand are right.
        if self.object(&digest).is_err() {
            self.put_file(&self.object_path(&digest), bytes)?;
        }
        Ok(digest)
    }

    /// The component or model with this digest, checked.
    ///
    /// # Errors
    /// When it is missing, unreadable or damaged.
    pub fn object(&self, digest: &Digest) -> Result<Vec<u8>, RunDirError> {
        let file = self.object_path(digest);
        let bytes = match self.get_file(&file) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                return Err(RunDirError::ObjectMissing { file });
            }
            Err(source) => {
                return Err(RunDirError::Io {
                    action: "read",
                    path: file,
                    source,
                });
            }
        };
        let found = *blake3::hash(&bytes).as_bytes();
        if found == *digest {
            Ok(bytes)
        } else {
            Err(RunDirError::ObjectDamaged {
                file,
                expected: *digest,
                found,
            })
        }
    }

    pub(super) fn object_path(&self, digest: &Digest) -> PathBuf {
        self.objects().join(hex(digest))
    }
}
