//! What hosts say before a run goes on by itself: one record after the other, and
//! anything else is an error.

use super::decode::decoded;
use super::host_set::Crew;
use crate::host::error::CrewError;
use crate::host::pool::News;
use crate::host::process::{Process, SpawnError};
use shm_protocol::agent_to_supervisor::{FAILURE, READY, Ready};
use shm_protocol::id::HostId;
use shm_protocol::ring::Header;
use std::process::ExitStatus;
use std::time::Duration;

/// How long a host that cannot be reached may take to be gone.
const FAREWELL: Duration = Duration::from_millis(500);

impl Crew {
    /// Waits for the next record, as long as hosts report progress. Anything else that can happen before a run is an
    /// error.
    ///
    /// # Errors
    /// [`CrewError`].
    pub fn record(&mut self, patience: Duration) -> Result<(HostId, Header), CrewError> {
        let mut reports = self.reports();
        loop {
            match self.pool.next(patience)? {
                News::Record { host, header } => return Ok((host, header)),
                News::Garbage { host, violation } => {
                    return Err(CrewError::Garbage { host, violation });
                }
                // How it ended is worth waiting for where nothing else is to be done.
                News::Dying { .. } => {}
                News::Fault { host, rule } => self.strike(host, rule),
                News::Exited { host, status } => return Err(self.died(host, status)),
                News::StopAsked => return Err(CrewError::Stopped),
                News::Silence if self.reports() != reports => reports = self.reports(),
                News::Silence => {
                    let seconds = patience.as_secs_f64();
                    return Err(CrewError::Silent { seconds });
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
    pub fn explain(&mut self, error: CrewError) -> CrewError {
        let CrewError::Spawn(SpawnError::Connect { host: gone, .. }) = error else {
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
                Err(died @ CrewError::Died { host, .. }) if host == gone => return died,
                Err(_) => return error,
            }
        }
    }

    /// The error for a host that is gone.
    #[must_use]
    pub fn died(&self, host: HostId, status: ExitStatus) -> CrewError {
        CrewError::Died {
            kind: self.kind(host),
            host,
            status,
            last_words: self
                .pool
                .host(host)
                .map_or_else(String::new, Process::last_words),
        }
    }

    /// Decodes the record that came last, which must be of this kind.
    ///
    /// # Errors
    /// [`CrewError::Failed`] when the host says that it cannot go on, [`CrewError::OutOfPlace`], [`CrewError::Decode`].
    pub fn expect<T: bincode::Decode<()>>(
        &self,
        host: HostId,
        header: &Header,
        wanted: u16,
    ) -> Result<T, CrewError> {
        decoded(self.kind(host), host, header, wanted, self.pool.payload())
    }
}
