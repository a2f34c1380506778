//! The numbers of agents and models, by their names in the fleet file.

use crate::{AgentId, Config, ModelId};

/// The number of the agent with this name; the error lists the agents.
pub fn agent_id_by_name(config: &Config, name: &str) -> Result<AgentId, String> {
    position("agent", &config.agents, name)
}

/// The number of the model with this name; the error lists the models.
pub fn model_id_by_name(config: &Config, name: &str) -> Result<ModelId, String> {
    position("model", &config.models, name)
}

fn position(kind: &str, names: &[String], name: &str) -> Result<u32, String> {
    match names.iter().position(|candidate| candidate == name) {
        Some(position) => Ok(position as u32),
        None if names.is_empty() => Err(format!(
            "no {kind} is named \"{name}\": this fleet has no {kind}s"
        )),
        // A fleet may have thousands, and an error message is read by a person.
        None => Err(format!(
            "no {kind} is named \"{name}\"; the first of {} is \"{}\"",
            names.len(),
            names[0]
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_position_or_says_what_is_there() {
        let names = ["left".to_string(), "right".to_string()];
        assert_eq!(position("agent", &names, "right"), Ok(1));
        assert_eq!(
            position("agent", &names, "middle").unwrap_err(),
            "no agent is named \"middle\"; the first of 2 is \"left\""
        );
        assert_eq!(
            position("model", &[], "policy").unwrap_err(),
            "no model is named \"policy\": this fleet has no models"
        );
    }
}
