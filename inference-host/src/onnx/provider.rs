//! The execution provider of a model. Every requested provider is tried in order; a refused one is kept with its
//! reason; and the provider that is reported is read back from the session, because the engine may place nodes
//! elsewhere silently. Each provider has to pass its self-test first.

use super::execution_provider::{engine_name, format_placement, register};
use super::runtime::OnnxRuntime;
use crate::backend::LoadOptions;
use crate::sys::external_data;
use crate::sys::session::RawSession;
use ort::ErrorCode;
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::inference_to_supervisor::{LoadRefused, RefusalReason, RefusedProvider};
use shm_protocol::provider::Provider;
use std::collections::BTreeMap;

/// A session with the provider that runs it.
#[derive(Debug)]
pub(super) struct ProviderSession {
    pub(super) session: RawSession,
    pub(super) provider: String,
    pub(super) refused: Vec<RefusedProvider>,
}

/// Makes a session for `file` on the first provider that accepts it.
pub(super) fn open_session(
    engine: &OnnxRuntime,
    file: &[u8],
    options: &LoadOptions<'_>,
) -> Result<ProviderSession, LoadRefused> {
    let requested = requested_providers(options)?;
    let allowed = if options.strict_providers {
        &requested[..1]
    } else {
        &requested[..]
    };
    let mut refused = Vec::new();
    for (position, provider) in allowed.iter().enumerate() {
        match try_session(engine, file, options.external_data, &allowed[position..]) {
            Ok((session, provider)) => {
                return Ok(ProviderSession {
                    session,
                    provider,
                    refused,
                });
            }
            Err(SessionError::Model(reason)) => return Err(invalid_model(options, &reason)),
            // The CPU exists on every machine, so the model is at fault.
            Err(SessionError::Provider(_, detail)) if *provider == Provider::Cpu => {
                return Err(invalid_model(options, &detail));
            }
            Err(SessionError::Provider(reason, detail)) => refused.push(RefusedProvider {
                provider: provider.name().to_owned(),
                reason,
                detail,
            }),
        }
    }
    Err(no_provider(options, &refused))
}

/// The requested providers; the CPU if there are none.
fn requested_providers(options: &LoadOptions<'_>) -> Result<Vec<Provider>, LoadRefused> {
    if options.providers.is_empty() {
        return Ok(vec![Provider::Cpu]);
    }
    let named = |name: &String| {
        Provider::named(name).ok_or_else(|| LoadRefused {
            blame: Blame::Input,
            message: format!(
                "model `{}` has an unknown provider `{name}`; use one of {}",
                options.name,
                Provider::ALL.map(Provider::name).join(", ")
            ),
        })
    };
    options.providers.iter().map(named).collect()
}

/// The reason why a session cannot be made.
enum SessionError {
    /// The provider refuses the model.
    Provider(RefusalReason, String),
    /// No provider could accept the model.
    Model(String),
}

/// A session on the first of `providers`, with the rest as fallbacks for single nodes.
fn try_session(
    engine: &OnnxRuntime,
    file: &[u8],
    external_data: &[(&str, &[u8])],
    providers: &[Provider],
) -> Result<(RawSession, String), SessionError> {
    let first = providers[0];
    let refused =
        |reason| move |error: ort::Error| SessionError::Provider(reason, error.to_string());
    let unavailable = refused(RefusalReason::Unavailable);
    let model_refused = refused(RefusalReason::ModelNotTaken);
    let mut builder = engine.builder().map_err(unavailable)?;
    let self_test = engine.check_provider(first);
    self_test.map_err(|detail| SessionError::Provider(RefusalReason::SelfTestFailed, detail))?;
    register(first, &mut builder).map_err(unavailable)?;
    // A fallback that cannot be registered does not matter here: it is reported when it is the first itself.
    for fallback in &providers[1..] {
        let _ = register(*fallback, &mut builder);
    }
    if first != Provider::Cpu && !providers.contains(&Provider::Cpu) {
        let strict = builder.with_disable_cpu_fallback();
        builder = strict.map_err(|error| unavailable(error.into()))?;
    }
    let session = external_data::commit_with_external_data(builder, file, external_data).map_err(
        |error| match error.code() {
            ErrorCode::InvalidProtobuf | ErrorCode::InvalidGraph | ErrorCode::NoModel => {
                SessionError::Model(error.to_string())
            }
            _ => model_refused(error),
        },
    )?;
    let session = RawSession::new(session).map_err(model_refused)?;
    let placement = session.placement().map_err(model_refused)?;
    executing_providers(&placement, first)
        .map(|provider| (session, provider))
        .map_err(|detail| SessionError::Provider(RefusalReason::ModelNotTaken, detail))
}

/// The providers that run the nodes, as in `cuda` or `cuda+cpu`; an error if `first` runs none of them.
fn executing_providers(
    placement: &BTreeMap<String, usize>,
    first: Provider,
) -> Result<String, String> {
    let runs_on = |provider: Provider| placement.contains_key(engine_name(provider));
    if !runs_on(first) && !placement.is_empty() && first != Provider::Cpu {
        return Err(format!(
            "no node of the model runs on it; they run on {}",
            format_placement(placement)
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

/// A message of the engine, to be a part of a sentence.
fn trim_sentence_end(reason: &str) -> &str {
    reason.trim_end_matches(['.', ' ', '\n'])
}

fn invalid_model(options: &LoadOptions<'_>, reason: &str) -> LoadRefused {
    let reason = trim_sentence_end(reason);
    LoadRefused {
        blame: Blame::Input,
        message: format!(
            "model `{}` cannot be loaded: {reason}; check that the file is a complete ONNX model",
            options.name
        ),
    }
}

fn no_provider(options: &LoadOptions<'_>, refused: &[RefusedProvider]) -> LoadRefused {
    let reasons: Vec<String> = refused
        .iter()
        .map(|refused| {
            let detail = trim_sentence_end(&refused.detail);
            format!("{}: {detail}", refused.provider)
        })
        .collect();
    let rule = if options.strict_providers {
        " (strict-providers allows only the first)"
    } else {
        ""
    };
    LoadRefused {
        blame: Blame::Demand,
        message: format!(
            "model `{}` gets none of the providers it asks for{rule}: {}. Add \"cpu\" to its providers, or name a \
             build of ONNX Runtime that has them in LOCKSTEP_ORT_LIB",
            options.name,
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
    fn the_name_has_all_providers_that_run_nodes() {
        let cpu = placement(&[("CPUExecutionProvider", 3)]);
        let mixed = placement(&[("CPUExecutionProvider", 1), ("CUDAExecutionProvider", 9)]);
        assert_eq!(
            executing_providers(&cpu, Provider::Cpu),
            Ok("cpu".to_owned())
        );
        assert_eq!(
            executing_providers(&mixed, Provider::Cuda),
            Ok("cuda+cpu".to_owned())
        );
        assert_eq!(
            executing_providers(&placement(&[]), Provider::Cpu),
            Ok("cpu".to_owned())
        );
        let refusal = executing_providers(&cpu, Provider::Cuda).expect_err("no node runs on it");
        assert!(refusal.contains("CPUExecutionProvider (3)"), "{refusal}");
    }
}
