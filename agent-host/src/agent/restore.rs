//! The state of an agent as records, on its way down.
//!
//! The supervisor has checked where the records come from; whether they fit
//! the component is checked here, before they are used.

use super::instance::{Instance, guest, make};
use super::{Agent, INIT_FUEL, Life};
use crate::error::HostError;
use crate::state::State;
use shm_protocol::agent_state::{PAGE_BYTES, Page, SavedInstance, StateRecord};
use shm_protocol::id::RequestId;
use std::sync::Arc;
use thiserror::Error;

/// Why records are not the state of an agent.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RestoreError {
    /// Its state can never have been captured.
    #[error("its state cannot be captured: {reason}")]
    Opaque {
        /// Why not.
        reason: String,
    },
    /// It was not loaded to be restored, or has all of its state.
    #[error("it does not wait for a state")]
    Unexpected,
    /// Something is asked of it too early.
    #[error("{what} comes before the last record of its state")]
    TooEarly {
        /// What is asked.
        what: String,
    },
    /// The records are not of one state.
    #[error("two of its records differ in what all of them must have in common")]
    Mixed,
    /// The size of its memory is not possible.
    #[error("it has a memory of {memory_bytes} bytes, where it may have {most_bytes}")]
    MemoryBytes {
        /// The size.
        memory_bytes: u64,
        /// What the fleet file says.
        most_bytes: u64,
    },
    /// There are more or fewer variables than its component has.
    #[error("it has {given} variables outside of its memory, where its component has {declared}")]
    Variables {
        /// How many there are.
        given: usize,
        /// How many there must be.
        declared: u32,
    },
    /// A page is beyond the end of the memory.
    #[error("its page {index} is outside of its memory of {memory_bytes} bytes")]
    PageOutside {
        /// The page.
        index: u32,
        /// The size of the memory; zero without an instance.
        memory_bytes: usize,
    },
    /// A page has neither its bytes nor none.
    #[error(
        "its page {index} has {bytes} bytes, where a page has {PAGE_BYTES} or, if they are zero, none"
    )]
    PageBytes {
        /// The page.
        index: u32,
        /// How many bytes it has.
        bytes: usize,
    },
    /// A page comes twice, or before one with a smaller number.
    #[error("its page {index} is out of order")]
    PageOrder {
        /// The page.
        index: u32,
    },
    /// The instance cannot be made.
    #[error("no instance of it can be made: {reason}")]
    Instance {
        /// What wasmtime said.
        reason: String,
    },
}

/// A state of which the last record is still to come.
pub(super) struct Restoring {
    next_request: RequestId,
    life: SavedInstance,
    instance: Option<Instance>,
    /// The smallest number that the next page may have.
    next_page: u64,
}

impl Agent {
    /// Takes a record of the state that it was loaded for.
    ///
    /// # Errors
    /// When the record does not fit, or the machine is at its end.
    pub(crate) fn restore(&mut self, record: StateRecord) -> Result<(), HostError> {
        let Life::Awaited(restoring) = &mut self.life else {
            return Err(self.unrestorable(RestoreError::Unexpected));
        };
        let mut restoring = match restoring.take() {
            Some(restoring) => restoring,
            None => Box::new(self.begin_restoring(&record)?),
        };
        if restoring.life != record.life || restoring.next_request != record.next_request {
            return Err(self.unrestorable(RestoreError::Mixed));
        }
        for page in record.pages {
            self.restore_page(&mut restoring, page)
                .map_err(|error| self.unrestorable(error))?;
        }
        self.life = if record.is_last {
            self.finish_restoring(*restoring)?
        } else {
            Life::Awaited(Some(restoring))
        };
        Ok(())
    }

    /// Makes an instance whose memory is as large as it was, and zero.
    fn begin_restoring(&mut self, record: &StateRecord) -> Result<Restoring, HostError> {
        let mut restoring = Restoring {
            next_request: record.next_request,
            life: record.life.clone(),
            instance: None,
            next_page: 0,
        };
        self.mirror.clear(0);
        let SavedInstance::Running {
            memory_bytes,
            globals,
        } = &record.life
        else {
            return Ok(restoring);
        };
        let (memory_bytes, declared) = (*memory_bytes, self.program.globals());
        if usize::try_from(declared) != Ok(globals.len()) {
            let given = globals.len();
            return Err(self.unrestorable(RestoreError::Variables { given, declared }));
        }
        let impossible = RestoreError::MemoryBytes {
            memory_bytes,
            most_bytes: self.load.memory_bytes,
        };
        let is_possible =
            memory_bytes <= self.load.memory_bytes && memory_bytes.is_multiple_of(WASM_PAGE_BYTES);
        let bytes = usize::try_from(memory_bytes).ok().filter(|_| is_possible);
        let Some(bytes) = bytes else {
            return Err(self.unrestorable(impossible));
        };
        let instance = self.instance_with_memory(bytes)?;
        if instance.guest.memory().len() != bytes {
            return Err(self.unrestorable(impossible));
        }
        self.mirror.clear(bytes);
        restoring.instance = Some(instance);
        Ok(restoring)
    }

    fn instance_with_memory(&self, bytes: usize) -> Result<Instance, HostError> {
        let agent = self.load.agent;
        let state = State::new(Arc::clone(&self.fleet), agent, self.load.memory_bytes);
        let fuel = self.load.fuel.max(INIT_FUEL);
        let mut guest = guest(&self.program, state, fuel);
        let made = make(&self.program, &mut guest, Some(bytes)).map_err(|error| {
            HostError::of_machine(agent, &error).unwrap_or_else(|| {
                let reason = format!("{error:#}");
                self.unrestorable(RestoreError::Instance { reason })
            })
        })?;
        // What a start function has said was said when the agent was loaded first.
        guest.data_mut().effects.take();
        // The component has put its first data there.
        guest
            .clear_memory()
            .map_err(|error| HostError::of_memory(agent, &error))?;
        Ok(Instance::new(guest, made))
    }

    fn restore_page(&mut self, restoring: &mut Restoring, page: Page) -> Result<(), RestoreError> {
        let Page { index, bytes } = page;
        let memory = restoring
            .instance
            .as_mut()
            .map_or(&mut [][..], |instance| instance.guest.memory_mut());
        let memory_bytes = memory.len();
        let (pages, _) = memory.as_chunks_mut::<PAGE_BYTES>();
        let position = usize::try_from(index).unwrap_or(usize::MAX);
        let place = pages.get_mut(position).ok_or(RestoreError::PageOutside {
            index,
            memory_bytes,
        })?;
        if u64::from(index) < restoring.next_page {
            return Err(RestoreError::PageOrder { index });
        }
        restoring.next_page = u64::from(index) + 1;
        match bytes.len() {
            0 => {}
            PAGE_BYTES => place.copy_from_slice(&bytes),
            bytes => return Err(RestoreError::PageBytes { index, bytes }),
        }
        self.mirror.set(position, bytes);
        Ok(())
    }

    fn finish_restoring(&mut self, restoring: Restoring) -> Result<Life, HostError> {
        self.next_request = restoring.next_request;
        Ok(match (restoring.life, restoring.instance) {
            (SavedInstance::Running { globals, .. }, Some(mut instance)) => {
                instance
                    .set_variables(&self.program, &globals)
                    .map_err(|error| HostError::variables(self.load.agent, &error))?;
                Life::Running(instance)
            }
            (SavedInstance::Failed, _) => Life::Fallen,
            (SavedInstance::Halted, _) => Life::Halted,
            (SavedInstance::Running { .. }, None) => unreachable!("the first record makes one"),
        })
    }

    /// Refuses what needs a state while it is still awaited.
    pub(super) fn expect_restored(&self, what: &str) -> Result<(), HostError> {
        match self.life {
            Life::Awaited(_) => {
                let what = what.to_owned();
                Err(self.unrestorable(RestoreError::TooEarly { what }))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn unrestorable(&self, source: RestoreError) -> HostError {
        let agent = self.load.agent;
        HostError::Restore { agent, source }
    }
}

/// Bytes of a page as WebAssembly counts them.
const WASM_PAGE_BYTES: u64 = 64 << 10;
