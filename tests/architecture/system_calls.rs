//! The operating system is called in `sys` folders only, so that another system is another folder.

use std::fs;
use std::path::{Path, PathBuf};

/// Crates and interfaces of one operating system, as a path begins with them.
const SYSTEM_PATHS: [&str; 6] = [
    "nix::",
    "rustix::",
    "libc::",
    "signal_hook::",
    "command_fds::",
    "std::os::linux::",
];

/// Folders with the sources of every crate of the product.
const SOURCES: [&str; 5] = [
    "src",
    "supervisor/src",
    "agent-host/src",
    "inference-host/src",
    "shm-protocol/src",
];

#[test]
fn only_sys_folders_call_the_operating_system() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut outside, mut inside) = (Vec::new(), 0);
    for file in SOURCES
        .iter()
        .flat_map(|folder| rust_files(&root.join(folder)))
    {
        let text = fs::read_to_string(&file).expect("a source");
        let calls = system_calls(&text);
        match is_of_system(&file) {
            true => inside += calls.len(),
            false => outside.extend(
                calls
                    .into_iter()
                    .map(|line| format!("{}: {line}", file.display())),
            ),
        }
    }
    assert!(
        inside > 0,
        "no call was found at all, so this test finds none"
    );
    assert!(
        outside.is_empty(),
        "move these calls to the `sys` folder of their crate:\n{}",
        outside.join("\n")
    );
}

#[test]
fn a_call_is_found_and_words_that_look_like_one_are_not() {
    let text =
        "use nix::libc;\n//! nix::sys\nuse std::os::unix::net;\nlet a = (rustix::io::read)(b);\n";
    assert_eq!(
        system_calls(text),
        ["use nix::libc;", "let a = (rustix::io::read)(b);"]
    );
    assert!(system_calls("x();\n#[cfg(test)]\nmod tests {\nuse nix::libc;\n}\n").is_empty());
    assert_eq!(system_calls("#[cfg(test)]\nuse nix::libc;\n").len(), 1);
}

/// Whether a file is in a `sys` folder or declares one.
fn is_of_system(file: &Path) -> bool {
    file.ends_with("src/sys.rs") || file.iter().any(|part| part == "sys")
}

/// The lines that name a crate or interface of one operating system, without comments and the tests at the end of the
/// file.
fn system_calls(text: &str) -> Vec<String> {
    let product = text.split("#[cfg(test)]\nmod tests {").next();
    let lines = product.into_iter().flat_map(str::lines).map(str::trim);
    lines
        .filter(|line| !line.starts_with("//"))
        .filter(|line| SYSTEM_PATHS.iter().any(|path| names(line, path)))
        .map(str::to_owned)
        .collect()
}

/// Whether a line names a path, and not one that only ends like it: `unix::` is not `nix::`.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    })
}

/// All Rust files below a folder but those of tests, sorted.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let is_of_tests = path.file_stem().is_some_and(|name| name == "tests");
        if is_of_tests {
            continue;
        } else if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
