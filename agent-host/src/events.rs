//! Conversion of events from the supervisor's messages to the types that agents receive.

use crate::bindings::Event;
use crate::bindings::lockstep::agent::types::{InferenceResult, Message, NamedTensor, Tensor};
use crate::shared_config::SharedConfig;
use shm_protocol::id::ModelId;
use shm_protocol::supervisor_to_agent::{AgentEvent, RequestResult};
use shm_protocol::tensor;
use std::sync::Arc;

/// Replaces the content of `into` by the converted events. Payloads are moved, not copied.
pub(crate) fn convert(shared: &SharedConfig, events: Vec<AgentEvent>, into: &mut Vec<Event>) {
    into.clear();
    into.extend(events.into_iter().map(|event| convert_event(shared, event)));
}

fn convert_event(shared: &SharedConfig, event: AgentEvent) -> Event {
    match event {
        AgentEvent::Message { sender, payload } => Event::Message(Message {
            sender: sender.0,
            payload,
        }),
        AgentEvent::Inference {
            request,
            model,
            outcome,
        } => Event::Inference(InferenceResult {
            request: request.0,
            outcome: convert_result(shared, model, outcome),
        }),
    }
}

/// The result of a request, with the names of the model's outputs.
pub(crate) fn convert_result(
    shared: &SharedConfig,
    model: ModelId,
    result: Arc<RequestResult>,
) -> Result<Vec<NamedTensor>, String> {
    let ports = shared
        .model(model)
        .map_or(&[][..], |(_, ports)| &ports.signature.outputs);
    let name = |position: usize| {
        ports
            .get(position)
            .map_or_else(String::new, |port| port.name.clone())
    };
    Arc::unwrap_or_clone(result).map(|outputs| {
        outputs
            .into_iter()
            .enumerate()
            .map(|(position, output)| named_tensor(name(position), output))
            .collect()
    })
}

fn named_tensor(name: String, output: tensor::Tensor) -> NamedTensor {
    let shape = output.shape.dims().to_vec();
    NamedTensor {
        name,
        value: Tensor {
            dtype: output.dtype.into(),
            shape,
            data: output.data,
        },
    }
}
