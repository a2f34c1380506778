//! A host does something, and what it says of it is on its way, unless that goes wrong.

use super::SimHosts;
use super::incarnation::{CRASHED, KILLED, SimHostEvent};
use crate::simulation::host_faults;
use crate::simulation::host_faults::HostFault;
use crate::simulation::reply::{Done, Ends, Reply};
use shm_protocol::id::{AgentId, HostId, Tick};
use std::time::Duration;

impl SimHosts<'_> {
    /// A host has done something, which may go wrong; what it published is on its way.
    pub(super) fn done(&mut self, host: HostId, done: Done) {
        let Done { mut replies, ends } = done;
        self.seen.actions += 1;
        let mut kept = replies.len();
        let mut ending = (ends == Ends::Crashed).then_some(SimHostEvent::Exited(CRASHED));
        let dies = ends != Ends::No;
        let mut slowness = Duration::ZERO;
        let is_doomed = self.life(host).is_doomed;
        if self.misremembers
            && !is_doomed
            && host_faults::misremember(&self.answered, &self.waited, &mut replies)
        {
            self.misremembers = false;
            self.life(host).is_suspect = true;
        }
        let mut dooms = false;
        if !is_doomed && self.host_faults.strikes() {
            let mut random = self.host_faults.random.clone();
            let host_fault = HostFault::choose(&mut random, &replies);
            let is_new = |agent: AgentId, tick: Tick| {
                self.answered
                    .get(&agent)
                    .is_none_or(|answered| tick > *answered)
            };
            *self.seen.host_faults.entry(host_fault).or_default() += 1;
            let what = replies
                .first()
                .map(|reply| (reply.header.kind, reply.header.tick));
            self.seen.story.push(format!(
                "{:?}: {host} {host_fault:?} while it answers {what:?}",
                self.now
            ));
            dooms = true;
            match host_fault {
                HostFault::Dies | HostFault::DiesAndIsNotStarted | HostFault::AllDie => {
                    kept = random.index(replies.len() + 1);
                    ending = Some(SimHostEvent::Exited(KILLED));
                }
                HostFault::DiesLater => {
                    let later = Duration::from_micros(random.below(20_000));
                    let at = self.now + later;
                    self.life(host).dies_at = Some(at);
                    dooms = false;
                }
                HostFault::Hangs => kept = random.index(replies.len() + 1),
                HostFault::IsSlow => {
                    slowness = Duration::from_millis(self.fleet.launch.deadline_ms * 3 / 4);
                    dooms = false;
                }
                HostFault::WorksForLong => {
                    slowness = Duration::from_millis(self.fleet.launch.deadline_ms * 5);
                    self.life(host).reports_until = self.now + slowness;
                    dooms = false;
                }
                HostFault::Garbage => {
                    kept = random.index(replies.len() + 1);
                    ending = Some(SimHostEvent::InvalidRing);
                }
                HostFault::Undecodable => dooms = host_faults::spoil(&mut random, &mut replies),
                HostFault::Lies => {
                    dooms = host_faults::lie(self.fleet, &mut random, &mut replies, &is_new);
                    kept = replies.len();
                }
                HostFault::Fails => {
                    kept = random.index(replies.len() + 1);
                    replies.insert(kept, host_faults::failure());
                    kept += 1;
                    ending = Some(SimHostEvent::Exited(CRASHED));
                }
                HostFault::RefusesToLoad => dooms = host_faults::refuse(&mut replies),
                HostFault::SpoilsState => {
                    host_faults::spoil_state(&mut random, &mut replies);
                    kept = replies.len();
                    dooms = false;
                }
            }
            if host_fault == HostFault::DiesAndIsNotStarted {
                self.places[host.index()].refusals = random.within(1..=3);
            }
            self.host_faults.random = random;
            if host_fault == HostFault::AllDie {
                self.all_die(host);
            }
        }
        replies.truncate(kept);
        self.publish(host, replies, ending, slowness, dooms || dies);
    }

    /// Puts what a host says on its way.
    fn publish(
        &mut self,
        host: HostId,
        replies: Vec<Reply>,
        ending: Option<SimHostEvent>,
        slowness: Duration,
        dooms: bool,
    ) {
        let is_doomed = self.life(host).is_doomed;
        if is_doomed {
            return;
        }
        let mut at = self.now + slowness;
        if let Some((last, _)) = self.life(host).up.back() {
            at = at.max(*last);
        }
        let events = replies.into_iter().map(SimHostEvent::Record).chain(ending);
        for event in events {
            at += self.delay();
            self.life(host).up.push_back((at, event));
        }
        if self.random.chance(1, 50) {
            let pause = self.random.below(5_000);
            let full_until = self.now + Duration::from_micros(pause);
            self.life(host).full_until = full_until;
        }
        self.life(host).is_doomed |= dooms;
    }

    /// Every host but this one dies. What each has published is heard, or only the first part of it.
    fn all_die(&mut self, but: HostId) {
        for position in 0..self.places.len() {
            let kept = self.random.chance(1, 2);
            let now = self.now;
            let Some(life) = &mut self.places[position].life else {
                continue;
            };
            if position == but.index() || life.is_doomed {
                continue;
            }
            if !kept {
                life.up.retain(|(at, _)| *at <= now);
            }
            let last = life.up.back().map_or(now, |(at, _)| *at);
            life.up.push_back((last, SimHostEvent::Exited(KILLED)));
            life.is_doomed = true;
        }
    }

    fn delay(&mut self) -> Duration {
        let micros = match self.random.below(16) {
            0 => self.random.below(5_000),
            1 => 0,
            _ => self.random.below(200),
        };
        Duration::from_micros(micros)
    }
}
