//! The numbers of agents and models, by their names in the fleet file.

use crate::{AgentId, ModelId, host};

/// The number of the agent with this name; the error names the first agent.
pub fn agent_id_by_name(name: &str) -> Result<AgentId, String> {
    host::find_agent(name)
        .ok_or_else(|| unknown("agent", name, host::agent_count(), host::agent_name(0)))
}

/// The number of the model with this name; the error names the first model.
pub fn model_id_by_name(name: &str) -> Result<ModelId, String> {
    host::find_model(name)
        .ok_or_else(|| unknown("model", name, host::model_count(), host::model_name(0)))
}

/// A fleet may have thousands, and an error message is read by a person.
fn unknown(kind: &str, name: &str, count: u32, first: Option<String>) -> String {
    match first {
        None => format!("no {kind} is named \"{name}\": this fleet has no {kind}s"),
        Some(first) => {
            format!("no {kind} is named \"{name}\"; the first of {count} is \"{first}\"")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_told_with_a_known_one() {
        assert_eq!(
            unknown("agent", "middle", 2, Some("left".to_owned())),
            "no agent is named \"middle\"; the first of 2 is \"left\""
        );
        assert_eq!(
            unknown("model", "policy", 0, None),
            "no model is named \"policy\": this fleet has no models"
        );
    }
}
