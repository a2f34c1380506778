//! A host's end of a link.

use super::error::LinkError;
use super::segment::{self, Direction};
use super::spin::Spinner;
use super::supervisor::{down_terms, event, up_terms};
use crate::id::Incarnation;
use crate::ring::layout::{FOR_RECORDS, FOR_SPACE};
use crate::ring::{PushError, RecordHeader, SharedConsumer, SharedProducer, Sleeper};
use crate::sys::{SharedMemory, life};
use crate::{fault, progress};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long a host spins for space in its ring: the supervisor is most often already at it.
const SPACE_SPIN: Duration = Duration::from_micros(20);

/// How long a host sleeps for space before it looks again by itself. No wake-up is ever lost; this is for a
/// supervisor that was stopped in between, and costs nothing.
const SPACE_SLEEP: Duration = Duration::from_millis(100);

/// How a host waits for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitPolicy {
    /// How long it looks again and again before it sleeps. A sleeper takes tens of microseconds to wake on a machine
    /// that is idle, a spinner a tenth of one.
    pub spin: Duration,
    /// How long it waits in all.
    pub timeout: Duration,
}

impl WaitPolicy {
    /// How hosts wait for work. A hand-over to a spinning reader takes a tenth of a microsecond, waking a sleeping one
    /// tens of them. So a host spins for as long as the other kind of host works in a tick of some hundred agents, and
    /// offers its core to others all the while. The timeout bounds how long the end of a run stays unseen.
    pub const HOST: WaitPolicy = WaitPolicy {
        spin: Duration::from_micros(500),
        timeout: Duration::from_millis(20),
    };
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitResult {
    /// There is a record.
    Ready,
    /// There is none, and the time is over.
    TimedOut,
}

/// A host's end of a link.
#[derive(Debug)]
pub struct HostLink {
    /// Records from the supervisor.
    pub down: SharedConsumer,
    /// Records for the supervisor.
    pub up: SharedProducer,
    /// The segment whose doorbell the supervisor rings.
    peer: SharedMemory,
    sleeper: Sleeper<SharedMemory>,
}

impl HostLink {
    /// Attaches to the memory that the supervisor made for this incarnation.
    ///
    /// # Errors
    /// When seals, size or identity are not those of a link of this incarnation, or the system lacks memory.
    pub fn attach(
        down: OwnedFd,
        up: OwnedFd,
        bell: OwnedFd,
        incarnation: Incarnation,
    ) -> Result<HostLink, LinkError> {
        let (down, down_bytes) = segment::attach(Direction::Down, &down, incarnation)?;
        let (up, up_bytes) = segment::attach(Direction::Up, &up, incarnation)?;
        let bell = event(bell);
        // A host whose death is noticed a little later is no worse a host.
        let _ = life::mark_at_death(&up);
        progress::attach(&up);
        let may_fault = fault::attach(&down, &up, &bell);
        let mut link = HostLink {
            down: SharedConsumer::new(
                down.clone(),
                up.clone(),
                bell.clone(),
                down_terms(down_bytes, incarnation),
            ),
            up: SharedProducer::new(
                up.clone(),
                down.clone(),
                bell,
                up_terms(up_bytes, incarnation),
            ),
            peer: down,
            sleeper: Sleeper::new(up),
        };
        if may_fault {
            link.up.pass_points();
        }
        Ok(link)
    }

    /// Waits until there is a record down: spins first, then sleeps.
    pub fn wait(&mut self, policy: &WaitPolicy) -> WaitResult {
        let mut spinner = Spinner::new(policy.spin.min(policy.timeout));
        while self.down.is_empty() {
            if !spinner.spin() {
                return self.sleep(policy.timeout.saturating_sub(policy.spin));
            }
        }
        WaitResult::Ready
    }

    #[cold]
    #[allow(
        clippy::disallowed_methods,
        reason = "how long a wait lasts decides nothing but when the caller looks elsewhere"
    )]
    fn sleep(&mut self, timeout: Duration) -> WaitResult {
        let HostLink {
            down,
            peer,
            sleeper,
            ..
        } = self;
        let started = Instant::now();
        loop {
            let left = timeout.saturating_sub(started.elapsed());
            sleeper.sleep(peer, FOR_RECORDS, left, || !down.is_empty());
            if !down.is_empty() {
                return WaitResult::Ready;
            }
            if started.elapsed() >= timeout {
                return WaitResult::TimedOut;
            }
        }
    }

    /// Pushes a record and wakes the supervisor, after waiting for space if there is none.
    ///
    /// # Errors
    /// When the payload can never fit or is not as long as the tensor.
    pub fn push(&mut self, header: &RecordHeader, payload: &[u8]) -> Result<(), PushError> {
        while !self.up.try_push(header, payload)? {
            self.wait_for_space(payload.len())?;
        }
        self.up.notify();
        Ok(())
    }

    /// Waits until a record of this length fits, however long that takes: a host has nothing to do without its
    /// supervisor, and ends with it.
    ///
    /// # Errors
    /// When it can never fit.
    pub fn wait_for_space(&mut self, payload_bytes: usize) -> Result<(), PushError> {
        // What is staged or published without a ring may be the very thing that the supervisor must take first.
        self.up.publish();
        self.up.notify();
        let mut spinner = Spinner::new(SPACE_SPIN);
        while !self.up.has_space_for(payload_bytes)? {
            if !spinner.spin() {
                let HostLink {
                    up, peer, sleeper, ..
                } = self;
                // A violation is there to be seen as well: the next turn returns it.
                sleeper.sleep(peer, FOR_SPACE, SPACE_SLEEP, || {
                    !matches!(up.has_space_for(payload_bytes), Ok(false))
                });
            }
        }
        Ok(())
    }
}
