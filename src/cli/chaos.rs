//! `lockstep chaos`: a fleet with faults, compared with the same fleet without.
//!
//! * `campaign`: the reference, the runs with faults, and what is found;
//! * `life`: one run from its launch over every resume to its end;
//! * `child`: one process of this binary, watched until it ends;
//! * `vigil`: whether it goes on, and whether what it holds grows;
//! * `left`: what it must not leave behind;
//! * `history`: what it has written down, and how long recoveries took;
//! * `shrink`: the fewest rules of a plan that still show a difference;
//! * `report`: what was done and what came of it;
//! * `matrix`: which faults were injected where;
//! * `phases`: the points at which faults can be injected.

mod campaign;
mod child;
mod history;
mod left;
mod life;
mod matrix;
mod phases;
mod report;
mod shrink;
mod vigil;

use super::arguments::Chaos;
use super::edge::{Done, Trouble};
use super::{builtin, demo};
use campaign::Campaign;
use std::path::Path;
use supervisor::fleet::Fleet;
use supervisor::host::StopSignals;

/// Runs a fleet with faults and compares it with the fault-free run.
pub(super) fn chaos(command: &Chaos) -> Result<Done, Trouble> {
    if command.phases {
        return phases::list().map(|()| Done::Fine);
    }
    let Some(name) = &command.fleet else {
        return Err(Trouble::input(
            "say which fleet: a fleet file, or `demo` for the embedded one",
        ));
    };
    let fleet = match name.as_str() {
        "demo" => demo::fleet(demo::POLES_OF_CHAOS)?,
        path => Fleet::read_knowing(Path::new(path), &builtin::names())?,
    };
    let stop = StopSignals::install()
        .map_err(|error| Trouble::system(format!("signals cannot be taken over: {error}")))?;
    match Campaign::new(command, name, fleet, &stop)?.perform() {
        Err(trouble) => Err(trouble.told(command.json)?),
        Ok(report) => report.tell(command.json),
    }
}
