//! The functions that find agents and models: by number and by name.

use crate::shared_config::NameTable;
use crate::store_data::StoreData;
use wasmtime::component::{LinkerInstance, WasmStr};
use wasmtime::{AsContext, StoreContextMut};

/// Defines the functions. They have no effect, and may be called from `init`.
pub(super) fn define(host: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
    define_for(host, ["agent-count", "agent-name", "find-agent"], |data| {
        &data.shared.agents
    })?;
    define_for(host, ["model-count", "model-name", "find-model"], |data| {
        &data.shared.models
    })
}

fn define_for(
    host: &mut LinkerInstance<'_, StoreData>,
    [count, name, find]: [&str; 3],
    table: fn(&StoreData) -> &NameTable,
) -> wasmtime::Result<()> {
    host.func_wrap(count, move |store: StoreContextMut<'_, StoreData>, ()| {
        Ok((table(store.data()).len(),))
    })?;
    host.func_wrap(
        name,
        move |store: StoreContextMut<'_, StoreData>, (number,): (u32,)| {
            let name = table(store.data()).name(number);
            Ok((name.map(str::to_owned),))
        },
    )?;
    host.func_wrap(
        find,
        move |store: StoreContextMut<'_, StoreData>, (name,): (WasmStr,)| {
            let name = name.to_str(store.as_context())?;
            Ok((table(store.data()).number(&name),))
        },
    )
}
