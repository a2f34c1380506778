//! Conversion of an agent's state to records and back.

use super::partial_restore::PartialRestore;
use super::{HostedAgent, InstanceState};
use crate::error::{AgentHostError, RestoreError};
use shm_protocol::agent_state::{PAGE_BYTES, PAGES_PER_RECORD, Page, SavedInstance, StateRecord};
use shm_protocol::codec;

/// Maximum bytes that the encoding of a page has beside its content: its number and its length.
const PAGE_OVERHEAD: usize = 5 + 3;
/// Maximum bytes of the encoded number of pages.
const COUNT_BYTES: usize = 9;

impl HostedAgent {
    /// Passes the state to `send` as records of at most `max_payload_bytes` each: the pages that changed since the last
    /// snapshot, or all that are not zero if `is_full`. An agent whose state cannot be captured has no records.
    ///
    /// # Errors
    /// Those of `send`, and when the agent's own state is not restored yet.
    pub(crate) fn save(
        &mut self,
        is_full: bool,
        max_payload_bytes: usize,
        send: &mut impl FnMut(&StateRecord) -> Result<(), AgentHostError>,
    ) -> Result<(), AgentHostError> {
        let saved = self.saved_instance()?;
        if self.component.opaque().is_some() {
            return Ok(());
        }
        let mut record = StateRecord {
            agent: self.load.agent,
            next_request: self.next_request,
            life: saved,
            pages: Vec::new(),
            is_last: false,
        };
        let room = max_payload_bytes.saturating_sub(codec::encode(&record).len() + COUNT_BYTES);
        let max_pages = (room / (PAGE_BYTES + PAGE_OVERHEAD)).clamp(1, PAGES_PER_RECORD);
        if let InstanceState::Running(instance) = &self.state {
            let memory = instance.store.memory();
            self.shadow.update(memory, is_full, |index, bytes| {
                if record.pages.len() == max_pages {
                    send(&record)?;
                    record.pages.clear();
                }
                let bytes = bytes.to_vec();
                record.pages.push(Page { index, bytes });
                Ok::<(), AgentHostError>(())
            })?;
        } else {
            self.shadow.clear(0);
        }
        record.is_last = true;
        send(&record)
    }

    fn saved_instance(&mut self) -> Result<SavedInstance, AgentHostError> {
        let agent = self.load.agent;
        match &mut self.state {
            InstanceState::Running(instance) => Ok(SavedInstance::Running {
                memory_bytes: instance.store.memory().len() as u64,
                globals: instance
                    .globals(&self.component)
                    .map_err(|error| AgentHostError::globals(agent, &error))?,
            }),
            InstanceState::Failed => Ok(SavedInstance::Failed),
            InstanceState::Halted => Ok(SavedInstance::Halted),
            InstanceState::Suspended(_) => Err(self.out_of_turn("a snapshot")),
            InstanceState::Restoring(_) => {
                let what = "a snapshot".to_owned();
                Err(self.restore_error(RestoreError::TooEarly { what }))
            }
        }
    }

    /// Applies a record of the state that the agent was loaded for.
    ///
    /// # Errors
    /// When the record does not fit, or the machine lacks memory.
    pub(crate) fn restore(&mut self, record: StateRecord) -> Result<(), AgentHostError> {
        let InstanceState::Restoring(restore) = &mut self.state else {
            return Err(self.restore_error(RestoreError::Unexpected));
        };
        let is_last = record.is_last;
        let mut restore = match restore.take() {
            Some(restore) => restore,
            None => Box::new(PartialRestore::begin(
                &self.shared,
                &self.component,
                &self.load,
                &mut self.shadow,
                &record,
            )?),
        };
        restore
            .apply(record, &mut self.shadow)
            .map_err(|error| self.restore_error(error))?;
        self.state = if is_last {
            self.next_request = restore.next_request;
            let finished = restore.finish(&self.component);
            let finished =
                finished.map_err(|error| AgentHostError::globals(self.load.agent, &error))?;
            match finished {
                (SavedInstance::Running { .. }, Some(instance)) => InstanceState::Running(instance),
                (SavedInstance::Running { .. }, None) => {
                    unreachable!("the first record makes the instance")
                }
                (SavedInstance::Failed, _) => InstanceState::Failed,
                (SavedInstance::Halted, _) => InstanceState::Halted,
            }
        } else {
            InstanceState::Restoring(Some(restore))
        };
        Ok(())
    }
}
