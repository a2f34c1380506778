//! All hosts of a run, and the one place where the supervisor waits.
//!
//! Waiting is adaptive. A wake across cores costs tens of microseconds, a
//! hand-over to a spinning process a tenth of one, so the pool polls the rings
//! for a while before it sleeps over the bells, processes and standard errors of
//! the hosts and the stop signals.

use super::event::HostEvent;
use super::lifecycle::{Lifecycle, LifecycleEvent};
use super::poll_source::PollSource;
use super::process::HostProcess;
use super::stop_signals::StopSignals;
use crate::sys::Poller;
use crate::sys::clock::now;
use shm_protocol::id::HostId;
use shm_protocol::link::Spinner;
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long the rings are polled before the supervisor sleeps. Longer than a batch of a hundred small rows takes, so that
/// a tick does not cost a wake.
const SPIN: Duration = Duration::from_micros(400);

/// The longest sleep: the life words of hosts, which wake nobody, are polled this often.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// How often ended processes and signals are polled while records never cease.
const SIGNAL_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Why the pool cannot wait.
#[derive(Debug, Error)]
pub enum PoolError {
    /// The system refused to wait or to reap.
    #[error("waiting for hosts failed: {0}")]
    Wait(#[from] io::Error),
}

/// All hosts of a run.
pub struct HostPool {
    /// The living incarnation of each host, by the number of the host.
    hosts: Vec<Option<HostProcess>>,
    /// Incarnations that were killed and not reaped yet. The system takes a while to free the memory of a large one,
    /// and nobody waits for that.
    zombies: Vec<HostProcess>,
    stop: StopSignals,
    poller: Poller,
    payload: Vec<u8>,
    next_host: usize,
    /// When ended processes and signals were polled last.
    last_poll: Instant,
    /// A signal came and was not reported yet.
    stop_pending: bool,
    /// Exits that were not reported yet: what those hosts had published comes first.
    exited: VecDeque<HostEvent>,
}

impl HostPool {
    /// A pool with this many slots, all of them empty.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new(hosts: usize, stop: StopSignals) -> Result<HostPool, PoolError> {
        let pool = HostPool {
            hosts: (0..hosts).map(|_| None).collect(),
            zombies: Vec::new(),
            stop,
            poller: Poller::new()?,
            payload: Vec::new(),
            next_host: 0,
            last_poll: now(),
            stop_pending: false,
            exited: VecDeque::new(),
        };
        pool.watch(pool.stop.readable(), PollSource::Signals)?;
        Ok(pool)
    }

    /// Puts a new incarnation into its host's slot, which is empty.
    ///
    /// # Errors
    /// When the system refuses to watch its descriptors.
    pub fn insert(&mut self, process: HostProcess) -> Result<(), PoolError> {
        let position = process.host().index();
        assert!(
            self.hosts[position].is_none(),
            "one incarnation of a host at a time"
        );
        self.watch(process.link.bell(), PollSource::Bell)?;
        self.watch(process.exit_descriptor(), PollSource::Process(position))?;
        self.watch(process.stderr(), PollSource::Stderr(position))?;
        self.hosts[position] = Some(process);
        Ok(())
    }

    /// Takes the incarnation out of a slot, alive.
    ///
    /// # Errors
    /// When the system refuses to stop watching its descriptors.
    pub fn take(&mut self, host: HostId) -> Result<Option<HostProcess>, PoolError> {
        let Some(process) = self.hosts[host.index()].take() else {
            return Ok(None);
        };
        for descriptor in [
            process.link.bell(),
            process.exit_descriptor(),
            process.stderr(),
        ] {
            self.poller.remove(descriptor)?;
        }
        Ok(Some(process))
    }

    /// Kills the incarnation of a host and empties its slot. Nothing of it is reported any more. Gives the end of its
    /// standard error.
    pub fn kill_and_reap_later(&mut self, host: HostId) -> String {
        let Some(mut process) = self.hosts[host.index()].take() else {
            return String::new();
        };
        process.kill();
        process.read_stderr();
        // Some of them may not be watched any more.
        for descriptor in [
            process.link.bell(),
            process.exit_descriptor(),
            process.stderr(),
        ] {
            let _ = self.poller.remove(descriptor);
        }
        self.exited.retain(
            |event| !matches!(event, HostEvent::Exited { host: exited, .. } if *exited == host),
        );
        let stderr_tail = process.stderr_tail();
        if process.lifecycle() != Lifecycle::Ended {
            self.zombies.push(process);
        }
        stderr_tail
    }

    /// Reaps the killed processes that have ended by now.
    fn reap_zombies(&mut self) -> Result<(), PoolError> {
        let mut alive = Vec::new();
        for mut process in self.zombies.drain(..) {
            match process.reap()? {
                Some(_) => process
                    .advance(LifecycleEvent::Exited)
                    .map_err(io::Error::other)?,
                None => alive.push(process),
            }
        }
        self.zombies = alive;
        Ok(())
    }

    fn watch(&self, descriptor: BorrowedFd<'_>, source: PollSource) -> Result<(), PoolError> {
        Ok(self.poller.add(descriptor, source.to_key())?)
    }

    /// The living incarnation of a host, if there is one.
    #[must_use]
    pub fn host(&self, host: HostId) -> Option<&HostProcess> {
        self.hosts[host.index()].as_ref()
    }

    /// The living incarnation of a host, to change it.
    pub fn host_mut(&mut self, host: HostId) -> Option<&mut HostProcess> {
        self.hosts[host.index()].as_mut()
    }

    /// All living incarnations.
    pub fn hosts_mut(&mut self) -> impl Iterator<Item = &mut HostProcess> {
        self.hosts.iter_mut().flatten()
    }

    /// The payload of the last record that [`HostPool::next`] reported.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload of the last record, to keep it without a copy.
    pub fn take_payload(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.payload)
    }

    /// Waits for the next event, for at most `timeout`: then it is [`HostEvent::TimedOut`].
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn next(&mut self, timeout: Duration) -> Result<HostEvent, PoolError> {
        let mut spinner = Spinner::new(SPIN.min(timeout));
        let mut asleep_since = None;
        loop {
            if let Some(event) = self.poll()? {
                return Ok(event);
            }
            if asleep_since.is_none() && spinner.spin() {
                continue;
            }
            // A bell may ring for a record that was read before, so waking up is no event in itself.
            let left = timeout.saturating_sub(asleep_since.get_or_insert_with(now).elapsed());
            if left.is_zero() {
                return Ok(HostEvent::TimedOut);
            }
            self.sleep(left.min(POLL_INTERVAL))?;
        }
    }

    /// Whether a stop signal has come, without waiting. To be called now and then while records never cease.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn poll_stop_signal(&mut self) -> Result<bool, PoolError> {
        if self.last_poll.elapsed() >= SIGNAL_POLL_INTERVAL {
            self.poll_descriptors(Duration::ZERO)?;
        }
        Ok(std::mem::take(&mut self.stop_pending))
    }

    /// The next event that is there. An exit is reported once nothing is left in the rings.
    fn poll(&mut self) -> Result<Option<HostEvent>, PoolError> {
        if std::mem::take(&mut self.stop_pending) {
            return Ok(Some(HostEvent::StopRequested));
        }
        if let Some(fault) = self.poll_faults() {
            return Ok(Some(fault));
        }
        match self.poll_rings() {
            // A fault may have been announced since the poll above. The ring stays invalid until the next one.
            Some(invalid @ HostEvent::InvalidRing { .. }) => {
                Ok(Some(self.poll_faults().unwrap_or(invalid)))
            }
            event => Ok(event.or_else(|| self.exited.pop_front())),
        }
    }

    /// A host announces a fault before it lets it happen, so this comes before its effects.
    fn poll_faults(&mut self) -> Option<HostEvent> {
        self.hosts.iter_mut().flatten().find_map(|process| {
            let (host, rule) = (process.host(), process.link.faults()?.fired()?);
            Some(HostEvent::Fault { host, rule })
        })
    }

    fn poll_rings(&mut self) -> Option<HostEvent> {
        for _ in 0..self.hosts.len() {
            let position = self.next_host;
            self.next_host = (position + 1) % self.hosts.len();
            let Some(process) = &mut self.hosts[position] else {
                continue;
            };
            let host = process.host();
            let mut taken = process.link.up.try_take(&mut self.payload);
            let is_dying = matches!(taken, Ok(None)) && process.is_newly_dying();
            if is_dying {
                // It may have published something since the first try, and nothing after that.
                taken = process.link.up.try_take(&mut self.payload);
            }
            match taken {
                Ok(None) if is_dying => {
                    process.note_dying();
                    return Some(HostEvent::Dying { host });
                }
                Ok(None) => {}
                Ok(Some(header)) => return Some(HostEvent::Record { host, header }),
                Err(violation) => return Some(HostEvent::InvalidRing { host, violation }),
            }
        }
        None
    }

    /// Sleeps until a host rings its bell or another descriptor is ready.
    fn sleep(&mut self, timeout: Duration) -> Result<(), PoolError> {
        let mut may_sleep = true;
        for process in self.hosts_mut() {
            may_sleep &= process.link.arm();
        }
        let woken = if may_sleep {
            self.poll_descriptors(timeout)
        } else {
            Ok(())
        };
        for process in self.hosts_mut() {
            process.link.disarm();
        }
        woken
    }

    /// Waits until a descriptor is ready and handles those that are, but for the rings. Reaps killed processes.
    fn poll_descriptors(&mut self, timeout: Duration) -> Result<(), PoolError> {
        self.last_poll = now();
        if !self.zombies.is_empty() {
            self.reap_zombies()?;
        }
        for key in self.poller.wait(timeout)? {
            match PollSource::from_key(key) {
                PollSource::Bell => {}
                PollSource::Stderr(position) => self.read_stderr(position)?,
                PollSource::Signals => {
                    self.stop_pending = true;
                    self.poller.remove(self.stop.readable())?;
                }
                PollSource::Process(position) => self.reap(position)?,
            }
        }
        Ok(())
    }

    fn read_stderr(&mut self, position: usize) -> Result<(), PoolError> {
        if let Some(process) = &mut self.hosts[position]
            && !process.read_stderr()
        {
            self.poller.remove(process.stderr())?;
        }
        Ok(())
    }

    fn reap(&mut self, position: usize) -> Result<(), PoolError> {
        let Some(process) = &mut self.hosts[position] else {
            return Ok(());
        };
        let Some(status) = process.reap()? else {
            return Ok(());
        };
        process.read_stderr();
        process
            .advance(LifecycleEvent::Exited)
            .map_err(io::Error::other)?;
        let host = process.host();
        self.poller.remove(process.exit_descriptor())?;
        self.exited.push_back(HostEvent::Exited { host, status });
        Ok(())
    }
}
