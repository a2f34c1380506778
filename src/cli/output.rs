//! Standard output: lines for people, then one JSON object with `--json`.

use super::error::CliError;
use serde_json::{Value, json};
use std::io::Write;
use supervisor::record::hex;
use supervisor::record::{Digest, RunHeader};

/// Writes a line to standard output.
///
/// # Errors
/// When it cannot be written.
pub(super) fn line(text: impl std::fmt::Display) -> Result<(), CliError> {
    write(&format!("{text}\n"))
}

/// Writes text to standard output at once. A reader that has gone away is no error; anything else is, because a script
/// cannot tell missing output from none.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::io("cannot write to standard output", &error))
        }
        _ => Ok(()),
    }
}

/// Reports in JSON, if the user wants it, that a run was stopped before its first tick, and passes the error on.
///
/// # Errors
/// When it cannot be written.
pub(super) fn report_stop(error: CliError, as_json: bool) -> Result<CliError, CliError> {
    if as_json && error.is_stop() {
        line(json!({ "ticks": 0, "stopped": true }))?;
    }
    Ok(error)
}

/// The figures of `demo`, `run`, `resume` and `replay`, as lines and as JSON.
pub(super) struct RunFigures<'a> {
    pub(super) header: &'a RunHeader,
    /// The provider of each model at the end of the run, by the numbers of the models.
    pub(super) providers: &'a [String],
    pub(super) ticks: u64,
    pub(super) steps: u64,
    pub(super) inferences: u64,
    /// True if models ran; otherwise their results came from the journal.
    pub(super) models_ran: bool,
    pub(super) chain: &'a Digest,
    pub(super) wall_s: f64,
    /// Ticks that this command has run. The others were in the journal before it.
    pub(super) ticks_here: u64,
    pub(super) restarts: u64,
    pub(super) verdicts: &'a [(shm_protocol::id::Tick, supervisor::record::Verdict)],
    pub(super) run_dir: &'a std::path::Path,
}

impl RunFigures<'_> {
    /// The figures as one JSON object, whose keys are a contract.
    pub(super) fn json(&self) -> Value {
        let per_second = |count: u64| {
            if self.wall_s > 0.0 {
                rate(count, self.wall_s)
            } else {
                0.0
            }
        };
        json!({
            "ticks": self.ticks,
            "agents": self.header.agents.len(),
            "steps": self.steps,
            "chain": hex(self.chain).to_string(),
            "wall_s": self.wall_s,
            "resumed_after": self.ticks - self.ticks_here,
            "ticks_per_s": per_second(self.ticks_here),
            "steps_per_s": per_second(self.steps),
            "inferences": self.inferences,
            "engine": self.header.engine.as_ref().map(|engine| engine.name.clone()),
            "provider": self.providers.first(),
            "models": self.header.models.iter().zip(self.providers).map(|(model, provider)| json!({
                "name": model.name,
                "provider": provider,
                "refused": model.refused.iter().map(|(refused, reason)| json!({"provider": refused, "reason": reason.to_string()})).collect::<Vec<_>>(),
                "batching": model.batching.reason().map_or("batched".to_owned(), |reason| format!("unbatched: {reason}")),
            })).collect::<Vec<_>>(),
            "restarts": self.restarts,
            "verdicts": self.verdicts.iter().map(|(tick, verdict)| json!({
                "tick": tick.0,
                "text": verdict.text(self.header),
            })).collect::<Vec<_>>(),
            // A path can be any bytes; JSON can only hold text.
            "run_dir": self.run_dir.to_string_lossy(),
        })
    }

    /// The figures as lines for people.
    pub(super) fn lines(&self, verb: &str) -> Vec<String> {
        let before = self.ticks - self.ticks_here;
        let ticks = if before == 0 {
            counted(self.ticks, "tick")
        } else {
            format!("{} after {before}", counted(self.ticks_here, "tick"))
        };
        let mut lines = vec![format!(
            "{verb} {ticks} of {} in {:.2} s: {} ticks/s, {} steps/s",
            counted(self.header.agents.len() as u64, "agent"),
            self.wall_s,
            grouped(whole(rate(self.ticks_here, self.wall_s))),
            grouped(whole(rate(self.steps, self.wall_s))),
        )];
        if let Some(engine) = &self.header.engine {
            let models = self.header.models.iter().zip(self.providers);
            let providers: Vec<String> = models
                .map(|(model, provider)| match *provider == model.provider {
                    true => provider.clone(),
                    false => format!("{provider} (initially {})", model.provider),
                })
                .collect();
            let inferences = grouped(self.inferences);
            lines.push(if self.models_ran {
                let on = providers.join(", ");
                format!("inferences  {inferences} by {} on {on}", engine.name)
            } else {
                format!("inferences  {inferences} taken from the journal")
            });
        }
        for model in &self.header.models {
            for (provider, reason) in &model.refused {
                lines.push(format!(
                    "refused     {provider} for model {}: {reason}",
                    model.name
                ));
            }
        }
        lines.push(format!("chain       {}", hex(self.chain)));
        lines.push(format!("run         {}", self.run_dir.display()));
        lines
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate for people, never negative"
)]
fn whole(rate: f64) -> u64 {
    rate as u64
}

/// A number with thousands separators.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits are ASCII"))
        .collect();
    groups.join(",")
}

/// A count with its noun, in the singular or plural.
pub(super) fn counted(number: u64, one: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {one}{ending}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_in_the_singular() {
        assert_eq!(counted(1, "agent"), "1 agent");
        assert_eq!(counted(0, "agent"), "0 agents");
        assert_eq!(counted(65_536, "agent"), "65,536 agents");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
