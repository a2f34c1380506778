//! Records on their way down to a host. What does not fit its ring now waits
//! here, in order; the supervisor never blocks on a host.

use super::hosts::Hosts;
use shm_protocol::id::HostId;
use shm_protocol::ring::{PushError, RecordHeader};
use std::collections::VecDeque;

/// Records that wait for room in a host's ring.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    waiting: VecDeque<(RecordHeader, Vec<u8>)>,
}

impl SendQueue {
    /// Publishes a record whose payload is these parts one after the other, or lets it wait.
    pub(crate) fn push(
        &mut self,
        hosts: &mut dyn Hosts,
        host: HostId,
        header: &RecordHeader,
        payload_bytes: usize,
        parts: &mut dyn Iterator<Item = &[u8]>,
    ) -> Result<(), PushError> {
        let mut parts = parts;
        if self.waiting.is_empty() && hosts.try_push(host, header, payload_bytes, &mut parts)? {
            return Ok(());
        }
        // Nothing was taken of the parts of a record for which there is no room.
        self.waiting
            .push_back((*header, parts.flatten().copied().collect()));
        Ok(())
    }

    /// Publishes what has waited as far as there is room now. Says whether anything was published.
    pub(crate) fn flush(&mut self, hosts: &mut dyn Hosts, host: HostId) -> Result<bool, PushError> {
        let before = self.waiting.len();
        while let Some((header, payload)) = self.waiting.front()
            && hosts.try_push(
                host,
                header,
                payload.len(),
                &mut std::iter::once(payload.as_slice()),
            )?
        {
            self.waiting.pop_front();
        }
        let published = self.waiting.len() < before;
        if published {
            hosts.notify(host);
        }
        Ok(published)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
