//! A host does something, and what it says of it is on its way, unless that goes wrong.

use super::SimHosts;
use super::incarnation::{CRASHED, Happening, KILLED};
use crate::simulation::host_faults as mischief;
use crate::simulation::host_faults::Mischief;
use crate::simulation::reply::{Done, Ends, Reply};
use shm_protocol::id::{AgentId, HostId, Tick};
use std::time::Duration;

impl SimHosts<'_> {
    /// A host has done something, which may go wrong; what it published is on its way.
    pub(super) fn done(&mut self, host: HostId, done: Done) {
        let Done { mut replies, ends } = done;
        self.seen.deeds += 1;
        let mut kept = replies.len();
        let mut ending = (ends == Ends::Crashed).then_some(Happening::Exited(CRASHED));
        let dies = ends != Ends::No;
        let mut slowness = Duration::ZERO;
        let is_doomed = self.life(host).is_doomed;
        if self.misremembers
            && !is_doomed
            && mischief::misremember(&self.answered, &self.waited, &mut replies)
        {
            self.misremembers = false;
            self.life(host).is_suspect = true;
        }
        let mut dooms = false;
        if !is_doomed && self.mischiefs.strikes() {
            let mut random = self.mischiefs.random.clone();
            let mischief = Mischief::choose(&mut random, &replies);
            let is_new = |agent: AgentId, tick: Tick| {
                self.answered
                    .get(&agent)
                    .is_none_or(|answered| tick > *answered)
            };
            *self.seen.mischief.entry(mischief).or_default() += 1;
            let what = replies
                .first()
                .map(|reply| (reply.header.kind, reply.header.tick));
            self.seen.story.push(format!(
                "{:?}: {host} {mischief:?} while it answers {what:?}",
                self.now
            ));
            dooms = true;
            match mischief {
                Mischief::Dies | Mischief::DiesAndIsNotStarted | Mischief::AllDie => {
                    kept = random.position(replies.len() + 1);
                    ending = Some(Happening::Exited(KILLED));
                }
                Mischief::DiesLater => {
                    let later = Duration::from_micros(random.below(20_000));
                    let at = self.now + later;
                    self.life(host).dies_at = Some(at);
                    dooms = false;
                }
                Mischief::Hangs => kept = random.position(replies.len() + 1),
                Mischief::IsSlow => {
                    slowness = Duration::from_millis(self.fleet.launch.deadline_ms * 3 / 4);
                    dooms = false;
                }
                Mischief::WorksForLong => {
                    slowness = Duration::from_millis(self.fleet.launch.deadline_ms * 5);
                    self.life(host).reports_until = self.now + slowness;
                    dooms = false;
                }
                Mischief::Garbage => {
                    kept = random.position(replies.len() + 1);
                    ending = Some(Happening::Garbage);
                }
                Mischief::Undecodable => dooms = mischief::spoil(&mut random, &mut replies),
                Mischief::Lies => {
                    dooms = mischief::lie(self.fleet, &mut random, &mut replies, &is_new);
                    kept = replies.len();
                }
                Mischief::Fails => {
                    kept = random.position(replies.len() + 1);
                    replies.insert(kept, mischief::failure());
                    kept += 1;
                    ending = Some(Happening::Exited(CRASHED));
                }
                Mischief::RefusesToLoad => dooms = mischief::refuse(&mut replies),
                Mischief::SpoilsState => {
                    mischief::spoil_state(&mut random, &mut replies);
                    kept = replies.len();
                    dooms = false;
                }
            }
            if mischief == Mischief::DiesAndIsNotStarted {
                self.places[host.index()].refusals = random.within(1..=3);
            }
            self.mischiefs.random = random;
            if mischief == Mischief::AllDie {
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
        ending: Option<Happening>,
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
        let happenings = replies.into_iter().map(Happening::Record).chain(ending);
        for happening in happenings {
            at += self.delay();
            self.life(host).up.push_back((at, happening));
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
            life.up.push_back((last, Happening::Exited(KILLED)));
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
