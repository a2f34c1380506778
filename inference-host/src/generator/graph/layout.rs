//! What each input and output of a decoder's graph is for.

use super::super::settings::{Names, Settings};
use shm_protocol::tensor::{DType, Port, Signature};

/// What an input takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::generator) enum Role {
    /// The new tokens, i64[rows, length].
    Ids,
    /// 1 for each token that may be looked at, i64[rows, past + length].
    Mask,
    /// The position of each new token, i64[rows, length].
    Positions,
    /// Whether there is a past, bool[1].
    UsesPast,
    /// For how many of the new tokens logits are wanted.
    Keep,
    /// Keys or values of the tokens before, [rows, heads, past, width].
    Past(usize),
}

/// Keys or values of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::generator) struct Cache {
    pub(in crate::generator) dtype: DType,
    pub(in crate::generator) heads: usize,
    pub(in crate::generator) width: usize,
    /// Which output holds them after a run.
    pub(in crate::generator) present: usize,
}

impl Cache {
    /// Bytes of one token in one head.
    pub(in crate::generator) fn slot_bytes(&self) -> usize {
        self.width * self.dtype.bits() / 8
    }
}

/// A decoder's inputs and outputs.
#[derive(Clone, Debug)]
pub(in crate::generator) struct Layout {
    /// What each input is for, and its element type.
    pub(in crate::generator) roles: Vec<(Role, DType, usize)>,
    pub(in crate::generator) caches: Vec<Cache>,
    pub(in crate::generator) logits: usize,
    pub(in crate::generator) logits_type: DType,
    /// Words that the graph has, if its shape says so.
    pub(in crate::generator) vocabulary: Option<u64>,
    pub(in crate::generator) outputs: usize,
}

impl Layout {
    /// Finds out what is what.
    ///
    /// # Errors
    /// Names the input or output that is missing or not understood.
    pub(in crate::generator) fn of(
        signature: &Signature,
        settings: &Settings,
    ) -> Result<Layout, String> {
        let names = &settings.names;
        let output = |name: &str| {
            let found = signature.outputs.iter().position(|port| port.name == name);
            found.ok_or_else(|| {
                format!(
                    "its graph has no output {name}, but {}",
                    listed(&signature.outputs)
                )
            })
        };
        let logits = output(&names.logits)?;
        let (mut roles, mut caches) = (Vec::new(), Vec::new());
        for port in &signature.inputs {
            let role = match plain_role(&port.name, names) {
                Some(role) => role,
                None => {
                    let present = present_of(&port.name, names).ok_or_else(|| {
                        format!("its graph has an input {port}, and what belongs there is unknown")
                    })?;
                    caches.push(cache(port, output(&present)?, settings)?);
                    Role::Past(caches.len() - 1)
                }
            };
            let whole = matches!(port.dtype, DType::I64 | DType::I32);
            if !whole && !matches!(role, Role::Past(_) | Role::UsesPast) {
                return Err(format!(
                    "its graph takes {port}, and only i64 and i32 are expected there"
                ));
            }
            roles.push((role, port.dtype, port.dims.len()));
        }
        let port = &signature.outputs[logits];
        if !matches!(port.dtype, DType::F32 | DType::F16 | DType::BF16) || port.dims.len() != 3 {
            return Err(format!(
                "its graph gives {port}, and logits are floats [batch, length, words]"
            ));
        }
        let layout = Layout {
            roles,
            caches,
            logits,
            logits_type: port.dtype,
            vocabulary: port.dims[2],
            outputs: signature.outputs.len(),
        };
        if !layout.has(Role::Ids) {
            let takes = listed(&signature.inputs);
            return Err(format!(
                "its graph has no input {}, but {takes}",
                names.input_ids
            ));
        }
        Ok(layout)
    }

    pub(in crate::generator) fn has(&self, role: Role) -> bool {
        self.roles.iter().any(|(held, ..)| *held == role)
    }

    /// Bytes of one token in all layers.
    pub(in crate::generator) fn token_bytes(&self) -> usize {
        self.caches
            .iter()
            .map(|cache| cache.heads * cache.slot_bytes())
            .sum()
    }
}

fn plain_role(name: &str, names: &Names) -> Option<Role> {
    match name {
        _ if name == names.input_ids => Some(Role::Ids),
        _ if name == names.attention_mask => Some(Role::Mask),
        _ if name == names.position_ids => Some(Role::Positions),
        "use_cache_branch" => Some(Role::UsesPast),
        "num_logits_to_keep" => Some(Role::Keep),
        _ => None,
    }
}

/// The name of the output that holds what an input of this name takes next time.
pub(in crate::generator) fn present_of(name: &str, names: &Names) -> Option<String> {
    names.caches.iter().find_map(|(past, present)| {
        let (before, after) = past.split_once("%d")?;
        let layer = name.strip_prefix(before)?.strip_suffix(after)?;
        let is_number = !layer.is_empty() && layer.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| present.replace("%d", layer))
    })
}

fn cache(port: &Port, present: usize, settings: &Settings) -> Result<Cache, String> {
    let [_, heads, _, width] = port.dims[..] else {
        return Err(format!(
            "its graph takes {port}, and keys and values are [batch, heads, past, width]"
        ));
    };
    if !matches!(port.dtype, DType::F32 | DType::F16 | DType::BF16) {
        return Err(format!(
            "its graph takes {port}, and keys and values are floats"
        ));
    }
    let known = |dim: Option<u64>, said: Option<u64>, what: &str| {
        let dim = dim.or(said).filter(|dim| (1..=1 << 16).contains(dim));
        dim.and_then(|dim| usize::try_from(dim).ok())
            .ok_or_else(|| {
                format!("neither its graph nor its config.json says how many {what} {port} has")
            })
    };
    Ok(Cache {
        dtype: port.dtype,
        heads: known(heads, settings.heads, "heads")?,
        width: known(width, settings.width, "numbers a head of")?,
        present,
    })
}

fn listed(ports: &[Port]) -> String {
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
    fn a_past_leads_to_its_present() {
        let names = Names::default();
        let present = |name: &str| present_of(name, &names);
        assert_eq!(
            present("past_key_values.11.value").as_deref(),
            Some("present.11.value")
        );
        assert_eq!(present("past_key_values.x.value"), None);
        assert_eq!(present("past_key_values.1.encoder.value"), None);
        assert_eq!(present("pixel_values"), None);
    }
}
