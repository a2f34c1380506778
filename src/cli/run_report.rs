//! The report of a run that ended in good order, for `run`, `demo` and `resume`.

use super::error::{CliError, ExitStatus};
use super::output::{RunFigures, line};
use super::progress::LiveView;
use serde_json::Value;
use supervisor::session::RunReport;
use supervisor::tick::RunEnd;

/// The exit status of a run that ended in good order.
///
/// # Errors
/// When agents have failed for good, and that is to be an error.
pub(super) fn exit_status(
    summary: &RunReport,
    fails_with_agents: bool,
) -> Result<ExitStatus, CliError> {
    if !fails_with_agents || summary.halted.is_empty() {
        return Ok(ExitStatus::Success);
    }
    let names = summary.halted.iter();
    let names: Vec<&str> = names
        .map(|agent| summary.header.agent_name(*agent))
        .collect();
    Err(CliError::negative(format!(
        "agents that failed for good: {}; `lockstep inspect {} --agent {}` shows the steps of one",
        names.join(", "),
        summary.run_dir.display(),
        names[0]
    )))
}

/// Reports a run that ended in good order.
pub(super) fn report(
    summary: &RunReport,
    view: Option<&dyn LiveView>,
    as_json: bool,
) -> Result<(), CliError> {
    let figures = RunFigures {
        header: &summary.header,
        providers: &summary.providers,
        ticks: summary.ticks,
        ticks_here: summary.ticks_here,
        steps: summary.steps,
        inferences: summary.inferences,
        models_ran: true,
        chain: &summary.chain,
        restarts: summary.restarts,
        verdicts: &summary.verdicts,
        wall_s: summary.wall.as_secs_f64(),
        run_dir: &summary.run_dir,
    };
    let (end, verb) = match &summary.end {
        RunEnd::Finished => ("finished", "ran"),
        RunEnd::Stopped => ("stopped", "stopped after"),
        RunEnd::AllHalted => ("all_halted", "all agents have halted after"),
        RunEnd::AgentFinished { .. } => ("agent_finished", "finished by an agent after"),
        RunEnd::Mismatch { .. } => ("mismatch", "failed after"),
    };
    if summary.pace.late > 0 {
        tracing::warn!(
            "the pace was not kept: {} of {} ticks opened more than a period late, the latest by {:.1} ms",
            summary.pace.late,
            summary.ticks_here,
            summary.pace.worst.as_secs_f64() * 1e3
        );
    }
    figures.lines(verb).into_iter().try_for_each(line)?;
    let finish = match &summary.end {
        RunEnd::AgentFinished { agent, reason } => {
            Some((summary.header.agent_name(*agent), reason))
        }
        _ => None,
    };
    if let Some((agent, reason)) = finish {
        line(format!("finished by {agent}: {}", reason.escape_debug()))?;
    }
    if let Some(closing) = view.and_then(LiveView::closing_line) {
        line(closing)?;
    }
    if as_json {
        let mut json = figures.json();
        json["end"] = Value::from(end);
        json["late_ticks"] = Value::from(summary.pace.late);
        let halted = summary.halted.iter();
        json["halted_agents"] = halted
            .map(|agent| summary.header.agent_name(*agent))
            .collect();
        if let Some((agent, reason)) = finish {
            json["finished_by"] = Value::from(agent);
            json["finish_reason"] = Value::from(reason.as_str());
        }
        json["first_tick_s"] = summary
            .until_first_tick
            .map(|until| until.as_secs_f64())
            .into();
        line(json)?;
    }
    Ok(())
}
