//! Records of hosts before a run starts: they come one after the other, and anything else is an error.

use super::decode::decoded;
use super::host_set::HostSet;
use crate::host::error::HostSetError;
use crate::host::event::HostEvent;
use crate::host::process::HostProcess;
use crate::host::spawn::SpawnError;
use shm_protocol::agent_to_supervisor::{FAILURE, READY, Ready};
use shm_protocol::id::HostId;
use shm_protocol::ring::RecordHeader;
use std::process::ExitStatus;
use std::time::Duration;

/// How long a host that cannot be reached may take to end.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

impl HostSet {
    /// Waits for the next record, as long as a host reports progress within each `timeout`. Any other event is an error.
    ///
    /// # Errors
    /// [`HostSetError`].
    pub fn record(&mut self, timeout: Duration) -> Result<(HostId, RecordHeader), HostSetError> {
        let mut reports = self.reports();
        loop {
            match self.pool.next(timeout)? {
                HostEvent::Record { host, header } => return Ok((host, header)),
                HostEvent::InvalidRing { host, violation } => {
                    return Err(HostSetError::InvalidRing { host, violation });
                }
                // The exit status is worth waiting for, as there is nothing else to do.
                HostEvent::Dying { .. } => {}
                HostEvent::Fault { host, rule } => self.inject(host, rule),
                HostEvent::Exited { host, status } => return Err(self.died(host, status)),
                HostEvent::StopRequested => return Err(HostSetError::Stopped),
                HostEvent::TimedOut if self.reports() != reports => reports = self.reports(),
                HostEvent::TimedOut => {
                    let seconds = timeout.as_secs_f64();
                    return Err(HostSetError::TimedOut { seconds });
                }
            }
        }
    }

    /// The number of reports of progress of all hosts together.
    fn reports(&mut self) -> u64 {
        let hosts = self.pool.hosts_mut();
        let reports = hosts.map(|process| process.link.progress());
        reports.fold(0, u64::wrapping_add)
    }

    /// The cause of a command that could not be sent: the failure that the host reported before it ended, or its exit
    /// status. A sender learns of the end before the records that were published earlier are read.
    pub fn explain(&mut self, error: HostSetError) -> HostSetError {
        let HostSetError::Spawn(SpawnError::Connect { host: ended, .. }) = error else {
            return error;
        };
        loop {
            match self.record(EXIT_TIMEOUT) {
                Ok((host, header)) if host == ended && header.kind == FAILURE => {
                    return self
                        .expect::<Ready>(host, &header, READY)
                        .err()
                        .unwrap_or(error);
                }
                // Earlier records and those of other hosts explain nothing.
                Ok(_) => {}
                Err(died @ HostSetError::Died { host, .. }) if host == ended => return died,
                Err(_) => return error,
            }
        }
    }

    /// The error for a host that has ended.
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

    /// Decodes the last record, which must be of this kind.
    ///
    /// # Errors
    /// [`HostSetError::Failed`] when the host reports that it cannot go on, [`HostSetError::UnexpectedRecord`], [`HostSetError::Decode`].
    pub fn expect<T: bincode::Decode<()>>(
        &self,
        host: HostId,
        header: &RecordHeader,
        wanted: u16,
    ) -> Result<T, HostSetError> {
        decoded(self.kind(host), host, header, wanted, self.pool.payload())
    }
}
