//! Decides whether and when a lost host is restarted.
//!
//! Time decides when a host is started again and when a run stops, and nothing else: slowness never makes a verdict.
//! Only a crash that repeats does, and a verdict is journaled as an input, so a replay takes the same turn.

use super::limits::{RecoveryLimits, SlidingWindow};
use crate::planted::{Bug, planted};
use shm_protocol::id::{HostId, Tick};
use std::collections::BTreeMap;
use std::time::Duration;

/// First pause before a host is started again, from the second loss within the limit's time on. It doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Limit of the pause.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Times that a host may miss its deadline in one tick. Each time it gets twice as long.
const MISSES_PER_TICK: u32 = 3;

/// The way in which a host was lost, as far as a decision depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// It crashed or broke the protocol. If that repeats, the step or request it worked on is at fault.
    Crash,
    /// It missed a deadline.
    Slow,
    /// It was killed from outside, or the cause is unknown.
    Outside,
}

/// The work of a host that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostWork {
    /// None that could have crashed it.
    Idle,
    /// Steps of the open tick.
    Steps,
    /// A batch.
    Batch,
}

/// A host that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLoss {
    /// The host.
    pub host: HostId,
    /// The open tick.
    pub tick: Tick,
    /// The way in which it was lost.
    pub cause: LossCause,
    /// Its work.
    pub work: HostWork,
    /// True if it counts against the limits. An injected fault does not, unless the plan says so.
    pub counts: bool,
}

/// The decision on a lost host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryDecision {
    /// The host is restarted.
    Restart {
        /// After this pause.
        after: Duration,
        /// One step at a time in the open tick, so that the next loss tells whose step it was.
        one_step_at_a_time: bool,
    },
    /// The open tick has crashed it too often: the agent whose step it was is quarantined, and the host is restarted.
    Quarantine {
        /// The number of crashes.
        crashes: u32,
    },
    /// The run stops, and can be resumed.
    Stop(StopReason),
}

/// The limit at which a run stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// One host was lost too often.
    Host {
        /// Losses within the limit's time.
        losses: u32,
    },
    /// Hosts were lost too often.
    Run {
        /// Losses within the limit's time.
        losses: u32,
    },
    /// One host has missed its deadline too often in one tick.
    Deadline {
        /// The number of crashes.
        misses: u32,
    },
}

/// Counts losses and decides.
#[derive(Clone, Debug)]
pub struct RestartPolicy {
    limits: RecoveryLimits,
    hosts: BTreeMap<HostId, SlidingWindow>,
    run: SlidingWindow,
    /// Crashes of each host at its steps of one tick.
    crashes: BTreeMap<HostId, (Tick, u32)>,
    /// Deadlines that each host has missed in one tick.
    misses: BTreeMap<HostId, (Tick, u32)>,
}

impl RestartPolicy {
    /// A policy before the first loss.
    #[must_use]
    pub fn new(limits: RecoveryLimits) -> RestartPolicy {
        RestartPolicy {
            limits,
            hosts: BTreeMap::new(),
            run: SlidingWindow::default(),
            crashes: BTreeMap::new(),
            misses: BTreeMap::new(),
        }
    }

    /// Decides about a loss. `now` counts from any moment.
    pub fn decide(&mut self, loss: &HostLoss, now: Duration) -> RecoveryDecision {
        if !loss.counts && !planted(Bug::CountInjected) {
            return RecoveryDecision::Restart {
                after: Duration::ZERO,
                one_step_at_a_time: false,
            };
        }
        let is_crash = loss.cause == LossCause::Crash
            || loss.cause == LossCause::Slow && planted(Bug::SlownessIsGuilt);
        let at_steps = is_crash && loss.work == HostWork::Steps;
        let crashes = count_in_tick(&mut self.crashes, loss, at_steps);
        if crashes >= self.limits.quarantine_after {
            // Crashes after the quarantine of the agent count anew.
            self.crashes.remove(&loss.host);
            return RecoveryDecision::Quarantine { crashes };
        }
        let misses = count_in_tick(&mut self.misses, loss, loss.cause == LossCause::Slow);
        if misses >= MISSES_PER_TICK {
            return RecoveryDecision::Stop(StopReason::Deadline { misses });
        }
        let carefully = crashes > 0;
        // A search begins, which ends by itself. Its losses are counted once the batch is answered or abandoned.
        if is_crash && loss.work == HostWork::Batch {
            return RecoveryDecision::Restart {
                after: Duration::ZERO,
                one_step_at_a_time: carefully,
            };
        }
        match self.count(loss.host, now) {
            Err(stop) => RecoveryDecision::Stop(stop),
            Ok(of_host) => RecoveryDecision::Restart {
                after: pause(of_host),
                one_step_at_a_time: carefully,
            },
        }
    }

    /// Counts a loss of a host against the limits, and gives how many it has had within the limit's time.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn count(&mut self, host: HostId, now: Duration) -> Result<u32, StopReason> {
        let of_host = self.hosts.entry(host).or_default();
        let of_host = of_host.count(&self.limits.host, now);
        if of_host > self.limits.host.restarts {
            return Err(StopReason::Host { losses: of_host });
        }
        let of_run = self.run.count(&self.limits.run, now);
        if of_run > self.limits.run.restarts {
            return Err(StopReason::Run { losses: of_run });
        }
        Ok(of_host)
    }

    /// Forgets the last losses of a host, whose cause a verdict has found.
    pub fn forget_losses(&mut self, host: HostId, losses: u32) {
        let of_host = self.hosts.entry(host).or_default();
        of_host.forget_last(losses);
        self.run.forget_last(losses);
    }
}

/// Counts a loss within its tick if it is one that counts there, and gives how many there were.
fn count_in_tick(
    counts: &mut BTreeMap<HostId, (Tick, u32)>,
    loss: &HostLoss,
    counts_there: bool,
) -> u32 {
    let (tick, count) = counts.entry(loss.host).or_insert((loss.tick, 0));
    if *tick != loss.tick {
        (*tick, *count) = (loss.tick, 0);
    }
    *count += u32::from(counts_there);
    *count
}

/// No pause after the first loss: most are the only one.
fn pause(losses: u32) -> Duration {
    match losses.checked_sub(2) {
        None => Duration::ZERO,
        Some(doublings) => (FIRST_PAUSE * 2_u32.saturating_pow(doublings.min(16))).min(MAX_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::super::RestartLimit;
    use super::*;

    fn within(restarts: u32, seconds: u64) -> RestartLimit {
        RestartLimit {
            restarts,
            window: Duration::from_secs(seconds),
        }
    }

    fn policy() -> RestartPolicy {
        RestartPolicy::new(RecoveryLimits {
            host: within(5, 30),
            run: within(20, 60),
            quarantine_after: 3,
        })
    }

    fn crash(host: u32, tick: u64) -> HostLoss {
        HostLoss {
            host: HostId(host),
            tick: Tick(tick),
            cause: LossCause::Crash,
            work: HostWork::Steps,
            counts: true,
        }
    }

    fn restart(milliseconds: u64, carefully: bool) -> RecoveryDecision {
        RecoveryDecision::Restart {
            after: Duration::from_millis(milliseconds),
            one_step_at_a_time: carefully,
        }
    }

    #[test]
    fn the_third_crash_in_one_tick_quarantines_and_the_count_resets() {
        let mut policy = policy();
        let mut decide = |tick| policy.decide(&crash(0, tick), Duration::ZERO);
        assert_eq!(decide(7), restart(0, true));
        assert_eq!(decide(7), restart(10, true));
        assert_eq!(decide(7), RecoveryDecision::Quarantine { crashes: 3 });
        policy.forget_losses(HostId(0), 2);
        let mut decide = |tick| policy.decide(&crash(0, tick), Duration::ZERO);
        assert_eq!(decide(7), restart(0, true));
        assert_eq!(decide(8), restart(10, true));
    }

    #[test]
    fn what_is_slow_or_killed_from_outside_is_never_poison() {
        for cause in [LossCause::Slow, LossCause::Outside] {
            let mut policy = policy();
            let loss = HostLoss {
                cause,
                ..crash(0, 7)
            };
            let decisions = (0..6).map(|_| policy.decide(&loss, Duration::ZERO));
            let last = decisions.last().expect("six");
            assert!(
                matches!(last, RecoveryDecision::Stop(_)),
                "{cause:?}: {last:?}"
            );
        }
    }

    #[test]
    fn three_missed_deadlines_in_one_tick_stop_the_run() {
        let mut policy = policy();
        let slow = |tick| HostLoss {
            cause: LossCause::Slow,
            ..crash(0, tick)
        };
        let far = |number: u64| Duration::from_secs(100 * number);
        assert_eq!(policy.decide(&slow(7), far(0)), restart(0, false));
        assert_eq!(policy.decide(&slow(7), far(1)), restart(0, false));
        assert_eq!(policy.decide(&slow(8), far(2)), restart(0, false));
        assert_eq!(policy.decide(&slow(8), far(3)), restart(0, false));
        let stop = RecoveryDecision::Stop(StopReason::Deadline { misses: 3 });
        assert_eq!(policy.decide(&slow(8), far(4)), stop);
    }

    #[test]
    fn a_search_for_a_request_never_reaches_the_limits() {
        let mut policy = policy();
        let loss = HostLoss {
            work: HostWork::Batch,
            ..crash(0, 7)
        };
        for _ in 0..100 {
            assert_eq!(policy.decide(&loss, Duration::ZERO), restart(0, false));
        }
    }

    #[test]
    fn a_host_that_never_starts_stops_the_run_after_backoff() {
        let mut policy = policy();
        let idle = HostLoss {
            work: HostWork::Idle,
            ..crash(0, 1)
        };
        let decisions: Vec<RecoveryDecision> = (0..6)
            .map(|_| policy.decide(&idle, Duration::ZERO))
            .collect();
        let pauses = [0, 10, 20, 40, 80].map(|pause| restart(pause, false));
        assert_eq!(decisions[..5], pauses);
        assert_eq!(
            decisions[5],
            RecoveryDecision::Stop(StopReason::Host { losses: 6 })
        );
    }

    #[test]
    fn many_hosts_together_stop_the_run_and_rare_losses_never_do() {
        let mut policy = policy();
        let mut last = None;
        for number in 0..21 {
            last = Some(policy.decide(&crash(number, u64::from(number)), Duration::ZERO));
        }
        assert_eq!(
            last,
            Some(RecoveryDecision::Stop(StopReason::Run { losses: 21 }))
        );
        let mut policy = self::policy();
        for number in 0..1000 {
            let now = Duration::from_secs(7 * number);
            assert!(matches!(
                policy.decide(&crash(0, number), now),
                RecoveryDecision::Restart { .. }
            ));
        }
    }

    #[test]
    fn what_does_not_count_is_never_held_against_a_host() {
        let mut policy = policy();
        let injected = HostLoss {
            counts: false,
            ..crash(0, 1)
        };
        for _ in 0..100 {
            assert_eq!(policy.decide(&injected, Duration::ZERO), restart(0, false));
        }
    }
}
