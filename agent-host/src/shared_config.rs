//! The configuration that all agents of the fleet share.

use shm_protocol::id::ModelId;
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::{AgentSetup, ModelPorts};
use std::sync::OnceLock;

/// The configuration that all agents of the fleet share. The ports of the models become known last.
pub(crate) struct SharedConfig {
    /// Key of all random numbers of the run.
    pub(crate) random_key: [u8; 32],
    /// Maximum bytes of all effects of a step.
    pub(crate) max_step_bytes: usize,
    pub(crate) agents: NameTable,
    pub(crate) models: NameTable,
    ports: OnceLock<Vec<ModelPorts>>,
}

impl SharedConfig {
    pub(crate) fn new(setup: AgentSetup) -> Self {
        SharedConfig {
            random_key: setup.random_key,
            max_step_bytes: usize::try_from(setup.max_step_bytes).unwrap_or(limit::MAX_STEP_BYTES),
            agents: NameTable::new(setup.agents),
            models: NameTable::new(setup.models),
            ports: OnceLock::new(),
        }
    }

    /// Sets the inputs and outputs of the models. Only the first call has an effect.
    pub(crate) fn set_ports(&self, ports: Vec<ModelPorts>) {
        // The command loop ends at the first `Start`, so there is no second call.
        let _ = self.ports.set(ports);
    }

    /// A model's name and ports.
    pub(crate) fn model(&self, model: ModelId) -> Option<(&str, &ModelPorts)> {
        let ports = self.ports.get()?.get(model.index())?;
        Some((self.models.name(model.0)?, ports))
    }
}

/// Names by their numbers, and numbers by their names.
pub(crate) struct NameTable {
    names: Vec<String>,
    /// The numbers in the order of the names.
    sorted: Vec<u32>,
}

impl NameTable {
    fn new(names: Vec<String>) -> NameTable {
        let mut sorted: Vec<u32> = (0..).take(names.len()).collect();
        sorted.sort_by_key(|number| &names[*number as usize]);
        NameTable { names, sorted }
    }

    /// All names, by their numbers.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of names.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.names.len()).expect("numbers of agents and models have 32 bits")
    }

    /// The name with this number.
    pub(crate) fn name(&self, number: u32) -> Option<&str> {
        self.names.get(number as usize).map(String::as_str)
    }

    /// The number of this name.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        let by_name = |number: &u32| self.names[*number as usize].as_str().cmp(name);
        let position = self.sorted.binary_search_by(by_name).ok()?;
        Some(self.sorted[position])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_find_each_other() {
        let names = ["walker", "left", "right", "Left"].map(str::to_owned);
        let table = NameTable::new(names.to_vec());
        for (number, name) in (0..).zip(&names) {
            assert_eq!(table.number(name), Some(number));
            assert_eq!(table.name(number), Some(name.as_str()));
        }
        assert_eq!(table.number("middle"), None);
        assert_eq!(table.name(4), None);
        assert_eq!(table.len(), 4);
    }
}
