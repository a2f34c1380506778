//! One thought: a row of numbers on its way through a model, again and again.

use lockstep_agent::Checksum;
use std::fmt;

/// A row of numbers and what has become of it.
pub struct Thought {
    row: Vec<f32>,
    turns: u32,
    checksum: Checksum,
}

impl Thought {
    /// The thought of this number of an agent.
    pub fn begin(agent: u64, number: u64, width: usize) -> Self {
        let first = agent.wrapping_mul(31).wrapping_add(number);
        let value = |at: usize| ((first.wrapping_mul(7) + at as u64) % 17) as f32 / 8.0 - 1.0;
        Self {
            row: (0..width).map(value).collect(),
            turns: 0,
            checksum: Checksum::new(),
        }
    }

    /// What goes through the model next.
    pub fn row(&self) -> &[f32] {
        &self.row
    }

    /// How often it has been through the model.
    pub fn turns(&self) -> u32 {
        self.turns
    }

    /// Takes what came out. The next row repeats it as often as it takes; an error leaves the row as it is.
    pub fn take(&mut self, output: Result<Vec<f32>, String>) {
        self.turns += 1;
        match output {
            Ok(output) => {
                for value in &output {
                    self.checksum.add(&value.to_le_bytes());
                }
                if !output.is_empty() {
                    let width = self.row.len();
                    self.row = output.into_iter().cycle().take(width).collect();
                }
            }
            Err(reason) => self.checksum.add_with_length(reason.as_bytes()),
        }
    }
}

impl fmt::Display for Thought {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checksum.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_keeps_its_width_and_an_error_leaves_it() {
        let mut thought = Thought::begin(1, 2, 5);
        thought.take(Ok(vec![1.0, 2.0]));
        assert_eq!(thought.row(), [1.0, 2.0, 1.0, 2.0, 1.0]);
        let before = thought.to_string();
        thought.take(Err("no answer".to_owned()));
        assert_eq!(thought.row(), [1.0, 2.0, 1.0, 2.0, 1.0]);
        assert_ne!(thought.to_string(), before);
        assert_eq!(thought.turns(), 2);
    }

    #[test]
    fn thoughts_of_agents_and_numbers_differ() {
        let row = |agent, number| Thought::begin(agent, number, 64).row().to_vec();
        assert_ne!(row(0, 0), row(1, 0));
        assert_ne!(row(0, 0), row(0, 1));
        assert!(row(3, 9).iter().all(|value| (-1.0..=1.0).contains(value)));
    }
}
