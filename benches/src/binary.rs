//! The program that is measured.

use crate::Trouble;
use std::path::{Path, PathBuf};

/// The program: `$LOCKSTEP`, or what `cargo build --release` left in the target folder of this measurement.
///
/// # Errors
/// When there is none, or it is a debug build.
pub fn lockstep() -> Result<PathBuf, Trouble> {
    if cfg!(debug_assertions) {
        return Err("this measurement itself is a debug build; run it with `cargo bench`".into());
    }
    let path = match std::env::var_os("LOCKSTEP") {
        Some(named) => PathBuf::from(named),
        None => target_folder()?.join("release/lockstep"),
    };
    let path = path.canonicalize().map_err(|error| {
        format!("{} cannot be used: {error}; run `cargo build --release` first, or name the program with LOCKSTEP", path.display())
    })?;
    if path
        .parent()
        .is_some_and(|folder| folder.ends_with("debug"))
    {
        return Err(format!(
            "{} is a debug build, whose figures mean nothing; name a release build",
            path.display()
        )
        .into());
    }
    Ok(path)
}

/// The target folder in which this measurement was built.
///
/// # Errors
/// When the program is not where Cargo puts it.
pub fn target_folder() -> Result<PathBuf, Trouble> {
    let program = std::env::current_exe()?;
    // <target>/release/deps/<program>
    let folder = program
        .ancestors()
        .nth(3)
        .ok_or("this program is not in a target folder of Cargo")?;
    Ok(folder.to_path_buf())
}

/// A file of the repository.
#[must_use]
pub fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A folder for runs on the disk of the target folder, so that a journal costs what it costs.
///
/// # Errors
/// What the system says.
pub fn scratch() -> Result<tempfile::TempDir, Trouble> {
    let folder = target_folder()?.join("bench");
    std::fs::create_dir_all(&folder)?;
    Ok(tempfile::Builder::new()
        .prefix("scratch-")
        .tempdir_in(folder)?)
}
