//! What people see on standard error while a run goes on.

use super::output::{counted, grouped};
use super::warnings::{Warnings, Wrong};
use indicatif::{ProgressBar, ProgressStyle};
use shm_protocol::agent_to_supervisor::{LogLine, Outcome, Ready, Status};
use shm_protocol::id::{AgentId, Tick};
use std::io::Write;
use std::time::{Duration, Instant};
use supervisor::observer::Observer;
use supervisor::record::{RunHeader, TickRecord};
use supervisor::rundir::RunEvent;

/// How often the picture is drawn anew: people see ten in a second, and the tick does not notice.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Draws the progress of a run. Where standard error is no terminal it says nothing but warnings.
pub(super) struct Progress {
    bar: ProgressBar,
    names: Vec<String>,
    drawn: Instant,
    drawn_tick: u64,
    view: Option<Box<dyn View>>,
    warnings: Warnings,
}

/// Something that a run shows besides its ticks.
pub(super) trait View {
    /// Takes note of a committed tick; called for every one.
    fn note(&mut self, record: &TickRecord);
    /// What to show, in a few lines.
    fn picture(&self) -> String;
    /// What has been said since the last time, to stay above the picture.
    fn lines(&mut self) -> Vec<String> {
        Vec::new()
    }
    /// What to say at the end.
    fn closing_line(&self) -> Option<String>;
}

impl Progress {
    /// Progress of a run of so many ticks, if that is known.
    pub(super) fn new(ticks: Option<u64>, view: Option<Box<dyn View>>) -> Progress {
        let bar = ticks.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let template = match ticks {
            Some(_) => "{bar:32} {human_pos}/{human_len} ticks {msg}",
            None => "{spinner} {human_pos} ticks {msg}",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
        Progress {
            bar,
            names: Vec::new(),
            drawn: now(),
            drawn_tick: 0,
            view,
            warnings: Warnings::new(),
        }
    }

    /// Takes the picture away and gives the view back.
    pub(super) fn finish(mut self) -> Option<Box<dyn View>> {
        if let Some(more) = self.warnings.rest() {
            self.warn(&more);
        }
        self.bar.finish_and_clear();
        self.view
    }

    /// Says something above the picture, which is taken away meanwhile.
    fn warn(&self, text: &str) {
        self.bar.suspend(|| tracing::warn!("{text}"));
    }

    fn inform(&self, text: &str) {
        self.bar.suspend(|| tracing::info!("{text}"));
    }

    fn name(&self, agent: AgentId) -> &str {
        self.names.get(agent.index()).map_or("?", String::as_str)
    }

    /// Warns of what went wrong in a tick, so far as there is not too much of it.
    fn warn_of(&mut self, tick: Tick, record: &TickRecord) {
        for dropped in &record.dropped {
            if self.warnings.is_first(Wrong::Dropped, dropped.receiver) {
                let (name, messages) = (self.name(dropped.receiver), dropped.messages);
                let messages = counted(messages, "message");
                self.warn(&format!(
                    "tick {tick}: agent {name} did not get {messages}: its queue is full or it has halted"
                ));
            }
        }
        let is_failure = |outcome: &&Outcome| outcome.status != Status::Completed;
        for outcome in record.outcomes.iter().filter(is_failure) {
            if self.warnings.is_first(Wrong::Failed, outcome.agent) {
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
        if elapsed < DRAW_EVERY {
            return;
        }
        let ticks = u128::from(tick.0 - self.drawn_tick);
        let tenths =
            u64::try_from(ticks * 10_000_000 / elapsed.as_micros().max(1)).unwrap_or(u64::MAX);
        let per_second = match tenths {
            0..100 => format!("{}.{}", tenths / 10, tenths % 10),
            _ => grouped(tenths / 10),
        };
        let picture = self
            .view
            .as_ref()
            .map_or_else(String::new, |view| format!("\n{}", view.picture()));
        self.bar.set_position(tick.0);
        self.bar
            .set_message(format!("({per_second} ticks/s){picture}"));
        (self.drawn, self.drawn_tick) = (now(), tick.0);
    }
}

impl Observer for Progress {
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
        self.inform(&format!("agent {agent} says at init: {}", line.text));
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
            // What became of it is told once, when it is known.
            RunEvent::HostLost { .. } => self.inform(&event.to_string()),
            _ => self.warn(&event.to_string()),
        }
    }

    fn committed(&mut self, tick: Tick, record: &TickRecord) {
        if let Some(view) = &mut self.view {
            view.note(record);
            for line in view.lines() {
                // Nobody who listens to standard error is a reason to end a run.
                let written = || writeln!(std::io::stderr(), "{line}");
                self.bar.suspend(|| drop(written()));
            }
        }
        if !record.dropped.is_empty() || has_failures(record) || self.warnings.wait() {
            self.warn_of(tick, record);
        }
        self.draw(tick);
    }
}

fn has_failures(record: &TickRecord) -> bool {
    let mut outcomes = record.outcomes.iter();
    outcomes.any(|outcome| outcome.status != Status::Completed)
}

#[allow(
    clippy::disallowed_methods,
    reason = "how often to draw decides no outcome"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
