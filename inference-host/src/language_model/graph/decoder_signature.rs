//! The role of each input and output of a decoder's graph.

use super::super::model_config::{GraphNames, ModelConfig};
use shm_protocol::tensor::{DType, Port, Signature};

/// The role of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputRole {
    /// The new tokens, i64[rows, new tokens].
    InputIds,
    /// 1 for each token that is attended to, i64[rows, past + new tokens].
    AttentionMask,
    /// The position of each new token, i64[rows, new tokens].
    PositionIds,
    /// True if there is a past, bool[1].
    UseCacheBranch,
    /// The number of last tokens to compute logits for.
    NumLogitsToKeep,
    /// Keys or values of the past tokens, [rows, heads, past, head_dim], by the number of the cache.
    Past(usize),
}

/// The shape of the keys or of the values of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvCacheSpec {
    pub(crate) dtype: DType,
    pub(crate) heads: usize,
    pub(crate) head_dim: usize,
    /// The output that holds them after a run.
    pub(crate) present: usize,
}

impl KvCacheSpec {
    /// Size of one token in one head.
    pub(crate) fn token_bytes(&self) -> usize {
        self.head_dim * self.dtype.bits() / 8
    }
}

/// The inputs and outputs of a decoder.
#[derive(Clone, Debug)]
pub(crate) struct DecoderSignature {
    /// The role, the element type and the rank of each input.
    pub(crate) inputs: Vec<(InputRole, DType, usize)>,
    pub(crate) kv_caches: Vec<KvCacheSpec>,
    pub(crate) logits: usize,
    pub(crate) logits_type: DType,
    /// Size of the vocabulary, if the shape of the logits says so.
    pub(crate) vocab_size: Option<u64>,
    pub(crate) outputs: usize,
}

impl DecoderSignature {
    /// Assigns the roles, by name.
    ///
    /// # Errors
    /// Names the input or output that is missing or not supported.
    pub(crate) fn from_signature(
        signature: &Signature,
        config: &ModelConfig,
    ) -> Result<DecoderSignature, String> {
        let names = &config.graph_names;
        let output = |name: &str| {
            let found = signature.outputs.iter().position(|port| port.name == name);
            found.ok_or_else(|| {
                format!(
                    "its graph has no output {name}; its outputs are {}",
                    list_names(&signature.outputs)
                )
            })
        };
        let logits = output(&names.logits)?;
        let (mut roles, mut caches) = (Vec::new(), Vec::new());
        for port in &signature.inputs {
            let role = match non_cache_role(&port.name, names) {
                Some(role) => role,
                None => {
                    let present = present_name(&port.name, names).ok_or_else(|| {
                        format!(
                            "its graph has an input {port}, which is not supported in a decoder"
                        )
                    })?;
                    caches.push(kv_cache_spec(port, output(&present)?, config)?);
                    InputRole::Past(caches.len() - 1)
                }
            };
            let is_integer = matches!(port.dtype, DType::I64 | DType::I32);
            if !is_integer && !matches!(role, InputRole::Past(_) | InputRole::UseCacheBranch) {
                return Err(format!(
                    "its graph has an input {port}, and only i64 and i32 are supported there"
                ));
            }
            roles.push((role, port.dtype, port.dims.len()));
        }
        let port = &signature.outputs[logits];
        if !matches!(port.dtype, DType::F32 | DType::F16 | DType::BF16) || port.dims.len() != 3 {
            return Err(format!(
                "its graph has an output {port}, and logits must be floats of shape [batch, tokens, vocabulary]"
            ));
        }
        let decoder = DecoderSignature {
            inputs: roles,
            kv_caches: caches,
            logits,
            logits_type: port.dtype,
            vocab_size: port.dims[2],
            outputs: signature.outputs.len(),
        };
        if !decoder.has(InputRole::InputIds) {
            let inputs = list_names(&signature.inputs);
            return Err(format!(
                "its graph has no input {}; its inputs are {inputs}",
                names.input_ids
            ));
        }
        Ok(decoder)
    }

    pub(crate) fn has(&self, role: InputRole) -> bool {
        self.inputs.iter().any(|(input, ..)| *input == role)
    }

    /// Size of the keys and values of one token in all layers.
    pub(crate) fn kv_bytes_per_token(&self) -> usize {
        self.kv_caches
            .iter()
            .map(|cache| cache.heads * cache.token_bytes())
            .sum()
    }
}

fn non_cache_role(name: &str, names: &GraphNames) -> Option<InputRole> {
    match name {
        _ if name == names.input_ids => Some(InputRole::InputIds),
        _ if name == names.attention_mask => Some(InputRole::AttentionMask),
        _ if name == names.position_ids => Some(InputRole::PositionIds),
        "use_cache_branch" => Some(InputRole::UseCacheBranch),
        "num_logits_to_keep" => Some(InputRole::NumLogitsToKeep),
        _ => None,
    }
}

/// The name of the output that this input takes in the next run: `present.0.key` for `past_key_values.0.key`.
pub(crate) fn present_name(name: &str, names: &GraphNames) -> Option<String> {
    names.past_present.iter().find_map(|(past, present)| {
        let (before, after) = past.split_once("%d")?;
        let layer = name.strip_prefix(before)?.strip_suffix(after)?;
        let is_number = !layer.is_empty() && layer.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| present.replace("%d", layer))
    })
}

fn kv_cache_spec(port: &Port, present: usize, config: &ModelConfig) -> Result<KvCacheSpec, String> {
    let [_, heads, _, head_dim] = port.dims[..] else {
        return Err(format!(
            "its graph has an input {port}, and keys and values must have the shape [batch, heads, past, head_dim]"
        ));
    };
    if !matches!(port.dtype, DType::F32 | DType::F16 | DType::BF16) {
        return Err(format!(
            "its graph has an input {port}, and keys and values must be floats"
        ));
    }
    let dimension = |dim: Option<u64>, configured: Option<u64>, what: &str| {
        let dim = dim.or(configured).filter(|dim| (1..=1 << 16).contains(dim));
        dim.and_then(|dim| usize::try_from(dim).ok())
            .ok_or_else(|| {
                format!("neither its graph nor its config.json gives {what} of {port}; add it to config.json")
            })
    };
    Ok(KvCacheSpec {
        dtype: port.dtype,
        heads: dimension(
            heads,
            config.kv_heads,
            "the number of heads (num_key_value_heads)",
        )?,
        head_dim: dimension(head_dim, config.head_dim, "head_dim")?,
        present,
    })
}

fn list_names(ports: &[Port]) -> String {
    let names: Vec<&str> = ports
        .iter()
        .map(|port| port.name.as_str())
        .take(8)
        .collect();
    format!(
        "{}{}",
        names.join(", "),
        if ports.len() > 8 { " and more" } else { "" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_of_a_past_has_the_same_layer() {
        let names = GraphNames::default();
        let present = |name: &str| present_name(name, &names);
        assert_eq!(
            present("past_key_values.11.value").as_deref(),
            Some("present.11.value")
        );
        assert_eq!(present("past_key_values.x.value"), None);
        assert_eq!(present("past_key_values.1.encoder.value"), None);
        assert_eq!(present("pixel_values"), None);
    }
}
