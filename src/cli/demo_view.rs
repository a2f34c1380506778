//! The live view of the demo: its poles, as the referee reports them.

use super::progress::LiveView;
use serde::Deserialize;
use shm_protocol::agent_to_supervisor::Effect;
use supervisor::record::TickRecord;

/// The topic of the referee's reports.
const TOPIC: &str = "poles";

/// PolesView in one line of the picture.
const POLES_PER_LINE: usize = 64;

/// Maximum lines of the view.
const MAX_LINES: usize = 4;

/// Lean from which on a pole is drawn as leaning, in thousandths of a radian.
const LEANING_MILLIRADIANS: i64 = 20;

/// One report of the referee.
#[derive(Debug, Deserialize)]
pub(super) struct PoleReport {
    /// PolesView that stand.
    pub(super) standing: u64,
    /// PolesView that have fallen.
    pub(super) fallen: u64,
    /// Of each pole the cart's place in millimetres, its lean in thousandths of a radian, and 1 if it stands.
    poles: Vec<(i64, i64, i64)>,
}

/// The newest report of the referee.
#[derive(Debug, Default)]
pub(super) struct PolesView {
    newest: Vec<u8>,
}

impl PolesView {
    /// The newest report, if there is one.
    pub(super) fn report(&self) -> Option<PoleReport> {
        serde_json::from_slice(&self.newest).ok()
    }
}

impl LiveView for PolesView {
    fn update(&mut self, record: &TickRecord) {
        let effects = record
            .outcomes
            .iter()
            .rev()
            .flat_map(|outcome| &outcome.effects);
        for effect in effects {
            if let Effect::Emit { topic, payload } = effect
                && topic == TOPIC
            {
                self.newest.clear();
                self.newest.extend_from_slice(payload);
                return;
            }
        }
    }

    fn render(&self) -> String {
        let Some(report) = self.report() else {
            return String::new();
        };
        let drawn: Vec<char> = report.poles.iter().map(|pole| draw(*pole)).collect();
        let mut lines: Vec<String> = drawn
            .chunks(POLES_PER_LINE)
            .take(MAX_LINES)
            .map(|line| line.iter().collect())
            .collect();
        if drawn.len() > POLES_PER_LINE * MAX_LINES {
            lines.push(format!(
                "and {} more",
                drawn.len() - POLES_PER_LINE * MAX_LINES
            ));
        }
        lines.push(format!("{} up, {} down", report.standing, report.fallen));
        lines.join("\n")
    }

    fn closing_line(&self) -> Option<String> {
        // No pole has reported in the first tick.
        let report = self
            .report()
            .filter(|report| report.standing + report.fallen > 0)?;
        Some(format!(
            "poles       {} of {} stand",
            report.standing,
            report.standing + report.fallen
        ))
    }
}

fn draw((_, lean, standing): (i64, i64, i64)) -> char {
    match (standing, lean) {
        (0, _) => '_',
        (_, lean) if lean > LEANING_MILLIRADIANS => '/',
        (_, lean) if lean < -LEANING_MILLIRADIANS => '\\',
        _ => '|',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poles_are_drawn_as_they_lean() {
        let newest =
            br#"{"tick":3,"standing":3,"fallen":1,"poles":[[0,0,1],[0,90,1],[0,-90,1],[0,500,0]]}"#
                .to_vec();
        assert_eq!(PolesView { newest }.render(), "|/\\_\n3 up, 1 down");
    }
}
