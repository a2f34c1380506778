//! The promise: **the glossary has every term once, with the module that it lives in, and every word of the interface.**
//! The keys of the fleet file are those of `docs/fleet.md`, and the events those of `docs/formats/run-directory.md`,
//! which other tests hold against the code.

use std::collections::BTreeSet;
use std::path::Path;
use test_support::{Place, repository};

fn document(name: &str) -> String {
    let path = repository(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of all table rows, without heads and rulers.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let cells = rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect());
    cells.filter(|cells: &Vec<&str>| !cells[0].starts_with("---"))
}

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_term_stands_once_with_a_module_that_exists() {
    let glossary = document("docs/glossary.md");
    let (terms, _) = glossary
        .split_once("## Words of the interface")
        .expect("the section");
    let mut seen = BTreeSet::new();
    for cells in rows(terms).filter(|cells| cells.len() == 4 && cells[0] != "term") {
        for term in cells[0].split(", ") {
            assert!(seen.insert(term), "the term {term} stands twice");
        }
        assert!(!cells[1].is_empty(), "{} has no meaning", cells[0]);
        for path in quoted(cells[2]) {
            let exists = Path::new(&repository(path)).exists();
            assert!(exists, "{}: there is no {path}", cells[0]);
        }
    }
    assert!(seen.len() > 60, "{seen:?}");
}

#[test]
fn every_word_of_the_interface_is_in_the_glossary() {
    let glossary = document("docs/glossary.md");
    let known: BTreeSet<&str> = quoted(&glossary).collect();
    let place = Place::new();
    let help = place.fine(&["--help"]).out;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    let (fleet, events) = (
        document("docs/fleet.md"),
        document("docs/formats/run-directory.md"),
    );
    let keys: Vec<&str> = rows(&fleet)
        .filter(|cells| cells[0].starts_with('`'))
        .flat_map(|cells| quoted(cells[0]).collect::<Vec<_>>())
        .filter(|key| {
            key.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        })
        .collect();
    let (_, events) = events
        .split_once("| `event` |")
        .expect("the table of events");
    let events: Vec<&str> = rows(events)
        .flat_map(|cells| quoted(cells[0]).next())
        .collect();
    assert!(
        commands.len() > 10 && keys.len() > 50 && events.len() > 5,
        "{commands:?} {keys:?} {events:?}"
    );
    let words = commands.iter().chain(&keys).chain(&events);
    let missing: Vec<&&str> = words.filter(|word| !known.contains(**word)).collect();
    assert!(missing.is_empty(), "not in docs/glossary.md: {missing:?}");
}
