//! The exported step of an agent, called with borrowed events.

use crate::bindings::Event;
use wasmtime::component::{Func, TypedFunc};
use wasmtime::{AsContextMut, StoreContextMut};

/// A function that takes a list of events and returns nothing.
#[derive(Clone, Copy)]
pub(crate) struct StepFunction(Func);

impl StepFunction {
    /// The step of an instance in this store.
    ///
    /// # Errors
    /// When the function has another type.
    pub(crate) fn new(store: impl AsContextMut, function: Func) -> wasmtime::Result<StepFunction> {
        function.typed::<(&[Event],), ()>(store)?;
        Ok(StepFunction(function))
    }

    /// Calls the step.
    ///
    /// # Errors
    /// Those of wasmtime, when the call does not return.
    pub(crate) fn call<T>(
        self,
        store: StoreContextMut<'_, T>,
        events: &[Event],
    ) -> wasmtime::Result<()> {
        // SAFETY: `new` has checked that the function has these types; a typed function cannot be kept, because its
        // type names the lifetime of the borrowed events. A function of another store is refused by wasmtime itself.
        let step: TypedFunc<(&[Event],), ()> = unsafe { TypedFunc::new_unchecked(self.0) };
        step.call(store, (events,))
    }
}
