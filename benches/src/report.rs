//! Tables for people on standard output, and the same figures as a file.

use crate::Trouble;
use crate::binary::target_folder;
use crate::samples::Samples;
use serde_json::{Map, Value, json};
use std::fs;
use std::io::Write;

/// Everything that one measurement tells.
pub struct Report {
    name: &'static str,
    figures: Map<String, Value>,
}

impl Report {
    /// Begins to tell of the measurement of this name.
    #[must_use]
    pub fn new(name: &'static str) -> Report {
        Report {
            name,
            figures: Map::new(),
        }
    }

    /// A line for people.
    pub fn say(&self, text: &str) {
        // A reader that has gone away is not our trouble.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// A table for people: names of columns, then rows. The first column is aligned to the left.
    pub fn table(&self, title: &str, columns: &[&str], rows: &[Vec<String>]) {
        self.say(&format!("\n{title}    [load {}]", load()));
        let head: Vec<String> = columns.iter().map(ToString::to_string).collect();
        let widths: Vec<usize> = (0..columns.len())
            .map(|column| {
                let cells = rows.iter().chain([&head]).filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        for row in [&head].into_iter().chain(rows) {
            let cells = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| {
                    if column == 0 {
                        format!("{cell:<width$}")
                    } else {
                        format!("{cell:>width$}")
                    }
                });
            self.say(cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }

    /// Repeats for the file, in seconds, bytes or ratios as the name says.
    pub fn keep(&mut self, name: &str, samples: &Samples) {
        self.figures.insert(name.to_owned(), samples.json());
    }

    /// A figure for the file that was taken once.
    pub fn keep_once(&mut self, name: &str, value: Value) {
        self.figures.insert(name.to_owned(), value);
    }

    /// Writes the file.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(self) -> Result<(), Trouble> {
        let folder = target_folder()?.join("bench");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.json", self.name));
        let all = json!({ "bench": self.name, "load_at_end": load(), "figures": self.figures });
        fs::write(&path, serde_json::to_string_pretty(&all)?)?;
        self.say(&format!("\nwritten to {}", path.display()));
        Ok(())
    }
}

/// How busy the machine is, its own measurements included: the averages of 1, 5 and 15 minutes.
#[must_use]
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_else(|_| "unknown".to_owned());
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}
