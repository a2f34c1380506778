//! Obtains the ONNX Runtime library that this crate embeds.
//!
//! `LOCKSTEP_ORT_LIB` names a file to embed instead. Without it, pip downloads
//! the official wheel by name and version, the library is taken out of it, and
//! its SHA-256 must be the pinned one. The library is kept below the target
//! folder under its digest, so that only the first build needs a network.

use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// The release that the `ort` crate of this version is made for.
const VERSION: &str = "1.31.1";

/// A wheel that carries the library for one architecture.
struct Wheel {
    architecture: &'static str,
    platform: &'static str,
    library_sha256: &'static str,
}

/// The wheels whose library is known. Another architecture needs `LOCKSTEP_ORT_LIB`.
const WHEELS: [Wheel; 2] = [
    Wheel {
        architecture: "x86_64",
        platform: "manylinux_2_28_x86_64",
        library_sha256: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
    },
    Wheel {
        architecture: "aarch64",
        platform: "manylinux_2_28_aarch64",
        library_sha256: "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
    },
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LOCKSTEP_ORT_LIB");
    let library = match std::env::var_os("LOCKSTEP_ORT_LIB").filter(|named| !named.is_empty()) {
        Some(named) => named_library(Path::new(&named)),
        None => pinned_library(),
    };
    match library.and_then(|library| tell(&library)) {
        Ok(()) => {}
        Err(reason) => {
            eprintln!("{reason}");
            println!("cargo::error={}", reason.replace('\n', " "));
            exit(1);
        }
    }
}

/// Hands path and digests to the crate.
fn tell(library: &Path) -> Result<(), String> {
    let bytes = fs::read(library)
        .map_err(|error| format!("{} cannot be read: {error}", library.display()))?;
    println!("cargo::rerun-if-changed={}", library.display());
    println!(
        "cargo::rustc-env=LOCKSTEP_EMBEDDED_ORT={}",
        library.display()
    );
    println!(
        "cargo::rustc-env=LOCKSTEP_EMBEDDED_ORT_SHA256={}",
        sha256(&bytes)
    );
    println!(
        "cargo::rustc-env=LOCKSTEP_EMBEDDED_ORT_BLAKE3={}",
        blake3::hash(&bytes).to_hex()
    );
    Ok(())
}

/// The library that the environment names, as an absolute path.
fn named_library(named: &Path) -> Result<PathBuf, String> {
    let refused = |reason: String| {
        format!(
            "LOCKSTEP_ORT_LIB names {}, which cannot be embedded: {reason}.\nIt must be the libonnxruntime.so of ONNX \
             Runtime 1.31.",
            named.display()
        )
    };
    let path = fs::canonicalize(named).map_err(|error| refused(error.to_string()))?;
    let mut magic = [0; 4];
    File::open(&path)
        .and_then(|mut file| file.read_exact(&mut magic))
        .map_err(|error| refused(error.to_string()))?;
    if magic == *b"\x7fELF" {
        Ok(path)
    } else {
        Err(refused("it is not a shared library".to_owned()))
    }
}

/// The library of the pinned release, from the cache or from the wheel.
fn pinned_library() -> Result<PathBuf, String> {
    let architecture = environment("CARGO_CFG_TARGET_ARCH")?;
    let system = environment("CARGO_CFG_TARGET_OS")?;
    let wheel = WHEELS
        .iter()
        .find(|wheel| wheel.architecture == architecture && system == "linux")
        .ok_or_else(|| {
            way_out(&format!(
                "no ONNX Runtime {VERSION} library is pinned for {architecture} {system}"
            ))
        })?;
    let folder = cache_folder()?.join(wheel.library_sha256);
    let kept = folder.join(format!("libonnxruntime.so.{VERSION}"));
    if fs::read(&kept).is_ok_and(|bytes| sha256(&bytes) == wheel.library_sha256) {
        return Ok(kept);
    }
    let bytes = download(wheel)?;
    let actual = sha256(&bytes);
    if actual != wheel.library_sha256 {
        return Err(way_out(&format!(
            "the ONNX Runtime {VERSION} library that pip delivered has SHA-256 {actual}, not the pinned {}",
            wheel.library_sha256
        )));
    }
    keep(&folder, &kept, &bytes)
        .map_err(|error| format!("{} cannot be written: {error}", kept.display()))?;
    Ok(kept)
}

/// Downloads the wheel into a folder of its own and takes the library out.
fn download(wheel: &Wheel) -> Result<Vec<u8>, String> {
    let folder = PathBuf::from(environment("OUT_DIR")?).join("wheel");
    let _ = fs::remove_dir_all(&folder);
    let bytes = run_pip(wheel, &folder)
        .and_then(|()| library_of_wheel(&folder).map_err(|error| way_out(&error)));
    let _ = fs::remove_dir_all(&folder);
    bytes
}

/// Has pip put the wheel into `folder`.
fn run_pip(wheel: &Wheel, folder: &Path) -> Result<(), String> {
    let output = Command::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
        ])
        .args([
            "--no-deps",
            "--only-binary=:all:",
            "--python-version",
            "3.12",
            "--implementation",
            "cp",
        ])
        .args([
            "--platform",
            wheel.platform,
            &format!("onnxruntime=={VERSION}"),
            "--dest",
        ])
        .arg(folder)
        .output()
        .map_err(|error| {
            way_out(&format!(
                "python3 cannot be started ({error}), and pip is needed to obtain it"
            ))
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(3).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(way_out(&format!(
        "`python3 -m pip download onnxruntime=={VERSION}` failed (is there a network?): {}",
        last.join(" / ")
    )))
}

/// The library inside the one wheel in `folder`.
fn library_of_wheel(folder: &Path) -> Result<Vec<u8>, String> {
    let wheel = fs::read_dir(folder)
        .map_err(|error| error.to_string())?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or("pip left no wheel")?;
    let file = File::open(&wheel).map_err(|error| error.to_string())?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| error.to_string())?;
    let mut member = archive
        .by_name(&format!("onnxruntime/capi/libonnxruntime.so.{VERSION}"))
        .map_err(|error| format!("the wheel has no libonnxruntime.so.{VERSION}: {error}"))?;
    let mut bytes = Vec::new();
    member
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Writes beside the final name and renames, so that nobody ever finds half a file.
fn keep(folder: &Path, kept: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let partial = folder.join(format!("partial.{}", std::process::id()));
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, kept));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

/// A folder that all profiles of one target folder share: the one above `PROFILE/build/PACKAGE/out`.
fn cache_folder() -> Result<PathBuf, String> {
    let out = PathBuf::from(environment("OUT_DIR")?);
    let build = out
        .ancestors()
        .find(|folder| folder.file_name().is_some_and(|name| name == "build"));
    let target = build
        .and_then(|build| build.parent())
        .and_then(Path::parent);
    Ok(target.unwrap_or(&out).join("onnxruntime"))
}

fn environment(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("cargo did not set {name}"))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A reason, and what to do about it.
fn way_out(reason: &str) -> String {
    format!(
        "The ONNX Runtime library to embed could not be obtained: {reason}.\n\
         Building needs Python 3 with pip and a network once; or set LOCKSTEP_ORT_LIB to a libonnxruntime.so of ONNX \
         Runtime 1.31 for the target's processor."
    )
}
