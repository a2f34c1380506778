//! From events as the supervisor sends them to events as agents get them.

use crate::bindings::Event;
use crate::bindings::lockstep::agent::types::{InferenceResult, Message, NamedTensor, Tensor};
use crate::fleet::Fleet;
use shm_protocol::id::ModelId;
use shm_protocol::supervisor_to_agent::{AgentEvent as Sent, RequestResult};
use shm_protocol::tensor;
use std::sync::Arc;

/// Replaces what is in `into` by these events. Payloads are moved, not copied.
pub(crate) fn convert(fleet: &Fleet, events: Vec<Sent>, into: &mut Vec<Event>) {
    into.clear();
    into.extend(events.into_iter().map(|event| one(fleet, event)));
}

fn one(fleet: &Fleet, event: Sent) -> Event {
    match event {
        Sent::Message { sender, payload } => Event::Message(Message {
            sender: sender.0,
            payload,
        }),
        Sent::Inference {
            request,
            model,
            outcome,
        } => {
            let outcome = answer(fleet, model, outcome);
            Event::Inference(InferenceResult {
                request: request.0,
                outcome,
            })
        }
    }
}

/// The answer of a model with the names of its outputs.
pub(crate) fn answer(
    fleet: &Fleet,
    model: ModelId,
    answer: Arc<RequestResult>,
) -> Result<Vec<NamedTensor>, String> {
    let ports = fleet
        .model(model)
        .map_or(&[][..], |(_, ports)| &ports.signature.outputs);
    let name = |position: usize| {
        ports
            .get(position)
            .map_or_else(String::new, |port| port.name.clone())
    };
    Arc::unwrap_or_clone(answer).map(|outputs| {
        outputs
            .into_iter()
            .enumerate()
            .map(|(position, output)| named(name(position), output))
            .collect()
    })
}

fn named(name: String, output: tensor::Tensor) -> NamedTensor {
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
