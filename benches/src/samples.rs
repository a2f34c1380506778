//! Repeats of one measurement.

use serde_json::{Value, json};

/// Repeats of one measurement, all in one unit.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds a repeat.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The repeats in the order in which they were made.
    #[must_use]
    pub fn all(&self) -> &[f64] {
        &self.0
    }

    /// The one in the middle: half of the others are below it.
    ///
    /// # Panics
    /// Without a repeat.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.sorted()[self.0.len() / 2]
    }

    /// The smallest: what a machine without other work would come closest to.
    ///
    /// # Panics
    /// Without a repeat.
    #[must_use]
    pub fn least(&self) -> f64 {
        self.sorted()[0]
    }

    /// The largest.
    ///
    /// # Panics
    /// Without a repeat.
    #[must_use]
    pub fn most(&self) -> f64 {
        self.sorted()[self.0.len() - 1]
    }

    /// The one that so many of a hundred do not exceed, by nearest rank: with less than a hundred repeats, the
    /// ninety-ninth is the largest.
    ///
    /// # Panics
    /// Without a repeat.
    #[must_use]
    pub fn percentile(&self, of_hundred: usize) -> f64 {
        let rank = (self.0.len() * of_hundred).div_ceil(100).max(1);
        self.sorted()[rank - 1]
    }

    /// `median (least..most)`, each times `factor`, with so many decimals.
    #[must_use]
    pub fn show(&self, factor: f64, decimals: usize) -> String {
        let sorted = self.sorted();
        let (least, most) = (sorted[0] * factor, sorted[sorted.len() - 1] * factor);
        format!(
            "{:.decimals$} ({least:.decimals$}..{most:.decimals$})",
            self.median() * factor
        )
    }

    /// For machines.
    #[must_use]
    pub fn json(&self) -> Value {
        let sorted = self.sorted();
        json!({ "median": self.median(), "min": sorted[0], "p99": self.percentile(99), "max": sorted[sorted.len() - 1], "repeats": self.0 })
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Samples {
        Samples(values.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_order_and_one_outlier() {
        let samples: Samples = [3.0, 1000.0, 1.0, 2.0, 4.0].into_iter().collect();
        assert_eq!(samples.show(2.0, 1), "6.0 (2.0..2000.0)");
        assert_eq!(samples.json()["median"], 3.0);
    }

    #[test]
    fn a_percentile_is_one_of_the_repeats() {
        let samples: Samples = (1..=200).rev().map(f64::from).collect();
        assert_eq!(
            (samples.percentile(50), samples.percentile(99)),
            (100.0, 198.0)
        );
        assert_eq!((samples.percentile(0), samples.most()), (1.0, 200.0));
        let few: Samples = (1..=20).map(f64::from).collect();
        assert!((few.percentile(99) - 20.0).abs() < 1e-9);
    }
}
