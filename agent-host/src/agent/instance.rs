//! An instance of an agent: its store, its memory, and its exports.

use crate::awaits::expect_ready;
use crate::bindings::{Config, Event, v0_1};
use crate::compiled_component::{CompiledComponent, GlobalAccessors};
use crate::imports::MAX_ARGUMENT_BYTES;
use crate::store_data::StoreData;
use crate::sys::{GuestStore, StepFunction};
use wasmtime::component::{self, ComponentNamedList, ComponentType, Lift, Lower, TypedFunc};
use wasmtime::{Store, StoreContextMut};

/// Fuel of `init`, where a step has less: about a second. `init` is called before the first tick, or once after a
/// failure, and the start-up of language runtimes takes more than a step.
pub(super) const INIT_FUEL: u64 = 1_000_000_000;

/// Fuel of reading or writing one global; the call needs a fraction of it.
const ACCESS_FUEL: u64 = 1_000;

/// An instance of an agent.
pub(super) struct AgentInstance {
    pub(super) store: GuestStore<StoreData>,
    pub(super) exports: InstanceExports,
    /// Looked up at the first use, because most instances end without a snapshot.
    accessors: Option<AccessorFunctions>,
}

/// The exports of an instance.
pub(super) struct InstanceExports {
    pub(super) step: StepExport,
    handle: component::Instance,
}

/// The configuration of an agent, as the version of its interface has it.
pub(super) enum VersionedConfig {
    V0_1(v0_1::Config),
    V0_2(Config),
}

/// The step of an agent, by how it is called.
pub(super) enum StepExport {
    /// It runs from beginning to end on the stack of the host.
    Direct(StepFunction),
    /// It can await, and runs on a stack of its own.
    OnFiber(StepOnFiber),
}

/// The step of an agent that can await. It owns its events, because it can outlive the record that carried them.
pub(super) type StepOnFiber = TypedFunc<(Vec<Event>,), ()>;

type AccessorFunctions = GlobalAccessors<TypedFunc<(u32,), (u64,)>, TypedFunc<(u32, u64), ()>>;

/// A store for one instance, with this much fuel.
pub(super) fn new_store(
    component: &CompiledComponent,
    data: StoreData,
    fuel: u64,
) -> GuestStore<StoreData> {
    // The content of a whole step fits the arguments of one call, with as much again for names and lists around it.
    let argument_bytes = MAX_ARGUMENT_BYTES.max(data.shared.max_step_bytes.saturating_mul(2));
    let mut store = Store::new(component.instance_pre.engine(), data);
    store.limiter(|data| &mut data.limiter);
    store.set_hostcall_fuel(argument_bytes);
    let mut store = GuestStore::new(store);
    refuel(&mut store.context(), fuel);
    store
}

impl InstanceExports {
    /// Calls `init`.
    ///
    /// # Errors
    /// Those of wasmtime, when the call does not return.
    pub(super) fn call_init(
        &self,
        store: &mut GuestStore<StoreData>,
        config: &VersionedConfig,
    ) -> wasmtime::Result<Result<(), String>> {
        match config {
            VersionedConfig::V0_1(config) => self.call_init_with(store, config),
            VersionedConfig::V0_2(config) => self.call_init_with(store, config),
        }
    }

    fn call_init_with<C: ComponentType + Lower + Sync>(
        &self,
        store: &mut GuestStore<StoreData>,
        config: &C,
    ) -> wasmtime::Result<Result<(), String>> {
        let mut context = store.context();
        let init: TypedFunc<(&C,), (Result<(), String>,)> =
            self.handle.get_typed_func(&mut context, "init")?;
        let called = match self.step {
            StepExport::Direct(_) => init.call(context, (config,)),
            StepExport::OnFiber(_) => expect_ready(init.call_async(context, (config,))),
        };
        called.map(|(result,)| result)
    }
}

/// Makes the one instance of `store`. `memory_bytes` is the size of its memory if it differs from the declared one.
///
/// # Errors
/// Those of wasmtime.
pub(super) fn instantiate(
    component: &CompiledComponent,
    store: &mut GuestStore<StoreData>,
    memory_bytes: Option<usize>,
) -> wasmtime::Result<InstanceExports> {
    let handle = store.instantiate(&component.instance_pre, memory_bytes, component.can_await)?;
    let step = match component.can_await {
        true => StepExport::OnFiber(handle.get_typed_func(store.context(), component.step)?),
        false => {
            let step = handle.get_func(store.context(), component.step);
            let step = step.ok_or_else(|| wasmtime::Error::msg("`step` is no function"))?;
            StepExport::Direct(StepFunction::new(store.context(), step)?)
        }
    };
    Ok(InstanceExports { step, handle })
}

impl AgentInstance {
    pub(super) fn new(store: GuestStore<StoreData>, exports: InstanceExports) -> AgentInstance {
        AgentInstance {
            store,
            exports,
            accessors: None,
        }
    }

    /// The values of the mutable globals, as bits.
    ///
    /// # Errors
    /// When the artifact's accessor functions are not those of our compiler.
    pub(super) fn globals(&mut self, component: &CompiledComponent) -> wasmtime::Result<Vec<u64>> {
        let Some(GlobalAccessors { get, .. }) = self.accessors(component)? else {
            return Ok(Vec::new());
        };
        let read = |index| {
            let mut context = self.store.context();
            refuel(&mut context, ACCESS_FUEL);
            let (bits,) = call(component, &get, context, (index,))?;
            Ok(bits)
        };
        (0..component.globals()).map(read).collect()
    }

    /// Sets the mutable globals to these bits.
    ///
    /// # Errors
    /// As for [`AgentInstance::globals`].
    pub(super) fn set_globals(
        &mut self,
        component: &CompiledComponent,
        bits: &[u64],
    ) -> wasmtime::Result<()> {
        let Some(GlobalAccessors { set, .. }) = self.accessors(component)? else {
            return Ok(());
        };
        for (bits, index) in bits.iter().zip(0..) {
            let mut context = self.store.context();
            refuel(&mut context, ACCESS_FUEL);
            call(component, &set, context, (index, *bits))?;
        }
        Ok(())
    }

    /// The accessor functions of the globals; `None` if there are no globals.
    fn accessors(
        &mut self,
        component: &CompiledComponent,
    ) -> wasmtime::Result<Option<AccessorFunctions>> {
        let names = &component.accessors;
        if let (None, Some(GlobalAccessors { get, set })) = (&self.accessors, names) {
            let (handle, mut context) = (self.exports.handle, self.store.context());
            self.accessors = Some(GlobalAccessors {
                get: handle.get_typed_func(&mut context, get)?,
                set: handle.get_typed_func(&mut context, set)?,
            });
        }
        Ok(self.accessors)
    }
}

/// Calls a function that the compiler has added, which never awaits.
fn call<Params, Return>(
    component: &CompiledComponent,
    function: &TypedFunc<Params, Return>,
    context: StoreContextMut<'_, StoreData>,
    params: Params,
) -> wasmtime::Result<Return>
where
    Params: ComponentNamedList + Lower,
    Return: ComponentNamedList + Lift + 'static,
{
    match component.can_await {
        true => expect_ready(function.call_async(context, params)),
        false => function.call(context, params),
    }
}

pub(super) fn refuel(context: &mut StoreContextMut<'_, StoreData>, fuel: u64) {
    context
        .set_fuel(fuel)
        .expect("every configuration of the engine enables fuel");
}

pub(super) fn fuel_left(context: &StoreContextMut<'_, StoreData>) -> u64 {
    context
        .get_fuel()
        .expect("every configuration of the engine enables fuel")
}
