//! The promise: **the folders show the architecture, and stay so.** Crates depend downwards only; the modules of the
//! supervisor stand in one order, and no file imports against it; no files of a crate import each other in a circle;
//! only `sys` folders call the operating system.
//!
//! Imports are read from the sources as text (`imports`), test code left out. Re-exports are followed to where a name is
//! defined: a file that takes a name from its parent module, which re-exports it, depends on the file that defines it.

mod imports;
mod system_calls;

use imports::Sources;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The crates and the crates of this workspace that each may depend on.
const CRATES: [(&str, &str, &[&str]); 5] = [
    ("shm-protocol", "shm-protocol/src", &[]),
    ("agent-host", "agent-host/src", &["shm-protocol"]),
    ("inference-host", "inference-host/src", &["shm-protocol"]),
    ("supervisor", "supervisor/src", &["shm-protocol"]),
    (
        "lockstep",
        "src",
        &["agent-host", "inference-host", "shm-protocol", "supervisor"],
    ),
];

/// The modules of the supervisor, from the top floor down. A module imports from lower floors only.
const FLOORS: [&[&str]; 11] = [
    &["session"],
    &["control"],
    &["event_loop"],
    &["launch"],
    &["error", "observer"],
    &["analysis", "checkpoint"],
    &["journal"],
    &["rundir"],
    &["fleet", "host", "models"],
    &["artifact", "faults", "recovery", "tick"],
    &["planted", "record", "sys"],
];

#[test]
fn crates_depend_downwards_only() {
    for (name, folder, allowed) in CRATES {
        let manifest = match folder {
            "src" => "Cargo.toml".to_owned(),
            _ => format!("{name}/Cargo.toml"),
        };
        let manifest = fs::read_to_string(&manifest).expect("the crate has a manifest");
        let begin = manifest.find("[dependencies]").expect("dependencies");
        let dependencies = &manifest[begin..];
        let end = dependencies[1..]
            .find("\n[")
            .map_or(dependencies.len(), |end| end + 1);
        let ours = CRATES.map(|(name, ..)| name);
        for dependency in dependencies[..end].lines() {
            let dependency = dependency.split(['.', ' ', '=']).next().unwrap_or_default();
            assert!(
                !ours.contains(&dependency) || allowed.contains(&dependency),
                "crate {name} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn the_supervisors_modules_stand_in_one_order() {
    let floor = |module: &str| {
        let found = FLOORS.iter().position(|floor| floor.contains(&module));
        found.unwrap_or_else(|| panic!("`{module}` has no floor: give it one, here and in lib.rs"))
    };
    let sources = Sources::read(Path::new("supervisor/src"));
    let mut against = Vec::new();
    for (from, to, names) in sources.imports() {
        let (Some(upper), Some(lower)) = (from.first(), to.first()) else {
            continue;
        };
        if upper != lower && floor(upper) >= floor(lower) {
            against.push(format!(
                "{} -> {}: {names:?}",
                from.join("::"),
                to.join("::")
            ));
        }
    }
    assert!(
        against.is_empty(),
        "imports against the order of modules:\n{}",
        against.join("\n")
    );
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    for (name, folder, _) in CRATES {
        let sources = Sources::read(Path::new(folder));
        let mut below: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to, _) in sources.imports() {
            below
                .entry(from.join("::"))
                .or_default()
                .insert(to.join("::"));
        }
        // What imports nothing that is left is taken away, until only circles are left, and what leads to them.
        loop {
            let left: BTreeSet<String> = below.keys().cloned().collect();
            below.retain(|_, targets| {
                targets.retain(|target| left.contains(target));
                !targets.is_empty()
            });
            if below.len() == left.len() {
                break;
            }
        }
        assert!(
            below.is_empty(),
            "crate {name} has files in a circle: {below:#?}"
        );
    }
}

#[test]
fn modules_are_foo_rs_beside_foo() {
    for (name, folder, _) in CRATES {
        let sources = Sources::read(Path::new(folder));
        let old_style = sources
            .modules()
            .find(|module| module.ends_with(&["mod".to_owned()]));
        assert_eq!(
            old_style, None,
            "crate {name}: name the file after its folder"
        );
    }
}

#[test]
fn an_import_is_followed_to_the_file_that_defines_the_name() {
    let sources = Sources::of(&[
        ("lib.rs", "mod a;\nmod b;"),
        (
            "a.rs",
            "mod inner;\npub use inner::Thing;\nuse crate::b;\nfn f() { b::call() }",
        ),
        (
            "a/inner.rs",
            "pub struct Thing;\n#[cfg(test)]\nmod tests {\n    use crate::b::Only;\n}\n",
        ),
        (
            "b.rs",
            "use crate::a::{Thing as Other, other::{self, Missing}};\npub fn call() {}",
        ),
    ]);
    let imports: Vec<String> = sources
        .imports()
        .into_iter()
        .map(|(from, to, names)| format!("{} {} {names:?}", from.join("::"), to.join("::")))
        .collect();
    assert_eq!(
        imports,
        [
            r#"a b {"call"}"#,
            r#"b a {"other"}"#,
            r#"b a::inner {"Thing"}"#,
        ]
    );
}
