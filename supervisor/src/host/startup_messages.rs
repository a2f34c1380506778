//! What hosts say before a run goes on by itself: one record after the other, and
//! anything else is an error.

use super::decode::decoded;
use super::host_set::HostSet;
use crate::host::error::HostSetError;
use crate::host::pool::HostEvent;
use crate::host::process::{HostProcess, SpawnError};
use shm_protocol::agent_to_supervisor::{FAILURE, READY, Ready};
use shm_protocol::id::HostId;
use shm_protocol::ring::RecordHeader;
use std::process::ExitStatus;
use std::time::Duration;

/// How long a host that cannot be reached may take to be gone.
const FAREWELL: Duration = Duration::from_millis(500);

impl HostSet {
    /// Waits for the next record, as long as hosts report progress. Anything else that can happen before a run is an
    /// error.
    ///
    /// # Errors
    /// [`CrewError`].
    pub fn record(&mut self, patience: Duration) -> Result<(HostId, RecordHeader), HostSetError> {
        let mut reports = self.reports();
        loop {
            match self.pool.next(patience)? {
                HostEvent::Record { host, header } => return Ok((host, header)),
                HostEvent::Garbage { host, violation } => {
                    return Err(HostSetError::Garbage { host, violation });
                }
                // How it ended is worth waiting for where nothing else is to be done.
                HostEvent::Dying { .. } => {}
                HostEvent::Fault { host, rule } => self.strike(host, rule),
                HostEvent::Exited { host, status } => return Err(self.died(host, status)),
                HostEvent::StopAsked => return Err(HostSetError::Stopped),
                HostEvent::Silence if self.reports() != reports => reports = self.reports(),
                HostEvent::Silence => {
                    let seconds = patience.as_secs_f64();
                    return Err(HostSetError::Silent { seconds });
                }
            }
        }
    }

    /// The reports of progress of all hosts together.
    fn reports(&mut self) -> u64 {
        let hosts = self.pool.hosts_mut();
        let reports = hosts.map(|process| process.link.progress());
        reports.fold(0, u64::wrapping_add)
    }

    /// Why a command could not be sent: what the host had said before it went, or how it ended. Whoever sends learns
    /// of the end before the words that were published first are read.
    pub fn explain(&mut self, error: HostSetError) -> HostSetError {
        let HostSetError::Spawn(SpawnError::Connect { host: gone, .. }) = error else {
            return error;
        };
        loop {
            match self.record(FAREWELL) {
                Ok((host, header)) if host == gone && header.kind == FAILURE => {
                    return self
                        .expect::<Ready>(host, &header, READY)
                        .err()
                        .unwrap_or(error);
                }
                // What was said earlier, or by others, explains nothing.
                Ok(_) => {}
                Err(died @ HostSetError::Died { host, .. }) if host == gone => return died,
                Err(_) => return error,
            }
        }
    }

    /// The error for a host that is gone.
    #[must_use]
    pub fn died(&self, host: HostId, status: ExitStatus) -> HostSetError {
        HostSetError::Died {
            kind: self.kind(host),
            host,
            status,
            stderr_tail: self
                .pool
                .host(host)
                .map_or_else(String::new, HostProcess::stderr_tail),
        }
    }

    /// Decodes the record that came last, which must be of this kind.
    ///
    /// # Errors
    /// [`CrewError::Failed`] when the host says that it cannot go on, [`CrewError::OutOfPlace`], [`CrewError::Decode`].
    pub fn expect<T: bincode::Decode<()>>(
        &self,
        host: HostId,
        header: &RecordHeader,
        wanted: u16,
    ) -> Result<T, HostSetError> {
        decoded(self.kind(host), host, header, wanted, self.pool.payload())
    }
}
