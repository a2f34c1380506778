//! Whether and when a lost host comes back.
//!
//! Time decides only when a host is started, and whether it is given up. Giving
//! up is a verdict, which is journaled as an input, so a replay takes the same turn.

use super::limits::{Counted, Limits};
use crate::planted::{Bug, planted};
use shm_protocol::id::{HostId, Tick};
use std::collections::BTreeMap;
use std::time::Duration;

/// First pause before a host is started again, from the second loss within the limit's time on. It doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A host that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Which.
    pub host: HostId,
    /// The open tick.
    pub tick: Tick,
    /// Whether it worked on the open tick, so that the tick may have killed it.
    pub was_at_work: bool,
    /// Whether it counts. What was injected on purpose does not, unless the plan says so.
    pub counts: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It comes back.
    Restart {
        /// After this pause.
        after: Duration,
        /// One step at a time in the open tick, so that the next loss tells whose step it was.
        carefully: bool,
    },
    /// The open tick has killed it too often: whoever's step it was is given up, and it comes back.
    Poison {
        /// How often.
        losses: u32,
    },
    /// It was lost too often, whatever it did: it is given up with everything it does.
    GiveUp {
        /// How often.
        losses: u32,
    },
    /// Too many hosts were lost: the run stops.
    Stop {
        /// How many.
        losses: u32,
    },
}

/// Counts losses and decides.
#[derive(Clone, Debug)]
pub struct Policy {
    limits: Limits,
    hosts: BTreeMap<HostId, Counted>,
    run: Counted,
    /// How often each host was lost at work on one tick.
    tries: BTreeMap<HostId, (Tick, u32)>,
}

impl Policy {
    /// A policy that has seen nothing yet.
    #[must_use]
    pub fn new(limits: Limits) -> Policy {
        Policy {
            limits,
            hosts: BTreeMap::new(),
            run: Counted::default(),
            tries: BTreeMap::new(),
        }
    }

    /// Decides about a loss. `now` counts from any moment.
    pub fn decide(&mut self, loss: &Loss, now: Duration) -> Decision {
        if !loss.counts && !planted(Bug::CountInjected) {
            return Decision::Restart {
                after: Duration::ZERO,
                carefully: false,
            };
        }
        let losses = self.tried(loss);
        if losses >= self.limits.poison {
            // What comes after the agent is gone is another matter.
            self.tries.remove(&loss.host);
            self.hosts.remove(&loss.host);
            return Decision::Poison { losses };
        }
        let of_host = self
            .hosts
            .entry(loss.host)
            .or_default()
            .count(&self.limits.host, now);
        if of_host > self.limits.host.restarts {
            return Decision::GiveUp { losses: of_host };
        }
        let of_run = self.run.count(&self.limits.run, now);
        if of_run > self.limits.run.restarts {
            return Decision::Stop { losses: of_run };
        }
        Decision::Restart {
            after: pause(of_host),
            carefully: losses > 0,
        }
    }

    /// Losses of this host at work on this tick, this one included.
    fn tried(&mut self, loss: &Loss) -> u32 {
        let (tick, tries) = self.tries.entry(loss.host).or_insert((loss.tick, 0));
        if *tick != loss.tick {
            (*tick, *tries) = (loss.tick, 0);
        }
        *tries += u32::from(loss.was_at_work);
        *tries
    }
}

/// No pause after the first loss: most are the only one.
fn pause(losses: u32) -> Duration {
    match losses.checked_sub(2) {
        None => Duration::ZERO,
        Some(doublings) => {
            (FIRST_PAUSE * 2_u32.saturating_pow(doublings.min(16))).min(LONGEST_PAUSE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Within;
    use super::*;

    fn within(restarts: u32, seconds: u64) -> Within {
        Within {
            restarts,
            time: Duration::from_secs(seconds),
        }
    }

    fn policy() -> Policy {
        Policy::new(Limits {
            host: within(5, 30),
            run: within(20, 60),
            poison: 3,
        })
    }

    fn loss(host: u32, tick: u64) -> Loss {
        Loss {
            host: HostId(host),
            tick: Tick(tick),
            was_at_work: true,
            counts: true,
        }
    }

    fn restart(milliseconds: u64, carefully: bool) -> Decision {
        Decision::Restart {
            after: Duration::from_millis(milliseconds),
            carefully,
        }
    }

    #[test]
    fn the_third_loss_in_one_tick_is_poison_and_the_next_tick_begins_anew() {
        let mut policy = policy();
        let mut decide = |tick| policy.decide(&loss(0, tick), Duration::ZERO);
        assert_eq!(decide(7), restart(0, true));
        assert_eq!(decide(7), restart(10, true));
        assert_eq!(decide(7), Decision::Poison { losses: 3 });
        assert_eq!(decide(7), restart(0, true));
        assert_eq!(decide(8), restart(10, true));
    }

    #[test]
    fn a_host_that_never_gets_to_work_is_given_up_after_longer_and_longer_pauses() {
        let mut policy = policy();
        let idle = Loss {
            was_at_work: false,
            ..loss(0, 1)
        };
        let decisions: Vec<Decision> = (0..6)
            .map(|_| policy.decide(&idle, Duration::ZERO))
            .collect();
        let pauses = [0, 10, 20, 40, 80].map(|pause| restart(pause, false));
        assert_eq!(decisions[..5], pauses);
        assert_eq!(decisions[5], Decision::GiveUp { losses: 6 });
    }

    #[test]
    fn many_hosts_together_stop_the_run_and_rare_losses_never_do() {
        let mut policy = policy();
        let mut last = None;
        for number in 0..21 {
            last = Some(policy.decide(&loss(number, u64::from(number)), Duration::ZERO));
        }
        assert_eq!(last, Some(Decision::Stop { losses: 21 }));
        let mut policy = self::policy();
        for number in 0..1000 {
            let now = Duration::from_secs(7 * number);
            assert!(matches!(
                policy.decide(&loss(0, number), now),
                Decision::Restart { .. }
            ));
        }
    }

    #[test]
    fn what_does_not_count_is_never_held_against_a_host() {
        let mut policy = policy();
        let injected = Loss {
            counts: false,
            ..loss(0, 1)
        };
        for _ in 0..100 {
            assert_eq!(policy.decide(&injected, Duration::ZERO), restart(0, false));
        }
    }
}
