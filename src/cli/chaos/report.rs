//! The report of a campaign.

use super::chaos_run::ChaosRun;
use super::history::{self, Recovery};
use super::matrix::FaultMatrix;
use crate::cli::error::{CliError, ExitStatus};
use crate::cli::output::{counted, line};
use serde_json::{Value, json};
use shm_protocol::id::Tick;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use supervisor::analysis::RunSummary;
use supervisor::faults::FaultPlan;
use supervisor::journal::{self, JournalReader};
use supervisor::record::RunHeader;
use supervisor::record::hex;
use supervisor::rundir::{RunDir, RunEvent};

/// Maximum findings that are listed; they are often the same.
const MAX_FINDINGS: usize = 20;

/// The report of a campaign.
pub(super) struct CampaignReport {
    header: RunHeader,
    reference_chain: String,
    /// Ticks, steps and inference requests of the reference.
    ticks: u64,
    steps: u64,
    inferences: u64,
    matrix: FaultMatrix,
    recoveries: Vec<Recovery>,
    /// Host failures without a fault that explains them.
    unexplained: u64,
    supervisors: u64,
    runs: u64,
    verdicts: Vec<(Tick, String)>,
    findings: Vec<String>,
    divergence: Option<Vec<String>>,
    chain: String,
    run_dir: PathBuf,
    pub(super) is_stopped: bool,
    pub(super) wall: Duration,
}

impl CampaignReport {
    pub(super) fn begin(reference: &Path, folder: PathBuf) -> Result<CampaignReport, CliError> {
        let run = RunDir::read(reference)?;
        let (header, mut reader) = JournalReader::open(&run)?;
        let summary = RunSummary::read(&header, &mut reader)?;
        let reference_chain = hex(&journal::verify(&run)?.chain).to_string();
        Ok(CampaignReport {
            header,
            chain: reference_chain.clone(),
            reference_chain,
            ticks: summary.ticks,
            steps: summary.agents.iter().map(|agent| agent.steps).sum(),
            inferences: summary.agents.iter().map(|agent| agent.requests).sum(),
            matrix: FaultMatrix::default(),
            recoveries: Vec::new(),
            unexplained: 0,
            supervisors: 0,
            runs: 0,
            verdicts: Vec::new(),
            findings: Vec::new(),
            divergence: None,
            run_dir: folder,
            is_stopped: false,
            wall: Duration::ZERO,
        })
    }

    /// Adds a run with faults.
    pub(super) fn add(&mut self, plan: &FaultPlan, run: &ChaosRun) {
        self.runs += 1;
        self.supervisors += run.supervisors.len() as u64;
        self.findings.extend(run.findings.iter().cloned());
        if let Ok(verified) = RunDir::read(&run.dir)
            .map_err(CliError::from)
            .and_then(|run| Ok(journal::verify(&run)?))
        {
            self.chain = hex(&verified.chain).to_string();
        }
        self.matrix.add_plan(plan);
        for event in run.events() {
            self.matrix.add_event(event);
            if let RunEvent::Verdict { tick, text } = event {
                self.verdicts.push((*tick, text.clone()));
            }
        }
        for supervisor in &run.supervisors {
            self.unexplained += history::unexplained(&supervisor.events);
            self.recoveries
                .extend(history::recoveries(&supervisor.events, supervisor.after));
        }
    }

    /// Records that a run differs from the reference.
    pub(super) fn diverged(&mut self, explained: Vec<String>) {
        self.divergence = Some(explained);
    }

    /// Writes the progress to standard error.
    pub(super) fn show_progress(&self, run: usize, of: usize) {
        let (faults, restarts) = (self.matrix.injected(), self.restarts());
        // A closed standard error is no reason to stop.
        let _ = writeln!(
            std::io::stderr(),
            "run {run} of {of}: {faults} faults injected, {restarts} restarts"
        );
    }

    /// The number of host restarts.
    fn restarts(&self) -> u64 {
        let of_hosts = |recovery: &&Recovery| recovery.role != history::SUPERVISOR;
        self.recoveries.iter().filter(of_hosts).count() as u64
    }

    /// Milliseconds of the recoveries, grouped by a key.
    fn times(&self, of: impl Fn(&Recovery) -> String) -> BTreeMap<String, Vec<f64>> {
        let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for recovery in &self.recoveries {
            times.entry(of(recovery)).or_default().push(recovery.ms);
        }
        times
    }

    fn by_role(&self) -> BTreeMap<String, Vec<f64>> {
        self.times(|recovery| recovery.role.clone())
    }

    fn by_kind(&self) -> BTreeMap<String, Vec<f64>> {
        self.times(|recovery| format!("{} after {}", recovery.role, recovery.kind))
    }

    /// Writes the report.
    pub(super) fn write(&self, as_json: bool) -> Result<ExitStatus, CliError> {
        self.matrix.lines().into_iter().try_for_each(line)?;
        for (what, times) in self.by_kind().iter().chain(&self.by_role()) {
            let [median, high, max] = quantiles(times);
            line(format!(
                "recovery    {what}: {} times, p50 {median:.1} ms, p99 {high:.1} ms, max {max:.1} ms",
                times.len()
            ))?;
        }
        line(format!(
            "injected    {} in {}, {} not reached; {}, {}, {} in {:.1} s",
            counted(self.matrix.injected(), "fault"),
            counted(self.runs, "run"),
            self.matrix.not_reached(),
            counted(self.supervisors, "supervisor"),
            counted(self.restarts(), "restart"),
            counted(self.verdicts.len() as u64, "verdict"),
            self.wall.as_secs_f64()
        ))?;
        if self.unexplained > 0 {
            line(format!(
                "unexplained {} without an injected fault: the machine may be too busy for the deadline (raise \
                 --deadline-ms), or one failure caused another",
                counted(self.unexplained, "host failure")
            ))?;
        }
        self.write_outcome()?;
        if as_json {
            line(self.json())?;
        }
        let is_fine = self.divergence.is_none() && self.findings.is_empty();
        Ok(if is_fine {
            ExitStatus::Success
        } else {
            ExitStatus::Negative
        })
    }

    /// Findings, verdicts and the result of the comparison.
    fn write_outcome(&self) -> Result<(), CliError> {
        for finding in self.findings.iter().take(MAX_FINDINGS) {
            line(format!("finding     {finding}"))?;
        }
        if self.findings.len() > MAX_FINDINGS {
            let more = self.findings.len() - MAX_FINDINGS;
            line(format!("finding     and {more} more"))?;
        }
        for (tick, text) in &self.verdicts {
            line(format!("verdict     tick {tick}: {text}"))?;
        }
        line(format!("reference   {}", self.reference_chain))?;
        if self.runs > 0 {
            line(format!("with faults {}", self.chain))?;
        }
        match &self.divergence {
            Some(explained) => {
                line("diverged    left: the reference, right: the run with faults")?;
                explained.iter().try_for_each(line)
            }
            None if self.is_stopped => line(format!(
                "stopped     {} up to here equal to the reference",
                counted(self.runs, "run")
            )),
            None if self.verdicts.is_empty() => {
                line("equal       every tick of every run, byte for byte")
            }
            None => line("equal       every tick of every run to its replay, byte for byte"),
        }
    }

    fn json(&self) -> Value {
        let (ticks, steps) = (self.ticks * self.runs, self.steps * self.runs);
        let seconds = self.wall.as_secs_f64();
        let all: Vec<f64> = self.recoveries.iter().map(|recovery| recovery.ms).collect();
        let summaries = |times: BTreeMap<String, Vec<f64>>| -> BTreeMap<String, Value> {
            let summary = |(what, times): (String, Vec<f64>)| (what, times_json(&times));
            times.into_iter().map(summary).collect()
        };
        let mut json = json!({
            "ticks": ticks,
            "agents": self.header.agents.len(),
            "steps": steps,
            "inferences": self.inferences * self.runs,
            "chain": self.chain,
            "reference_chain": self.reference_chain,
            "wall_s": seconds,
            "ticks_per_s": rate(ticks, seconds),
            "steps_per_s": rate(steps, seconds),
            "engine": self.header.engine.as_ref().map(|engine| &engine.name),
            "provider": self.header.models.first().map(|model| &model.provider),
            "restarts": self.restarts(),
            "runs": self.runs,
            "supervisors": self.supervisors,
            "unexplained_failures": self.unexplained,
            "verdicts": self.verdicts.iter().map(|(tick, text)| json!({ "tick": tick.0, "text": text })).collect::<Vec<_>>(),
            "run_dir": self.run_dir.to_string_lossy(),
            "diverged": self.divergence.is_some(),
            "findings": self.findings,
            "stopped": self.is_stopped,
            "recovery_ms": times_json(&all),
            "recovery_ms_by_role": summaries(self.by_role()),
            "recovery_ms_by_kind": summaries(self.by_kind()),
        });
        if let (Value::Object(json), Value::Object(matrix)) = (&mut json, self.matrix.json()) {
            json.extend(matrix);
        }
        json
    }
}

fn times_json(times: &[f64]) -> Value {
    let [median, high, max] = quantiles(times);
    json!({ "p50": median, "p99": high, "max": max, "count": times.len() })
}

fn quantiles(times: &[f64]) -> [f64; 3] {
    [0.5, 0.99, 1.0].map(|part| quantile(times, part))
}

/// The quantile of some values; zero without any.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a position in a list of at most some thousand"
)]
fn quantile(times: &[f64], part: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = (sorted.len() as f64 * part).ceil() as usize;
    sorted
        .get(position.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp, reason = "values are chosen and not computed")]
    fn quantiles_are_values_that_were_there() {
        let times: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(quantiles(&times), [100.0, 198.0, 200.0]);
        assert_eq!(quantiles(&[7.0]), [7.0; 3]);
        assert_eq!(quantiles(&[]), [0.0; 3]);
    }
}
