//! The resource limits of an instance. Every decision is a function of the fleet file and never of the machine: when
//! the machine lacks memory, the host fails, not the agent.

use std::fmt;
use wasmtime::ResourceLimiter;

/// Maximum entries of all tables of an instance together. Compilers emit about one entry for each function.
const MAX_TABLE_ENTRIES: usize = 1 << 20;
/// Maximum core instances of a component. Compilers make three; composed components have more.
const MAX_INSTANCES: usize = 64;
/// The instance with the accessor functions of the globals, which the compiler adds.
const ADDED_INSTANCES: usize = 1;
/// Maximum tables of a component.
const MAX_TABLES: usize = 64;
/// Maximum memories of a component: an agent has one, which is captured.
const MAX_MEMORIES: usize = 1;

/// The limits of one instance.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_bytes: usize,
    table_entries: usize,
    /// The last admitted growth exceeds the maximum that the memory declares, so the engine must refuse it.
    exceeds_declared_maximum: bool,
}

/// The machine lacks memory that the fleet file grants an agent.
#[derive(Debug)]
pub(crate) struct MachineExhausted;

impl fmt::Display for MachineExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the machine is out of memory for an agent that has not reached its memory_bytes",
        )
    }
}

impl std::error::Error for MachineExhausted {}

impl Limiter {
    pub(crate) fn new(memory_bytes: u64) -> Self {
        let memory_bytes = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        Limiter {
            memory_bytes,
            table_entries: 0,
            exceeds_declared_maximum: false,
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.exceeds_declared_maximum = maximum.is_some_and(|maximum| desired > maximum);
        Ok(desired <= self.memory_bytes)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // An agent must not observe that this machine has less memory than another.
        if self.exceeds_declared_maximum {
            Ok(())
        } else {
            Err(MachineExhausted.into())
        }
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = desired.saturating_sub(current);
        let admitted = maximum.is_none_or(|maximum| desired <= maximum)
            && grown <= MAX_TABLE_ENTRIES - self.table_entries;
        if admitted {
            self.table_entries += grown;
        }
        Ok(admitted)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(MachineExhausted.into())
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES + ADDED_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_to_its_limit_and_no_further() {
        let mut limiter = Limiter::new(1 << 20);
        assert!(limiter.memory_growing(0, 1 << 20, None).expect("no error"));
        assert!(
            !limiter
                .memory_growing(0, (1 << 20) + 1, None)
                .expect("no error")
        );
    }

    #[test]
    fn only_the_machine_makes_growth_an_error() {
        let mut limiter = Limiter::new(1 << 20);
        let failed = || wasmtime::Error::msg("no");
        limiter
            .memory_growing(0, 1 << 17, Some(1 << 16))
            .expect("no error");
        limiter
            .memory_grow_failed(failed())
            .expect("the declared maximum is the same on every machine");
        limiter
            .memory_growing(0, 1 << 17, Some(1 << 18))
            .expect("no error");
        limiter
            .memory_grow_failed(failed())
            .expect_err("another machine may have the memory");
    }

    #[test]
    fn tables_share_one_limit() {
        let mut limiter = Limiter::new(0);
        assert!(
            limiter
                .table_growing(0, MAX_TABLE_ENTRIES, None)
                .expect("no error")
        );
        assert!(!limiter.table_growing(0, 1, None).expect("no error"));
    }
}
