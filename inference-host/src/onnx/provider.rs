//! Which provider runs a model. Every one that is asked for is tried with errors
//! on; what was refused is kept with its reason; and what is reported in the end
//! is read back from the session, because the engine may place nodes elsewhere
//! without a word. Before that, each is proved on a graph of our own.

use super::OnnxRuntime;
use crate::backend::Wanted;
use crate::sys::external;
use crate::sys::session::RawSession;
use ort::ErrorCode;
use ort::ep::{
    CUDA, CoreML, DirectML, ExecutionProvider, MIGraphX, OpenVINO, ROCm, TensorRT, XNNPACK,
};
use ort::session::builder::SessionBuilder;
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::inference_to_supervisor::{LoadRefused, RefusalReason, RefusedProvider};
use shm_protocol::provider::Provider;
use std::collections::BTreeMap;

/// The engine's own name for a provider.
pub(super) fn engine_name(provider: Provider) -> &'static str {
    match provider {
        Provider::Cpu => "CPUExecutionProvider",
        Provider::Cuda => CUDA::NAME,
        Provider::TensorRt => TensorRT::NAME,
        Provider::MiGraphX => MIGraphX::NAME,
        Provider::Rocm => ROCm::NAME,
        Provider::OpenVino => OpenVINO::NAME,
        Provider::CoreMl => CoreML::NAME,
        Provider::DirectMl => DirectML::NAME,
        Provider::Xnnpack => XNNPACK::NAME,
    }
}

/// Adds a provider to a session in the making. The processor is always there, as the last.
pub(super) fn register(provider: Provider, builder: &mut SessionBuilder) -> ort::Result<()> {
    let dispatch = match provider {
        Provider::Cpu => return Ok(()),
        Provider::Cuda => CUDA::default().build(),
        Provider::TensorRt => TensorRT::default().build(),
        Provider::MiGraphX => MIGraphX::default().build(),
        Provider::Rocm => ROCm::default().build(),
        Provider::OpenVino => OpenVINO::default().build(),
        Provider::CoreMl => CoreML::default().build(),
        Provider::DirectMl => DirectML::default().build(),
        Provider::Xnnpack => XNNPACK::default().build(),
    };
    dispatch.error_on_failure().register(builder)
}

/// A session, and who runs it.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) session: RawSession,
    pub(super) provider: String,
    pub(super) refused: Vec<RefusedProvider>,
}

/// Makes a session for `file` on the first provider that takes it.
pub(super) fn place(
    engine: &OnnxRuntime,
    file: &[u8],
    wanted: &Wanted<'_>,
) -> Result<Placed, LoadRefused> {
    let asked = asked_for(wanted)?;
    let considered = if wanted.strict_providers {
        &asked[..1]
    } else {
        &asked[..]
    };
    let mut refused = Vec::new();
    for (position, provider) in considered.iter().enumerate() {
        match attempt(engine, file, wanted.beside, &considered[position..]) {
            Ok((session, provider)) => {
                return Ok(Placed {
                    session,
                    provider,
                    refused,
                });
            }
            Err(Refusal::Model(reason)) => return Err(broken(wanted, &reason)),
            // The processor refuses no machine, so the model is at fault.
            Err(Refusal::Provider(_, detail)) if *provider == Provider::Cpu => {
                return Err(broken(wanted, &detail));
            }
            Err(Refusal::Provider(reason, detail)) => refused.push(RefusedProvider {
                provider: provider.name().to_owned(),
                reason,
                detail,
            }),
        }
    }
    Err(demand(wanted, &refused))
}

/// The providers that are asked for; the processor if none is.
fn asked_for(wanted: &Wanted<'_>) -> Result<Vec<Provider>, LoadRefused> {
    if wanted.providers.is_empty() {
        return Ok(vec![Provider::Cpu]);
    }
    let named = |name: &String| {
        Provider::named(name).ok_or_else(|| LoadRefused {
            blame: Blame::Input,
            message: format!(
                "model `{}` asks for a provider `{name}`, which is unknown; write one of {}",
                wanted.name,
                Provider::ALL.map(Provider::name).join(", ")
            ),
        })
    };
    wanted.providers.iter().map(named).collect()
}

/// Why one attempt failed.
enum Refusal {
    /// The provider does not take it.
    Provider(RefusalReason, String),
    /// The model is not one that any provider could take.
    Model(String),
}

/// A session on the first of `providers`, with the rest as its helpers for single nodes.
fn attempt(
    engine: &OnnxRuntime,
    file: &[u8],
    beside: &[(&str, &[u8])],
    providers: &[Provider],
) -> Result<(RawSession, String), Refusal> {
    let first = providers[0];
    let refused = |reason| move |error: ort::Error| Refusal::Provider(reason, error.to_string());
    let unavailable = refused(RefusalReason::Unavailable);
    let not_taken = refused(RefusalReason::ModelNotTaken);
    let mut builder = engine.builder().map_err(unavailable)?;
    let proved = engine.proved(first);
    proved.map_err(|detail| Refusal::Provider(RefusalReason::SelfTestFailed, detail))?;
    register(first, &mut builder).map_err(unavailable)?;
    // A helper that cannot be registered has no bearing on the first: it is reported when its own turn comes.
    for helper in &providers[1..] {
        let _ = register(*helper, &mut builder);
    }
    if first != Provider::Cpu && !providers.contains(&Provider::Cpu) {
        let strict = builder.with_disable_cpu_fallback();
        builder = strict.map_err(|error| unavailable(error.into()))?;
    }
    let session = external::commit(builder, file, beside).map_err(|error| match error.code() {
        ErrorCode::InvalidProtobuf | ErrorCode::InvalidGraph | ErrorCode::NoModel => {
            Refusal::Model(error.to_string())
        }
        _ => not_taken(error),
    })?;
    let session = RawSession::new(session).map_err(not_taken)?;
    let placement = session.placement().map_err(not_taken)?;
    provider_of(&placement, first)
        .map(|provider| (session, provider))
        .map_err(|detail| Refusal::Provider(RefusalReason::ModelNotTaken, detail))
}

/// Who runs the nodes, as in `cuda` or `cuda+cpu`; refused if `first` runs none of them.
fn provider_of(placement: &BTreeMap<String, usize>, first: Provider) -> Result<String, String> {
    let runs = |provider: Provider| placement.contains_key(engine_name(provider));
    if !runs(first) && !placement.is_empty() && first != Provider::Cpu {
        return Err(format!(
            "no node of the model was placed on it, but on {}",
            shown(placement)
        ));
    }
    let mut names = vec![first.name().to_owned()];
    for (name, _) in placement
        .iter()
        .filter(|(name, _)| *name != engine_name(first))
    {
        let known = Provider::ALL
            .into_iter()
            .find(|provider| engine_name(*provider) == name);
        names.push(known.map_or(name.clone(), |provider| provider.name().to_owned()));
    }
    Ok(names.join("+"))
}

pub(super) fn shown(placement: &BTreeMap<String, usize>) -> String {
    placement
        .iter()
        .map(|(name, nodes)| format!("{name} ({nodes})"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What the engine said, as a part of a sentence of ours.
fn within_sentence(reason: &str) -> &str {
    reason.trim_end_matches(['.', ' ', '\n'])
}

fn broken(wanted: &Wanted<'_>, reason: &str) -> LoadRefused {
    let reason = within_sentence(reason);
    LoadRefused {
        blame: Blame::Input,
        message: format!(
            "model `{}` cannot be loaded: {reason}; is the file a complete ONNX model?",
            wanted.name
        ),
    }
}

fn demand(wanted: &Wanted<'_>, refused: &[RefusedProvider]) -> LoadRefused {
    let reasons: Vec<String> = refused
        .iter()
        .map(|refused| {
            let detail = within_sentence(&refused.detail);
            format!("{}: {detail}", refused.provider)
        })
        .collect();
    let rule = if wanted.strict_providers {
        " (strict-providers takes only the first)"
    } else {
        ""
    };
    LoadRefused {
        blame: Blame::Demand,
        message: format!(
            "model `{}` gets none of the providers it asks for{rule}: {}. Add \"cpu\" to its providers, or name a build \
             of ONNX Runtime that has them in LOCKSTEP_ORT_LIB",
            wanted.name,
            reasons.join("; ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(nodes: &[(&str, usize)]) -> BTreeMap<String, usize> {
        nodes
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }

    #[test]
    fn the_name_tells_who_runs_the_nodes() {
        let cpu = placement(&[("CPUExecutionProvider", 3)]);
        let mixed = placement(&[("CPUExecutionProvider", 1), ("CUDAExecutionProvider", 9)]);
        assert_eq!(provider_of(&cpu, Provider::Cpu), Ok("cpu".to_owned()));
        assert_eq!(
            provider_of(&mixed, Provider::Cuda),
            Ok("cuda+cpu".to_owned())
        );
        assert_eq!(
            provider_of(&placement(&[]), Provider::Cpu),
            Ok("cpu".to_owned())
        );
        let refusal = provider_of(&cpu, Provider::Cuda).expect_err("no node runs on it");
        assert!(refusal.contains("CPUExecutionProvider (3)"), "{refusal}");
    }
}
