//! The state of an agent as records, on its way up.

use super::{Agent, Life};
use crate::error::HostError;
use shm_protocol::agent_state::{PAGE_BYTES, PAGES_PER_RECORD, Page, SavedInstance, StateRecord};
use shm_protocol::codec;

/// Most bytes that the encoding of a page has beside its bytes: its number and its length.
const PAGE_OVERHEAD: usize = 5 + 3;
/// Most bytes of the number of pages.
const COUNT_BYTES: usize = 9;

impl Agent {
    /// Gives the state as records that take at most `max_payload_bytes` each: the pages that changed since the last
    /// time, or all that are not zero if `is_full`. Gives none if the state cannot be captured.
    ///
    /// # Errors
    /// Those of `give`, and when the agent still waits for the state that it is to be restored to.
    pub(crate) fn save(
        &mut self,
        is_full: bool,
        max_payload_bytes: usize,
        give: &mut impl FnMut(&StateRecord) -> Result<(), HostError>,
    ) -> Result<(), HostError> {
        self.expect_restored("a snapshot")?;
        if matches!(self.life, Life::Parked(_)) {
            return Err(self.out_of_turn("a snapshot"));
        }
        if self.program.opaque().is_some() {
            return Ok(());
        }
        let mut record = StateRecord {
            agent: self.load.agent,
            next_request: self.next_request,
            life: self.saved_life()?,
            pages: Vec::new(),
            is_last: false,
        };
        let room = max_payload_bytes.saturating_sub(codec::encode(&record).len() + COUNT_BYTES);
        let most_pages = (room / (PAGE_BYTES + PAGE_OVERHEAD)).clamp(1, PAGES_PER_RECORD);
        if let Life::Running(instance) = &self.life {
            let memory = instance.guest.memory();
            self.mirror.update(memory, is_full, |index, bytes| {
                if record.pages.len() == most_pages {
                    give(&record)?;
                    record.pages.clear();
                }
                let bytes = bytes.to_vec();
                record.pages.push(Page { index, bytes });
                Ok::<(), HostError>(())
            })?;
        } else {
            self.mirror.clear(0);
        }
        record.is_last = true;
        give(&record)
    }

    fn saved_life(&mut self) -> Result<SavedInstance, HostError> {
        let agent = self.load.agent;
        Ok(match &mut self.life {
            Life::Running(instance) => SavedInstance::Running {
                memory_bytes: instance.guest.memory().len() as u64,
                globals: instance
                    .variables(&self.program)
                    .map_err(|error| HostError::variables(agent, &error))?,
            },
            Life::Fallen => SavedInstance::Failed,
            Life::Halted => SavedInstance::Halted,
            Life::Awaited(_) | Life::Parked(_) => unreachable!("the caller has looked"),
        })
    }
}
