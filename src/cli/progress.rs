//! Progress of a run on standard error.

use super::clock::now;
use super::output::{counted, grouped};
use super::warnings::{WarningFilter, WarningKind};
use indicatif::{ProgressBar, ProgressStyle};
use shm_protocol::agent_to_supervisor::{LogLine, Outcome, Ready, Status};
use shm_protocol::id::{AgentId, Tick};
use std::io::Write;
use std::time::{Duration, Instant};
use supervisor::observer::Observer;
use supervisor::record::{RunHeader, TickRecord};
use supervisor::rundir::RunEvent;

/// Time between two updates of the view: ten in a second cost a run nothing.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

/// The progress bar and the warnings of a run. Without a terminal there are only warnings.
pub(super) struct RunProgress {
    bar: ProgressBar,
    names: Vec<String>,
    drawn: Instant,
    drawn_tick: u64,
    view: Option<Box<dyn LiveView>>,
    warnings: WarningFilter,
}

/// A live view of what a run does.
pub(super) trait LiveView {
    /// Takes in a committed tick.
    fn update(&mut self, record: &TickRecord);
    /// The current state in a few lines.
    fn render(&self) -> String;
    /// New lines that stay on the terminal, above the rendered state.
    fn new_lines(&mut self) -> Vec<String> {
        Vec::new()
    }
    /// The line for the report of the run.
    fn closing_line(&self) -> Option<String>;
}

impl RunProgress {
    /// Progress of a run, with the number of its ticks if that is known.
    pub(super) fn new(ticks: Option<u64>, view: Option<Box<dyn LiveView>>) -> RunProgress {
        let bar = ticks.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let template = match ticks {
            Some(_) => "{bar:32} {human_pos}/{human_len} ticks {msg}",
            None => "{spinner} {human_pos} ticks {msg}",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
        RunProgress {
            bar,
            names: Vec::new(),
            drawn: now(),
            drawn_tick: 0,
            view,
            warnings: WarningFilter::new(),
        }
    }

    /// Clears the progress bar and gives the view back.
    pub(super) fn finish(mut self) -> Option<Box<dyn LiveView>> {
        if let Some(more) = self.warnings.rest() {
            self.warn(&more);
        }
        self.bar.finish_and_clear();
        self.view
    }

    /// Writes a warning above the progress bar.
    fn warn(&self, text: &str) {
        self.bar.suspend(|| tracing::warn!("{text}"));
    }

    fn inform(&self, text: &str) {
        self.bar.suspend(|| tracing::info!("{text}"));
    }

    fn name(&self, agent: AgentId) -> &str {
        self.names.get(agent.index()).map_or("?", String::as_str)
    }

    /// Warns of failures in a tick, as far as the filter lets them pass.
    fn warn_of_failures(&mut self, tick: Tick, record: &TickRecord) {
        for dropped in &record.dropped {
            if self
                .warnings
                .is_first(WarningKind::Dropped, dropped.receiver)
            {
                let (name, messages) = (self.name(dropped.receiver), dropped.messages);
                let messages = counted(messages, "message");
                self.warn(&format!(
                    "tick {tick}: {messages} for agent {name} dropped: its queue is full or it has halted"
                ));
            }
        }
        let is_failure = |outcome: &&Outcome| outcome.status != Status::Completed;
        for outcome in record.outcomes.iter().filter(is_failure) {
            if self.warnings.is_first(WarningKind::Failed, outcome.agent) {
                let (name, status) = (self.name(outcome.agent), &outcome.status);
                self.warn(&format!("tick {tick}: agent {name} failed: {status:?}"));
            }
        }
        if let Some(more) = self.warnings.due() {
            self.warn(&more);
        }
    }

    fn draw(&mut self, tick: Tick) {
        let elapsed = self.drawn.elapsed();
        if elapsed < DRAW_INTERVAL {
            return;
        }
        let ticks = u128::from(tick.0 - self.drawn_tick);
        let tenths =
            u64::try_from(ticks * 10_000_000 / elapsed.as_micros().max(1)).unwrap_or(u64::MAX);
        let per_second = match tenths {
            0..100 => format!("{}.{}", tenths / 10, tenths % 10),
            _ => grouped(tenths / 10),
        };
        let rendered = self
            .view
            .as_ref()
            .map_or_else(String::new, |view| format!("\n{}", view.render()));
        self.bar.set_position(tick.0);
        self.bar
            .set_message(format!("({per_second} ticks/s){rendered}"));
        (self.drawn, self.drawn_tick) = (now(), tick.0);
    }
}

impl Observer for RunProgress {
    fn stage(&mut self, what: &str) {
        self.inform(what);
        self.bar.set_message(format!("({what})"));
        self.bar.tick();
    }

    fn confined(&mut self, hosts: &[Ready]) {
        let layers = hosts.iter().flat_map(|host| &host.confinement);
        for (layer, reason) in
            layers.filter_map(|layer| layer.missing.as_ref().map(|reason| (&layer.name, reason)))
        {
            self.inform(&format!("a host runs without {layer}: {reason}"));
        }
    }

    fn init_log(&mut self, agent: AgentId, line: &LogLine) {
        self.inform(&format!("agent {agent}, init: {}", line.text));
    }

    fn begins(&mut self, header: &RunHeader) {
        self.names = header
            .agents
            .iter()
            .map(|agent| agent.name.clone())
            .collect();
        self.bar.set_message("");
        (self.drawn, self.drawn_tick) = (now(), 0);
    }

    fn event(&mut self, event: &RunEvent) {
        match event {
            // The restart that follows is a warning and names the loss.
            RunEvent::HostLost { .. } => self.inform(&event.to_string()),
            _ => self.warn(&event.to_string()),
        }
    }

    fn committed(&mut self, tick: Tick, record: &TickRecord) {
        if let Some(view) = &mut self.view {
            view.update(record);
            for line in view.new_lines() {
                // A run does not end because nobody reads standard error.
                let written = || writeln!(std::io::stderr(), "{line}");
                self.bar.suspend(|| drop(written()));
            }
        }
        if !record.dropped.is_empty() || has_failures(record) || self.warnings.has_count() {
            self.warn_of_failures(tick, record);
        }
        self.draw(tick);
    }
}

fn has_failures(record: &TickRecord) -> bool {
    let mut outcomes = record.outcomes.iter();
    outcomes.any(|outcome| outcome.status != Status::Completed)
}
