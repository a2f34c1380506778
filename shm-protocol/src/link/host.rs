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

/// Time for which a host spins for space in its ring. The supervisor is usually reading the ring already.
const SPACE_SPIN: Duration = Duration::from_micros(20);

/// Time for which a host sleeps for space before it polls again. No wake-up is ever lost; this covers a supervisor that
/// was stopped in between, at no cost.
const SPACE_SLEEP: Duration = Duration::from_millis(100);

/// The times for which a host spins and sleeps when it waits for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitPolicy {
    /// Time for which it polls before it sleeps. On an idle machine a sleeper takes tens of microseconds to wake, a
    /// spinner a tenth of one.
    pub spin: Duration,
    /// Total time for which it waits.
    pub timeout: Duration,
}

impl WaitPolicy {
    /// The policy of hosts that wait for work. A hand-over to a spinning reader takes a tenth of a microsecond, waking
    /// a sleeping one tens of them. A host therefore spins for as long as the other kind of host works in a tick of
    /// some hundred agents, and yields its core between polls. The timeout bounds the delay until the end of a run is
    /// noticed.
    pub const HOST: WaitPolicy = WaitPolicy {
        spin: Duration::from_micros(500),
        timeout: Duration::from_millis(20),
    };
}

/// The result of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitResult {
    /// There is a record.
    Ready,
    /// There is none, and the timeout has passed.
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
    /// Attaches to the memory that the supervisor created for this incarnation.
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
        // Optional: without the mark, the death of the host is noticed a little later.
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
        reason = "the duration of a wait affects only when the caller polls other sources"
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

    /// Waits until a record of this length fits, without a timeout: a host has nothing to do without its supervisor,
    /// and ends with it.
    ///
    /// # Errors
    /// When it can never fit.
    pub fn wait_for_space(&mut self, payload_bytes: usize) -> Result<(), PushError> {
        // The supervisor may have to take records first that are staged, or published without a wake-up.
        self.up.publish();
        self.up.notify();
        let mut spinner = Spinner::new(SPACE_SPIN);
        while !self.up.has_space_for(payload_bytes)? {
            if !spinner.spin() {
                let HostLink {
                    up, peer, sleeper, ..
                } = self;
                // A violation ends the sleep as well, and the next iteration returns it.
                sleeper.sleep(peer, FOR_SPACE, SPACE_SLEEP, || {
                    !matches!(up.has_space_for(payload_bytes), Ok(false))
                });
            }
        }
        Ok(())
    }
}
