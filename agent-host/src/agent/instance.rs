//! An instance of an agent: its store, its memory, and what can be called.

use super::waiting::StepOnFiber;
use crate::bindings::{self, Config};
use crate::imports::ARGUMENT_BYTES;
use crate::program::{Accessors, Program};
use crate::state::State;
use crate::sys::Guest;
use crate::waits::at_once;
use wasmtime::component::{self, ComponentNamedList, Lift, Lower, TypedFunc};
use wasmtime::{Store, StoreContextMut};

/// Fuel of reading or writing one variable, many times over.
const ACCESS_FUEL: u64 = 1_000;

/// An instance of an agent.
pub(super) struct Instance {
    pub(super) guest: Guest<State>,
    pub(super) exports: Exports,
    handle: component::Instance,
    /// Looked up when they are first used: most instances end before.
    accessors: Option<Functions>,
}

/// The step of an agent, by how it is called.
pub(super) enum Exports {
    /// It runs from beginning to end.
    Plain(bindings::Agent),
    /// It may wait.
    Waiting(StepOnFiber),
}

type Functions = Accessors<TypedFunc<(u32,), (u64,)>, TypedFunc<(u32, u64), ()>>;

/// What an instance is made in. It has this much fuel to begin with.
pub(super) fn guest(program: &Program, state: State, fuel: u64) -> Guest<State> {
    // What a step may hold fits into the arguments of one call, whatever stands around it.
    let arguments = ARGUMENT_BYTES.max(state.fleet.step_bytes().saturating_mul(2));
    let mut store = Store::new(program.instances.engine(), state);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(arguments);
    let mut guest = Guest::new(store);
    refuel(&mut guest.context(), fuel);
    guest
}

/// What an instance has to be called.
pub(super) struct Made {
    exports: Exports,
    handle: component::Instance,
}

impl Made {
    /// Calls `init`.
    ///
    /// # Errors
    /// Those of wasmtime, when the call does not return.
    pub(super) fn call_init(
        &self,
        guest: &mut Guest<State>,
        config: &Config,
    ) -> wasmtime::Result<Result<(), String>> {
        match &self.exports {
            Exports::Plain(exports) => exports.call_init(guest.context(), config),
            Exports::Waiting(_) => {
                let mut context = guest.context();
                let init: TypedFunc<(&Config,), (Result<(), String>,)> =
                    self.handle.get_typed_func(&mut context, "init")?;
                at_once(init.call_async(context, (config,))).map(|(result,)| result)
            }
        }
    }
}

/// Makes the one instance of `guest`. `memory_bytes` is the size of its memory if it is not the declared one.
///
/// # Errors
/// Those of wasmtime.
pub(super) fn make(
    program: &Program,
    guest: &mut Guest<State>,
    memory_bytes: Option<usize>,
) -> wasmtime::Result<Made> {
    let handle = guest.instantiate(&program.instances, memory_bytes, program.waits)?;
    let exports = match program.waits {
        true => Exports::Waiting(handle.get_typed_func(guest.context(), "step")?),
        false => Exports::Plain(program.exports.load(guest.context(), &handle)?),
    };
    Ok(Made { exports, handle })
}

impl Instance {
    pub(super) fn new(guest: Guest<State>, made: Made) -> Instance {
        Instance {
            guest,
            exports: made.exports,
            handle: made.handle,
            accessors: None,
        }
    }

    /// The variables outside of the memory, as bits.
    ///
    /// # Errors
    /// When the functions of the artifact are not those of our compiler.
    pub(super) fn variables(&mut self, program: &Program) -> wasmtime::Result<Vec<u64>> {
        let Some(Accessors { get, .. }) = self.accessors(program)? else {
            return Ok(Vec::new());
        };
        let read = |index| {
            let mut context = self.guest.context();
            refuel(&mut context, ACCESS_FUEL);
            let (bits,) = call(program, &get, context, (index,))?;
            Ok(bits)
        };
        (0..program.globals()).map(read).collect()
    }

    /// Gives the variables these bits.
    ///
    /// # Errors
    /// As for [`Instance::variables`].
    pub(super) fn set_variables(
        &mut self,
        program: &Program,
        bits: &[u64],
    ) -> wasmtime::Result<()> {
        let Some(Accessors { set, .. }) = self.accessors(program)? else {
            return Ok(());
        };
        for (bits, index) in bits.iter().zip(0..) {
            let mut context = self.guest.context();
            refuel(&mut context, ACCESS_FUEL);
            call(program, &set, context, (index, *bits))?;
        }
        Ok(())
    }

    /// The functions that give the variables; `None` if there are no variables.
    fn accessors(&mut self, program: &Program) -> wasmtime::Result<Option<Functions>> {
        if let (None, Some(Accessors { get, set })) = (&self.accessors, &program.accessors) {
            let (handle, mut context) = (self.handle, self.guest.context());
            self.accessors = Some(Accessors {
                get: handle.get_typed_func(&mut context, get)?,
                set: handle.get_typed_func(&mut context, set)?,
            });
        }
        Ok(self.accessors)
    }
}

/// Calls a function that the compiler has added, which never waits.
fn call<Params, Return>(
    program: &Program,
    function: &TypedFunc<Params, Return>,
    context: StoreContextMut<'_, State>,
    params: Params,
) -> wasmtime::Result<Return>
where
    Params: ComponentNamedList + Lower,
    Return: ComponentNamedList + Lift + 'static,
{
    match program.waits {
        true => at_once(function.call_async(context, params)),
        false => function.call(context, params),
    }
}

pub(super) fn refuel(context: &mut StoreContextMut<'_, State>, fuel: u64) {
    context
        .set_fuel(fuel)
        .expect("fuel is on in every configuration of ours");
}

pub(super) fn fuel_left(context: &StoreContextMut<'_, State>) -> u64 {
    context
        .get_fuel()
        .expect("fuel is on in every configuration of ours")
}
