//! Examples and documents say what the reader takes.

use super::*;

#[test]
fn every_example_is_a_fleet_whose_files_are_there() {
    let mut found = 0;
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            Fleet::read(&path).unwrap_or_else(|error| panic!("{error}"));
            found += 1;
        }
    }
    assert!(found >= 4, "only {found} examples");
}

/// Runs of both have the same chain. Only where the model comes from may differ, and what is declared of it.
#[test]
fn the_examples_of_the_demo_are_the_demo() {
    let read = |path: &str| {
        let mut fleet = Fleet::read(&root().join(path)).unwrap_or_else(|error| panic!("{error}"));
        for model in &mut fleet.models {
            (model.file, model.inputs, model.outputs) =
                (Source::Builtin("policy".into()), Vec::new(), Vec::new());
        }
        fleet
    };
    assert_eq!(read("examples/cartpole.toml"), read("src/cli/demo.toml"));
    assert_eq!(read("examples/talk.toml"), read("src/cli/talk.toml"));
}

/// The blocks of TOML in a document.
fn toml_blocks(document: &str) -> Vec<&str> {
    document
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

#[test]
fn every_fleet_in_the_documents_is_accepted() {
    for document in ["docs/fleet.md", "README.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let blocks = toml_blocks(&text);
        assert!(!blocks.is_empty(), "{document} shows no fleet");
        for block in blocks {
            parse(block).unwrap_or_else(|error| panic!("{document}: {error}"));
        }
    }
}

/// The keys that a document gives in the tables under the heading of a table.
fn documented<'a>(document: &'a str, title: &str) -> BTreeSet<&'a str> {
    let heading = format!("## `{title}`");
    let section = document
        .split("\n## ")
        .map(|section| format!("## {section}"))
        .position(|section| section.starts_with(&heading));
    let section = section.unwrap_or_else(|| panic!("no heading {heading}"));
    let rows = document.split("\n## ").nth(section).unwrap().lines();
    rows.filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect()
}

#[test]
fn the_documented_keys_are_the_accepted_ones() {
    let document = fs::read_to_string(root().join("docs/fleet.md")).unwrap();
    for (title, keys) in documented_tables() {
        let accepted: BTreeSet<&str> = keys.into_iter().collect();
        assert_eq!(documented(&document, title), accepted, "{title}");
    }
}

#[test]
fn the_documents_show_every_key_once_in_use() {
    let document = fs::read_to_string(root().join("docs/fleet.md")).unwrap();
    let shown = toml_blocks(&document).concat();
    let tables = documented_tables();
    for key in tables.iter().flat_map(|(_, keys)| keys) {
        assert!(
            shown
                .lines()
                .any(|line| line.starts_with(&format!("{key} = "))),
            "`{key}` is never shown"
        );
    }
}

#[test]
fn the_fault_plan_in_the_document_is_valid() {
    let document = include_str!("../../../../docs/faults.md");
    let text = document.split("```toml\n").nth(1).expect("a plan");
    let text = text.split("```").next().expect("its end");
    let fleet = "[fleet]\nname = \"f\"\n[[agents]]\nname = \"left\"\ncomponent = \"builtin:a\"\n";
    let fleet = Fleet::parse(fleet, Path::new("f.toml")).expect("a fleet");
    let plan = FaultPlan::parse(text, Path::new("plan.toml"), &fleet);
    assert_eq!(plan.expect("a plan").rules.len(), 2);
}
