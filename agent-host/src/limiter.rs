//! What an instance may hold of the machine. Every answer is a function of
//! the fleet file; the machine itself is never asked, and when it has no more
//! to give, the host fails rather than the agent.

use std::fmt;
use wasmtime::ResourceLimiter;

/// Most entries of all tables of an instance together. A table holds a function or two for each in the source.
const TABLE_ENTRIES: usize = 1 << 20;
/// Most core instances of a component; compilers make three, and components joined from several more.
const INSTANCES: usize = 64;
/// The instance that the compiler adds, for the variables.
const ADDED_INSTANCES: usize = 1;
/// Most tables of a component.
const TABLES: usize = 64;
/// Exactly one memory is the state of an agent.
const MEMORIES: usize = 1;

/// The limits of one instance.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_bytes: usize,
    table_entries: usize,
    /// The growth that was admitted last is more than the memory's own maximum, so it must fail.
    beyond_own_maximum: bool,
}

/// The machine has no memory where the fleet file promises some.
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
            beyond_own_maximum: false,
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
        self.beyond_own_maximum = maximum.is_some_and(|maximum| desired > maximum);
        Ok(desired <= self.memory_bytes)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // An agent must not see that this machine has less memory than another.
        if self.beyond_own_maximum {
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
            && grown <= TABLE_ENTRIES - self.table_entries;
        if admitted {
            self.table_entries += grown;
        }
        Ok(admitted)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(MachineExhausted.into())
    }

    fn instances(&self) -> usize {
        INSTANCES + ADDED_INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
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
            .expect("its own maximum says so on every machine");
        limiter
            .memory_growing(0, 1 << 17, Some(1 << 18))
            .expect("no error");
        limiter
            .memory_grow_failed(failed())
            .expect_err("another machine would have had it");
    }

    #[test]
    fn tables_share_one_limit() {
        let mut limiter = Limiter::new(0);
        assert!(
            limiter
                .table_growing(0, TABLE_ENTRIES, None)
                .expect("no error")
        );
        assert!(!limiter.table_growing(0, 1, None).expect("no error"));
    }
}
