//! The faults of a run: from its plan when it is launched, and from its run directory when it is resumed.

use crate::error::RunError;
use crate::faults::{FaultPlan, Faults, FiredFault, RuleId};
use crate::record::RunHeader;
use crate::rundir::{EventLog, RunDir, RunEvent};
use std::io;

/// The faults of a new run. Its plan is kept in its run directory.
pub(crate) fn begin(run_dir: &RunDir, plan: &FaultPlan) -> Result<Faults, RunError> {
    if plan.is_empty() {
        return Ok(Faults::none());
    }
    run_dir.put_faults(plan)?;
    faults(run_dir, plan.clone())
}

/// The faults of a resumed run: those of its plan that have not fired.
pub(crate) fn resume(run_dir: &RunDir, header: &RunHeader) -> Result<Faults, RunError> {
    let Some((path, text)) = run_dir.faults()? else {
        return Ok(Faults::none());
    };
    let agents: Vec<&str> = header.agents.iter().map(|pin| pin.name.as_str()).collect();
    let models: Vec<&str> = header.models.iter().map(|pin| pin.name.as_str()).collect();
    faults(run_dir, FaultPlan::parse_for(&text, &path, agents, models)?)
}

fn faults(run_dir: &RunDir, plan: FaultPlan) -> Result<Faults, RunError> {
    let fired = EventLog::read(run_dir)?
        .into_iter()
        .filter_map(|event| match event {
            RunEvent::FaultFired { rule, .. } => Some(RuleId(rule)),
            _ => None,
        });
    let fired: Vec<RuleId> = fired.collect();
    let (mut log, targets) = (EventLog::open(run_dir)?, plan.clone());
    let record = move |fired: &FiredFault| {
        let target = targets
            .rule(fired.rule)
            .map_or_else(String::new, |rule| rule.target.to_string());
        log.append(&RunEvent::FaultFired {
            rule: fired.rule.0,
            kind: fired.kind.name().to_owned(),
            point: fired.point.name().to_owned(),
            tick: fired.tick,
            target,
        })
        .map_err(io::Error::other)
    };
    Ok(Faults::new(plan, fired, Box::new(record)))
}
