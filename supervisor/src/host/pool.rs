//! All hosts of a run, and the one place where the supervisor waits.
//!
//! Waiting is adaptive. A wake across cores costs tens of microseconds, a
//! hand-over to a spinning process a tenth of one, so the pool looks at the
//! rings for a while before it sleeps in `epoll` over bells, process
//! descriptors, standard errors and signals.

use super::lifecycle::{Lifecycle, LifecycleEvent};
use super::process::HostProcess;
use super::stop_signals::StopSignals;
use crate::sys::clock::now;
use rustix::event::epoll;
use shm_protocol::id::HostId;
use shm_protocol::link::Spinner;
use shm_protocol::ring::{RecordHeader, RingViolation};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long the rings are looked at before the supervisor sleeps. Longer than
/// a batch of a hundred small rows takes, so that a tick is not paid with a wake.
const SPIN: Duration = Duration::from_micros(400);

/// How long the supervisor sleeps at most before it looks at the life words of hosts, which wake nobody.
const GLANCE: Duration = Duration::from_millis(1);

/// How often deaths and signals are looked for while work never pauses.
const LOOK_ASIDE: Duration = Duration::from_millis(2);

/// What the supervisor hears.
#[derive(Debug)]
pub enum HostEvent {
    /// A record of a host; its payload is in [`Pool::payload`].
    Record {
        /// Whose.
        host: HostId,
        /// Its header.
        header: RecordHeader,
    },
    /// A host process is gone. Whatever it had published before was told first.
    Exited {
        /// Which.
        host: HostId,
        /// How.
        status: ExitStatus,
    },
    /// A host's ring holds what no sound host writes. Nothing more is read out of it.
    Garbage {
        /// Whose.
        host: HostId,
        /// What is wrong with it.
        violation: RingViolation,
    },
    /// A host is dying, and how is not known yet: the memory of its process is being torn down. Told once, after
    /// whatever it had published.
    Dying {
        /// Which.
        host: HostId,
    },
    /// A host has come to a fault that was armed in it.
    Fault {
        /// Which host.
        host: HostId,
        /// The number of the rule.
        rule: u32,
    },
    /// SIGINT, SIGTERM or SIGHUP came; told once.
    StopAsked,
    /// Nothing happened for as long as asked.
    Silence,
}

/// Why waiting failed.
#[derive(Debug, Error)]
pub enum PoolError {
    /// The system failed to wait or reap.
    #[error("waiting for hosts failed: {0}")]
    Wait(#[from] io::Error),
}

/// Where `epoll` points: a descriptor class and a host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PollSource {
    Bell,
    Process(usize),
    Stderr(usize),
    Signals,
}

/// All hosts of a run.
pub struct HostPool {
    /// By the number of the host; none where no incarnation lives.
    hosts: Vec<Option<HostProcess>>,
    /// Incarnations that were killed and not reaped yet. The memory of a large one takes a while to be torn down, and
    /// nobody waits for that.
    buried: Vec<HostProcess>,
    stop: StopSignals,
    epoll: OwnedFd,
    payload: Vec<u8>,
    next_host: usize,
    looked_aside: Instant,
    /// A signal came and was not told yet.
    stop_pending: bool,
    /// Deaths that were not told yet: what those hosts had published comes first.
    exited: VecDeque<HostEvent>,
}

impl HostPool {
    /// A pool with this many places, all of them empty.
    ///
    /// # Errors
    /// What the system says about `epoll`.
    pub fn new(hosts: usize, stop: StopSignals) -> Result<HostPool, PoolError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        let pool = HostPool {
            hosts: (0..hosts).map(|_| None).collect(),
            buried: Vec::new(),
            stop,
            epoll,
            payload: Vec::new(),
            next_host: 0,
            looked_aside: now(),
            stop_pending: false,
            exited: VecDeque::new(),
        };
        pool.watch(pool.stop.readable(), PollSource::Signals)?;
        Ok(pool)
    }

    /// Takes a new incarnation into its host's place, which is empty.
    ///
    /// # Errors
    /// What the system says about `epoll`.
    pub fn seat(&mut self, process: HostProcess) -> Result<(), PoolError> {
        let position = process.host().index();
        assert!(
            self.hosts[position].is_none(),
            "one incarnation of a host at a time"
        );
        self.watch(process.link.bell(), PollSource::Bell)?;
        self.watch(process.pidfd(), PollSource::Process(position))?;
        self.watch(process.stderr(), PollSource::Stderr(position))?;
        self.hosts[position] = Some(process);
        Ok(())
    }

    /// Takes the incarnation out of a place, alive.
    ///
    /// # Errors
    /// What the system says about `epoll`.
    pub fn take(&mut self, host: HostId) -> Result<Option<HostProcess>, PoolError> {
        let Some(process) = self.hosts[host.index()].take() else {
            return Ok(None);
        };
        for descriptor in [process.link.bell(), process.pidfd(), process.stderr()] {
            epoll::delete(&self.epoll, descriptor).map_err(io::Error::from)?;
        }
        Ok(Some(process))
    }

    /// Ends the incarnation of a host and empties its place. Nothing that it has published and that was not told is
    /// told any more. Gives the end of its standard error.
    pub fn kill_and_reap_later(&mut self, host: HostId) -> String {
        let Some(mut process) = self.hosts[host.index()].take() else {
            return String::new();
        };
        process.kill();
        process.listen();
        // What was not watched any more is no trouble.
        for descriptor in [process.link.bell(), process.pidfd(), process.stderr()] {
            let _ = epoll::delete(&self.epoll, descriptor);
        }
        self.exited
            .retain(|news| !matches!(news, HostEvent::Exited { host: gone, .. } if *gone == host));
        let stderr_tail = process.stderr_tail();
        if process.lifecycle() != Lifecycle::Ended {
            self.buried.push(process);
        }
        stderr_tail
    }

    /// Reaps what was killed and is gone by now.
    ///
    /// # Errors
    /// What the system says.
    fn reap_buried(&mut self) -> Result<(), PoolError> {
        let mut left = Vec::new();
        for mut process in self.buried.drain(..) {
            match process.reap()? {
                Some(_) => process
                    .note(LifecycleEvent::Exited)
                    .map_err(io::Error::other)?,
                None => left.push(process),
            }
        }
        self.buried = left;
        Ok(())
    }

    fn watch(&self, descriptor: BorrowedFd<'_>, source: PollSource) -> Result<(), PoolError> {
        let data = epoll::EventData::new_u64(source.to_word());
        epoll::add(&self.epoll, descriptor, data, epoll::EventFlags::IN)
            .map_err(|error| io::Error::from(error).into())
    }

    /// The living incarnation of a host, if there is one.
    #[must_use]
    pub fn host(&self, host: HostId) -> Option<&HostProcess> {
        self.hosts[host.index()].as_ref()
    }

    /// The living incarnation of a host, to write to it.
    pub fn host_mut(&mut self, host: HostId) -> Option<&mut HostProcess> {
        self.hosts[host.index()].as_mut()
    }

    /// All living incarnations.
    pub fn hosts_mut(&mut self) -> impl Iterator<Item = &mut HostProcess> {
        self.hosts.iter_mut().flatten()
    }

    /// The payload of the record that [`Pool::next`] told of last.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload of the last record, to keep it without a copy.
    pub fn take_payload(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.payload)
    }

    /// Waits for the next thing that happens, at most `patience`.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn next(&mut self, patience: Duration) -> Result<HostEvent, PoolError> {
        let mut spinner = Spinner::new(SPIN.min(patience));
        let mut asleep_since = None;
        loop {
            if let Some(news) = self.look()? {
                return Ok(news);
            }
            if asleep_since.is_none() && spinner.spin() {
                continue;
            }
            // A bell may ring for what was heard before, so waking up is no news in itself.
            let left = patience.saturating_sub(asleep_since.get_or_insert_with(now).elapsed());
            if left.is_zero() {
                return Ok(HostEvent::Silence);
            }
            self.sleep(left.min(GLANCE))?;
        }
    }

    /// Whether a signal has come, without waiting. To be called now and then while records never cease.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn look_aside(&mut self) -> Result<bool, PoolError> {
        if self.looked_aside.elapsed() >= LOOK_ASIDE {
            self.wait_aside(Duration::ZERO)?;
        }
        Ok(std::mem::take(&mut self.stop_pending))
    }

    /// What has happened. A death is told once nothing is left in the rings.
    fn look(&mut self) -> Result<Option<HostEvent>, PoolError> {
        if std::mem::take(&mut self.stop_pending) {
            return Ok(Some(HostEvent::StopAsked));
        }
        if let Some(fault) = self.look_for_faults() {
            return Ok(Some(fault));
        }
        match self.look_into_rings() {
            Ok(news) => Ok(news.or_else(|| self.exited.pop_front())),
            // The fault may have come since the look above. What is wrong in the ring is still wrong at the next look.
            Err(error) => self.look_for_faults().map(Some).ok_or(error),
        }
    }

    /// A host says that a fault has come before it lets it happen, so this is heard before what came of it.
    fn look_for_faults(&mut self) -> Option<HostEvent> {
        self.hosts.iter_mut().flatten().find_map(|process| {
            let (host, rule) = (process.host(), process.link.faults()?.fired()?);
            Some(HostEvent::Fault { host, rule })
        })
    }

    fn look_into_rings(&mut self) -> Result<Option<HostEvent>, PoolError> {
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
                // It may have published something between the two looks, and nothing after that.
                taken = process.link.up.try_take(&mut self.payload);
            }
            match taken {
                Ok(None) if is_dying => {
                    process.note_dying();
                    return Ok(Some(HostEvent::Dying { host }));
                }
                Ok(None) => {}
                Ok(Some(header)) => return Ok(Some(HostEvent::Record { host, header })),
                Err(violation) => return Ok(Some(HostEvent::Garbage { host, violation })),
            }
        }
        Ok(None)
    }

    fn sleep(&mut self, patience: Duration) -> Result<(), PoolError> {
        let mut may_sleep = true;
        for process in self.hosts_mut() {
            may_sleep &= process.link.arm();
        }
        let woken = if may_sleep {
            self.wait_aside(patience)
        } else {
            Ok(())
        };
        for process in self.hosts_mut() {
            process.link.disarm();
        }
        woken
    }

    /// Waits for anything but records to be read, and keeps what is news.
    fn wait_aside(&mut self, patience: Duration) -> Result<(), PoolError> {
        self.looked_aside = now();
        if !self.buried.is_empty() {
            self.reap_buried()?;
        }
        let timeout = rustix::event::Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut events = Vec::with_capacity(16);
        let into = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, into, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        for event in events {
            match PollSource::from_word(event.data.u64()) {
                PollSource::Bell => {}
                PollSource::Stderr(position) => self.read_stderr(position)?,
                PollSource::Signals => {
                    self.stop_pending = true;
                    self.forget_signals()?;
                }
                PollSource::Process(position) => self.reap(position)?,
            }
        }
        Ok(())
    }

    fn read_stderr(&mut self, position: usize) -> Result<(), PoolError> {
        if let Some(process) = &mut self.hosts[position]
            && !process.listen()
        {
            epoll::delete(&self.epoll, process.stderr()).map_err(io::Error::from)?;
        }
        Ok(())
    }

    fn forget_signals(&mut self) -> Result<(), PoolError> {
        Ok(epoll::delete(&self.epoll, self.stop.readable()).map_err(io::Error::from)?)
    }

    fn reap(&mut self, position: usize) -> Result<(), PoolError> {
        let Some(process) = &mut self.hosts[position] else {
            return Ok(());
        };
        let Some(status) = process.reap()? else {
            return Ok(());
        };
        process.listen();
        process
            .note(LifecycleEvent::Exited)
            .map_err(io::Error::other)?;
        let host = process.host();
        epoll::delete(&self.epoll, process.pidfd()).map_err(io::Error::from)?;
        self.exited.push_back(HostEvent::Exited { host, status });
        Ok(())
    }
}

impl PollSource {
    const CLASSES: u64 = 4;

    fn to_word(self) -> u64 {
        match self {
            PollSource::Bell => 0,
            PollSource::Process(position) => 1 + PollSource::CLASSES * position as u64,
            PollSource::Stderr(position) => 2 + PollSource::CLASSES * position as u64,
            PollSource::Signals => 3,
        }
    }

    fn from_word(word: u64) -> PollSource {
        let position =
            usize::try_from(word / PollSource::CLASSES).expect("a position that fitted before");
        match word % PollSource::CLASSES {
            1 => PollSource::Process(position),
            2 => PollSource::Stderr(position),
            3 => PollSource::Signals,
            _ => PollSource::Bell,
        }
    }
}
