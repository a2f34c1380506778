//! The state of an agent that is being restored from records.
//!
//! The supervisor has checked where the records come from. Whether they fit the component is checked here, before they
//! are used.

use super::instance::{AgentInstance, INIT_FUEL, instantiate, new_store};
use super::shadow_memory::ShadowMemory;
use crate::compiled_component::CompiledComponent;
use crate::error::{AgentHostError, RestoreError};
use crate::shared_config::SharedConfig;
use crate::store_data::StoreData;
use shm_protocol::agent_state::{PAGE_BYTES, Page, SavedInstance, StateRecord};
use shm_protocol::id::RequestId;
use shm_protocol::supervisor_to_agent::LoadAgent;
use std::sync::Arc;

/// Size of a page in WebAssembly.
const WASM_PAGE_BYTES: u64 = 64 << 10;

/// A state whose last record has not arrived.
pub(super) struct PartialRestore {
    pub(super) next_request: RequestId,
    saved: SavedInstance,
    instance: Option<AgentInstance>,
    /// Smallest number that the next page may have.
    next_page: u64,
}

impl PartialRestore {
    /// Begins with the first record: makes an instance whose memory has the recorded size and is zero.
    pub(super) fn begin(
        shared: &Arc<SharedConfig>,
        component: &CompiledComponent,
        load: &LoadAgent,
        shadow: &mut ShadowMemory,
        record: &StateRecord,
    ) -> Result<PartialRestore, AgentHostError> {
        let mut restore = PartialRestore {
            next_request: record.next_request,
            saved: record.life.clone(),
            instance: None,
            next_page: 0,
        };
        shadow.clear(0);
        let SavedInstance::Running {
            memory_bytes,
            globals,
        } = &record.life
        else {
            return Ok(restore);
        };
        let refused = |source| AgentHostError::Restore {
            agent: load.agent,
            source,
        };
        let (memory_bytes, declared) = (*memory_bytes, component.globals());
        if usize::try_from(declared) != Ok(globals.len()) {
            let given = globals.len();
            return Err(refused(RestoreError::Globals { given, declared }));
        }
        let invalid_size = || {
            refused(RestoreError::MemoryBytes {
                memory_bytes,
                max_bytes: load.memory_bytes,
            })
        };
        let is_valid =
            memory_bytes <= load.memory_bytes && memory_bytes.is_multiple_of(WASM_PAGE_BYTES);
        let bytes = usize::try_from(memory_bytes).ok().filter(|_| is_valid);
        let bytes = bytes.ok_or_else(invalid_size)?;
        let instance = instance_with_memory(shared, component, load, bytes)?;
        if instance.store.memory().len() != bytes {
            return Err(invalid_size());
        }
        shadow.clear(bytes);
        restore.instance = Some(instance);
        Ok(restore)
    }

    /// Applies a record: the first one once more, or one that follows it.
    pub(super) fn apply(
        &mut self,
        record: StateRecord,
        shadow: &mut ShadowMemory,
    ) -> Result<(), RestoreError> {
        if self.saved != record.life || self.next_request != record.next_request {
            return Err(RestoreError::Mixed);
        }
        let mut pages = record.pages.into_iter();
        pages.try_for_each(|page| self.apply_page(page, shadow))
    }

    fn apply_page(&mut self, page: Page, shadow: &mut ShadowMemory) -> Result<(), RestoreError> {
        let Page { index, bytes } = page;
        let memory = self
            .instance
            .as_mut()
            .map_or(&mut [][..], |instance| instance.store.memory_mut());
        let memory_bytes = memory.len();
        let (pages, _) = memory.as_chunks_mut::<PAGE_BYTES>();
        let position = usize::try_from(index).unwrap_or(usize::MAX);
        let target = pages.get_mut(position).ok_or(RestoreError::PageOutside {
            index,
            memory_bytes,
        })?;
        if u64::from(index) < self.next_page {
            return Err(RestoreError::PageOrder { index });
        }
        self.next_page = u64::from(index) + 1;
        match bytes.len() {
            0 => {}
            PAGE_BYTES => target.copy_from_slice(&bytes),
            bytes => return Err(RestoreError::PageBytes { index, bytes }),
        }
        shadow.set(position, bytes);
        Ok(())
    }

    /// Completes the restore after the last record. The instance is there if, and only if, the saved one was running.
    pub(super) fn finish(
        mut self,
        component: &CompiledComponent,
    ) -> wasmtime::Result<(SavedInstance, Option<AgentInstance>)> {
        if let (SavedInstance::Running { globals, .. }, Some(instance)) =
            (&self.saved, &mut self.instance)
        {
            instance.set_globals(component, globals)?;
        }
        Ok((self.saved, self.instance))
    }
}

fn instance_with_memory(
    shared: &Arc<SharedConfig>,
    component: &CompiledComponent,
    load: &LoadAgent,
    bytes: usize,
) -> Result<AgentInstance, AgentHostError> {
    let agent = load.agent;
    let data = StoreData::new(Arc::clone(shared), load);
    let mut store = new_store(component, data, load.fuel.max(INIT_FUEL));
    let exports = instantiate(component, &mut store, Some(bytes)).map_err(|error| {
        AgentHostError::of_machine(agent, &error).unwrap_or_else(|| {
            let reason = format!("{error:#}");
            let source = RestoreError::Instance { reason };
            AgentHostError::Restore { agent, source }
        })
    })?;
    // The effects of a start function were reported when the agent was first loaded.
    store.data_mut().effects.take();
    // Instantiation has written the component's initial data.
    store
        .clear_memory()
        .map_err(|error| AgentHostError::of_memory(agent, &error))?;
    Ok(AgentInstance::new(store, exports))
}
