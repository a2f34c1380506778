//! A run whose host is killed once, and when the run has heard of it, has it
//! back, and ticks again.
//!
//! One kill in a run: a host that is lost again soon after is started after a
//! pause, which is not what is measured.

use crate::clock::{now, rest};
use crate::live::Live;
use crate::{Trouble, processes};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shm_protocol::id::Tick;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use supervisor::faults::FaultPlan;
use supervisor::fleet::Fleet;
use supervisor::observer::Observer;
use supervisor::record::TickRecord;
use supervisor::rundir::RunEvent;

/// Ticks that a run has left, so that it is not over when the kill comes. Until then it goes on as fast as it can.
const LEFT: u64 = 3000;

/// How a host is killed.
#[derive(Clone, Copy, Debug)]
pub struct Blow {
    /// The role of the host.
    pub role: &'static str,
    /// The last tick that is committed before.
    pub tick: u64,
    /// How long after it. Meanwhile the run goes on.
    pub delay: Duration,
    /// How long the supervisor rests after each tick before that one.
    pub pace: Duration,
    /// Whether ticks are long, so that few are left at the end.
    pub is_slow: bool,
}

/// Times since the kill, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Recovery {
    /// Until the supervisor has heard of it.
    pub noticed: f64,
    /// Until the new host was where the old one had been.
    pub restored: f64,
    /// Until the next tick was committed.
    pub ticking: f64,
    /// Ticks that were executed again.
    pub redone: u64,
}

/// Runs a fleet, kills a host of it and sees it come back. None if the run was over before the kill came.
///
/// # Errors
/// When the run does not end well.
pub fn strike(live: &Live, fleet: &Fleet, blow: Blow) -> Result<Option<Recovery>, Trouble> {
    let mut fleet = fleet.clone();
    fleet.ticks = Some(blow.tick + if blow.is_slow { 4 } else { LEFT });
    let mut struck = Struck {
        blow,
        killer: None,
        lost: None,
        restored: None,
        redone: 0,
        ticking: None,
    };
    live.run(&fleet, FaultPlan::default(), &mut struck)?;
    let killer = struck
        .killer
        .ok_or("a run ended before its host was to be killed")?;
    let killed = killer
        .join()
        .map_err(|_| "the thread that kills panicked")??;
    let since = |moment: Instant| moment.duration_since(killed).as_secs_f64();
    let (Some(lost), Some(restored), Some(ticking)) =
        (struck.lost, struck.restored, struck.ticking)
    else {
        return Ok(None);
    };
    Ok(Some(Recovery {
        noticed: since(lost),
        restored: since(restored),
        ticking: since(ticking),
        redone: struck.redone,
    }))
}

struct Struck {
    blow: Blow,
    killer: Option<JoinHandle<Result<Instant, String>>>,
    lost: Option<Instant>,
    restored: Option<Instant>,
    redone: u64,
    ticking: Option<Instant>,
}

impl Observer for Struck {
    fn committed(&mut self, tick: Tick, _record: &TickRecord) {
        if self.killer.is_some() {
            if self.restored.is_some() {
                self.ticking.get_or_insert_with(now);
            }
        } else if tick.0 == self.blow.tick {
            let blow = self.blow;
            // Whom to kill is looked up before, because that takes longer than some of the delays.
            let found = processes::serving(blow.role).map_err(|error| error.to_string());
            self.killer = Some(std::thread::spawn(move || {
                let pid = i32::try_from(found?).map_err(|error| error.to_string())?;
                rest(blow.delay);
                let killed = now();
                kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(|error| error.to_string())?;
                Ok(killed)
            }));
        } else if !self.blow.pace.is_zero() {
            rest(self.blow.pace);
        }
    }

    fn event(&mut self, event: &RunEvent) {
        match event {
            RunEvent::HostLost { .. } => {
                self.lost.get_or_insert_with(now);
            }
            RunEvent::HostRestarted { reexecuted, .. } => {
                self.restored.get_or_insert_with(now);
                self.redone = *reexecuted;
            }
            _ => {}
        }
    }
}
