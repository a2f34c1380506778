//! The fields of each record, in the order in which `diff` compares them. Every record is taken apart by an exhaustive
//! pattern, so that a field which is added to it cannot be forgotten here.

use super::{FieldValue, Project};
use crate::record::{
    AgentPin, AwaitedRecord, Digest, DroppedMessages, EnginePin, ModelChange, ModelPin,
    ModelSettings, QuarantineReason, RequestName, ResultRecord, RunHeader, ScheduledChange,
    TickRecord, Verdict, VersionPin,
};
use shm_protocol::agent_to_supervisor::{Effect, LogLevel, LogLine, Outcome, Status};
use shm_protocol::generation::Generator;
use shm_protocol::id::{AgentId, ModelId, RequestId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::{Batching, RefusalReason};
use shm_protocol::supervisor_to_agent::{OnFailure, OnMismatch, RequestResult};
use shm_protocol::tensor::{Port, Signature, Tensor};
use std::borrow::Cow;

/// A record of variables under their names, and of projected values: `record!(header; agent, tick = from.project(header))`.
macro_rules! record {
    (@value $header:expr, $field:ident) => { $field.project($header) };
    (@value $header:expr, $field:ident, $value:expr) => { $value };
    ($header:expr; $($field:ident $(= $value:expr)?),+ $(,)?) => {
        FieldValue::Record(vec![
            $((stringify!($field).into(), record!(@value $header, $field $(, $value)?))),+
        ])
    };
}

macro_rules! project {
    // A type by an expression.
    ($($type:ty: |$value:ident, $header:ident| $projection:expr;)+) => {$(
        impl Project for $type {
            fn project<'run>(&'run self, $header: &'run RunHeader) -> FieldValue<'run> {
                let $value = self;
                $projection
            }
        }
    )+};
    // A record by its fields.
    ($($type:ty { $($field:ident),+ $(,)? })+) => {$(
        impl Project for $type {
            fn project<'run>(&'run self, header: &'run RunHeader) -> FieldValue<'run> {
                let Self { $($field),+ } = self;
                record!(header; $($field),+)
            }
        }
    )+};
}

project! {
    RunHeader {
        lockstep, wasmtime, fleet, seed, canonical_nan, max_step_bytes, agents, models, changes, engine,
    }
    AgentPin { name, component, settings, fuel, memory_bytes, priority, every, on_failure, may_finish }
    VersionPin { version, file, provider, refused, batching }
    EnginePin { name, library, intra_op_threads }
    Signature { inputs, outputs }
    Generator { max_concurrent_generations, tokens_per_tick, context_length, cache_bytes }
    // What agents await stands before what they make of it.
    TickRecord { results, awaited, outcomes, dropped, verdicts }
    Outcome { agent, status, fuel_used, effects }
    DroppedMessages { receiver, messages }
    LogLine { level, text }
}

project! {
    bool: |flag, _header| FieldValue::Flag(*flag);
    u32: |number, _header| FieldValue::Number((*number).into());
    i32: |number, _header| FieldValue::Number((*number).into());
    u64: |number, _header| FieldValue::Number((*number).into());
    Tick: |tick, header| tick.0.project(header);
    RequestId: |request, header| request.0.project(header);
    VersionId: |version, header| version.0.project(header);
    AgentId: |agent, header| FieldValue::Agent(*agent, match header.agents.get(agent.index()) {
        Some(pin) => Cow::from(&pin.name),
        None => format!("agent {agent}").into(),
    });
    ModelId: |model, header| match header.models.get(model.index()) {
        Some(pin) => FieldValue::Text(&pin.name),
        None => FieldValue::Code(format!("model {model}").into()),
    };
    String: |text, _header| FieldValue::Text(text);
    Digest: |digest, _header| FieldValue::Digest(digest);
    Vec<u8>: |bytes, _header| FieldValue::Bytes(bytes);
    // By name: dtype and dimensions.
    Vec<Port>: |ports, _header| FieldValue::Record(ports.iter().map(|port| {
        let dim = |dim: &Option<u64>| dim.map_or_else(|| "?".to_owned(), |dim| dim.to_string());
        let dims: Vec<String> = port.dims.iter().map(dim).collect();
        let form = format!("{}[{}]", port.dtype, dims.join(","));
        (Cow::from(&port.name), FieldValue::Code(form.into()))
    }).collect());
    OnFailure: |code, _header| snake_case(code);
    OnMismatch: |code, _header| snake_case(code);
    LogLevel: |code, _header| snake_case(code);
    RefusalReason: |code, _header| snake_case(code);
    ModelPin: |pin, header| {
        let ModelPin { name, version, file, providers, provider, refused, signature, batching, settings } = pin;
        let ModelSettings { max_batch, latency_ticks, on_mismatch, rejects_nonfinite, memory_bytes, generator } = settings;
        record!(
            header; name, version, file, providers, provider, refused, signature, batching, max_batch, latency_ticks,
            on_mismatch, rejects_nonfinite, memory_bytes, generator
        )
    };
    ScheduledChange<VersionPin>: |scheduled, header| {
        let ScheduledChange { from, model, change } = scheduled;
        record!(header; from_tick = from.project(header), model, to = change.project(header))
    };
    ModelChange<VersionPin>: |change, header| match change {
        ModelChange::Unload => FieldValue::Code("unloaded".into()),
        ModelChange::Load => FieldValue::Code("loaded".into()),
        ModelChange::Replace(pin) => pin.project(header),
    };
    Batching: |batching, header| match batching {
        Batching::Joined => FieldValue::Code("batched".into()),
        Batching::Unwanted => FieldValue::Code("disabled".into()),
        Batching::Alone(unbatched) => record!(header; unbatched),
        Batching::Untried(untested) => record!(header; untested),
    };
    ResultRecord: |result, header| {
        let ResultRecord { agent, request, model, outcome } = result;
        record!(header; agent, request, model, outcome = answer(header, *model, outcome))
    };
    AwaitedRecord: |awaited, header| {
        let AwaitedRecord { agent, model, outcome } = awaited;
        record!(header; agent, model, outcome = answer(header, *model, outcome))
    };
    Status: |status, header| match status {
        Status::Completed | Status::OutOfFuel => snake_case(status),
        Status::Trapped(trapped) => record!(header; trapped),
        Status::Mismatch(mismatch) => record!(header; mismatch),
        Status::Halted(halted) => record!(header; halted),
    };
    Effect: |effect, header| match effect {
        Effect::Send { to, payload } => variant("send", record!(header; to, payload)),
        Effect::Submit { request, model, inputs } => {
            variant("submit", record!(header; request, model, inputs = inputs_of(header, *model, inputs)))
        }
        Effect::Infer { model, inputs } => {
            variant("await", record!(header; model, inputs = inputs_of(header, *model, inputs)))
        }
        Effect::Emit { topic, payload } => variant("emit", record!(header; topic, payload)),
        Effect::Finish { reason } => variant("finish", record!(header; reason)),
        Effect::Log(line) => variant("log", line.project(header)),
    };
    Verdict: |verdict, header| match verdict {
        Verdict::Quarantined { agent, reason } => variant("quarantined", record!(header; agent, reason)),
        Verdict::RequestAbandoned { agent, model, asked, request } => variant(
            "request_abandoned",
            record!(header; agent, model, request_tick = asked.project(header), request),
        ),
        Verdict::ProviderLost { version, called, model, provider, refused, batching } => variant(
            "provider_lost",
            record!(header; model, version_id = version.project(header), version = called.project(header), provider, refused, batching),
        ),
        Verdict::Changed { model, version, called, change } => variant(
            "model_changed",
            record!(header; model, version_id = version.project(header), version = called.project(header), to = change.project(header)),
        ),
    };
    QuarantineReason: |reason, header| match reason {
        QuarantineReason::StepCrashesHost => snake_case(reason),
        QuarantineReason::RequestsAbandoned(requests_abandoned) => record!(header; requests_abandoned),
    };
    RequestName: |request, header| match request {
        RequestName::Submitted(submitted) => record!(header; submitted),
        RequestName::Awaited(awaited) => record!(header; awaited),
    };
}

impl<T: Project> Project for Option<T> {
    fn project<'run>(&'run self, header: &'run RunHeader) -> FieldValue<'run> {
        self.as_ref()
            .map_or(FieldValue::Null, |value| value.project(header))
    }
}

impl<T: Project> Project for Vec<T> {
    fn project<'run>(&'run self, header: &'run RunHeader) -> FieldValue<'run> {
        FieldValue::List(self.iter().map(|element| element.project(header)).collect())
    }
}

/// Pairs of a name and a value: settings, and refused providers with their reasons.
impl<T: Project> Project for Vec<(String, T)> {
    fn project<'run>(&'run self, header: &'run RunHeader) -> FieldValue<'run> {
        let fields = self.iter();
        FieldValue::Record(
            fields
                .map(|(name, value)| (Cow::from(name), value.project(header)))
                .collect(),
        )
    }
}

fn inputs_of<'run>(
    header: &'run RunHeader,
    model: ModelId,
    inputs: &'run [Tensor],
) -> FieldValue<'run> {
    tensors(header, model, inputs, |signature| &signature.inputs)
}

fn answer<'run>(
    header: &'run RunHeader,
    model: ModelId,
    answer: &'run RequestResult,
) -> FieldValue<'run> {
    match answer {
        Ok(outputs) => variant(
            "outputs",
            tensors(header, model, outputs, |signature| &signature.outputs),
        ),
        Err(error) => record!(header; error),
    }
}

/// Inputs or outputs of a model by their names, or by their positions where the header has no names for them.
fn tensors<'run>(
    header: &'run RunHeader,
    model: ModelId,
    tensors: &'run [Tensor],
    ports: impl Fn(&'run Signature) -> &'run [Port],
) -> FieldValue<'run> {
    let pin = header.models.get(model.index());
    let ports = pin.map_or(&[][..], |pin| ports(&pin.signature));
    let is_text = pin.is_some_and(|pin| pin.settings.generator.is_some());
    let fields = tensors.iter().enumerate().map(|(position, tensor)| {
        let name = match ports.get(position) {
            Some(port) => Cow::from(&port.name),
            None => position.to_string().into(),
        };
        (
            name,
            if is_text {
                FieldValue::TextTensor(tensor)
            } else {
                FieldValue::Tensor(tensor)
            },
        )
    });
    FieldValue::Record(fields.collect())
}

fn variant<'run>(name: &'static str, value: FieldValue<'run>) -> FieldValue<'run> {
    FieldValue::Record(vec![(name.into(), value)])
}

/// The name of a variant without fields: `out_of_fuel` for `OutOfFuel`.
fn snake_case(code: &impl std::fmt::Debug) -> FieldValue<'static> {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    FieldValue::Code(name.into())
}
