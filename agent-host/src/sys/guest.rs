//! An instance's store and its one memory, which can only be used together.
#![allow(unsafe_code, reason = "each block says why it is sound")]

use super::memory::{Reservation, pair};
use crate::waits::at_once;
use std::io;
use std::sync::Arc;
use wasmtime::component::{Instance, InstancePre};
use wasmtime::{AsContextMut, Store, StoreContextMut};

/// An instance's store and its one memory.
///
/// The store never leaves this value: [`Guest::context`] gives a loan of it, with which code of the instance can run.
/// So while this value is borrowed otherwise, none runs, and the memory holds still.
pub(crate) struct Guest<T: 'static> {
    store: Store<T>,
    memory: Option<Arc<Reservation>>,
}

impl<T: 'static> Guest<T> {
    /// A store in which an instance can be made.
    pub(crate) fn new(store: Store<T>) -> Self {
        Guest {
            store,
            memory: None,
        }
    }

    /// Makes the instance. `memory_bytes` is the size of its memory if it is not the one that the component declares.
    /// `waits` says that the component imports functions that wait.
    ///
    /// The functions that the component imports must not make instances.
    ///
    /// # Errors
    /// Those of wasmtime, and an [`io::Error`] when the machine has no room for a memory.
    ///
    /// # Panics
    /// When it is called twice.
    pub(crate) fn instantiate(
        &mut self,
        component: &InstancePre<T>,
        memory_bytes: Option<usize>,
        waits: bool,
    ) -> wasmtime::Result<Instance>
    where
        T: Send,
    {
        assert!(self.memory.is_none(), "a guest has one instance");
        let (instance, expected) = pair(memory_bytes, || match waits {
            true => at_once(component.instantiate_async(&mut self.store)),
            false => component.instantiate(&mut self.store),
        });
        if let Some(error) = expected.failed {
            return Err(error.into());
        }
        self.memory = expected.made;
        instance
    }

    /// The store, to run code of the instance in.
    pub(crate) fn context(&mut self) -> StoreContextMut<'_, T> {
        self.store.as_context_mut()
    }

    /// What the store holds beside the instance.
    pub(crate) fn data_mut(&mut self) -> &mut T {
        self.store.data_mut()
    }

    /// The bytes of the memory; none if the component has no memory.
    pub(crate) fn memory(&self) -> &[u8] {
        // SAFETY: what writes to the memory is code of the instance, which needs the store by an exclusive borrow, and
        // `memory_mut` and `clear_memory`, which do too. The store was given to this value whole, and `context` does
        // not let it be exchanged for another. That the memory is of an instance in this store is so because `pair`
        // gives the memory that was made while this store's one instance was.
        self.memory
            .as_ref()
            .map_or(&[], |memory| unsafe { memory.bytes() })
    }

    /// The bytes of the memory, to be replaced.
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
