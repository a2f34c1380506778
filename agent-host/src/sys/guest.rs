//! The store and the memory of an instance, which can only be used together.

use super::memory::{MemoryReservation, with_expected_memory};
use crate::awaits::expect_ready;
use std::io;
use std::sync::Arc;
use wasmtime::component::{Instance, InstancePre};
use wasmtime::{AsContextMut, Store, StoreContextMut};

/// The store and the memory of one instance.
///
/// The store never leaves this value: [`GuestStore::context`] lends it, and only with that loan can code of the
/// instance run. So while this value is borrowed otherwise, no code runs and the memory does not change.
pub(crate) struct GuestStore<T: 'static> {
    store: Store<T>,
    memory: Option<Arc<MemoryReservation>>,
}

impl<T: 'static> GuestStore<T> {
    /// A store in which an instance can be made.
    pub(crate) fn new(store: Store<T>) -> Self {
        GuestStore {
            store,
            memory: None,
        }
    }

    /// Makes the instance. `memory_bytes` is the size of its memory if it differs from the declared one.
    /// `can_await` must hold if the component imports functions that await.
    ///
    /// The functions that the component imports must not make instances.
    ///
    /// # Errors
    /// Those of wasmtime, and an [`io::Error`] when the machine lacks memory.
    ///
    /// # Panics
    /// When called twice.
    pub(crate) fn instantiate(
        &mut self,
        component: &InstancePre<T>,
        memory_bytes: Option<usize>,
        can_await: bool,
    ) -> wasmtime::Result<Instance>
    where
        T: Send,
    {
        assert!(self.memory.is_none(), "a guest has one instance");
        let (instance, expected) = with_expected_memory(memory_bytes, || match can_await {
            true => expect_ready(component.instantiate_async(&mut self.store)),
            false => component.instantiate(&mut self.store),
        });
        if let Some(error) = expected.error {
            return Err(error.into());
        }
        self.memory = expected.memory;
        instance
    }

    /// The store, to run code of the instance.
    pub(crate) fn context(&mut self) -> StoreContextMut<'_, T> {
        self.store.as_context_mut()
    }

    /// The data of the store.
    pub(crate) fn data_mut(&mut self) -> &mut T {
        self.store.data_mut()
    }

    /// The bytes of the memory; empty if the component has no memory.
    pub(crate) fn memory(&self) -> &[u8] {
        // SAFETY: the memory is written by code of the instance, which needs an exclusive borrow of the store, and by
        // `memory_mut` and `clear_memory`, which need one too. This value owns the store, and `context` does not let it
        // be exchanged for another. That the memory is of an instance in this store is so because
        // `with_expected_memory` returns the memory that was made while this store's one instance was.
        self.memory
            .as_ref()
            .map_or(&[], |memory| unsafe { memory.bytes() })
    }

    /// The bytes of the memory, for writing.
    pub(crate) fn memory_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `memory`; and this borrow is exclusive, so there is no other slice either.
        self.memory
            .as_ref()
            .map_or(&mut [], |memory| unsafe { memory.bytes_mut() })
    }

    /// Makes all bytes of the memory zero.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn clear_memory(&mut self) -> io::Result<()> {
        // SAFETY: as in `memory_mut`.
        self.memory
            .as_ref()
            .map_or(Ok(()), |memory| unsafe { memory.clear() })
    }
}
