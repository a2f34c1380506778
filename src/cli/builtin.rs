//! Embedded agents and models, which fleets name as `builtin:NAME`.

use shm_protocol::bundle::bundle;
use std::sync::OnceLock;

/// Name and bytes of each part that is one file.
const PARTS: [(&str, &[u8]); 5] = [
    (
        "cartpole",
        include_bytes!("../../agents/built/cartpole.wasm"),
    ),
    ("counter", include_bytes!("../../agents/built/counter.wasm")),
    ("referee", include_bytes!("../../agents/built/referee.wasm")),
    ("talker", include_bytes!("../../agents/built/talker.wasm")),
    ("policy", include_bytes!("../../models/policy.onnx")),
];

/// The name of the embedded language model.
const TALK: &str = "talk";

/// The files of the embedded language model; the first is the graph.
const TALK_FILES: [(&str, &[u8]); 6] = [
    ("model.onnx", include_bytes!("../../models/talk/model.onnx")),
    (
        "config.json",
        include_bytes!("../../models/talk/config.json"),
    ),
    (
        "generation_config.json",
        include_bytes!("../../models/talk/generation_config.json"),
    ),
    (
        "special_tokens_map.json",
        include_bytes!("../../models/talk/special_tokens_map.json"),
    ),
    (
        "tokenizer.json",
        include_bytes!("../../models/talk/tokenizer.json"),
    ),
    (
        "tokenizer_config.json",
        include_bytes!("../../models/talk/tokenizer_config.json"),
    ),
];

/// The bytes of a part.
pub(super) fn find(name: &str) -> Option<&'static [u8]> {
    static BUNDLE: OnceLock<Vec<u8>> = OnceLock::new();
    if name == TALK {
        let files = TALK_FILES.map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
        return Some(BUNDLE.get_or_init(|| bundle(&files)));
    }
    PARTS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, bytes)| *bytes)
}

/// The names of all parts.
pub(super) fn names() -> [&'static str; PARTS.len() + 1] {
    let mut names = [TALK; PARTS.len() + 1];
    for (name, (part, _)) in names.iter_mut().zip(PARTS) {
        *name = part;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_part() {
        for name in names() {
            assert!(find(name).is_some_and(|bytes| !bytes.is_empty()), "{name}");
        }
        assert_eq!(find("tlak"), None);
    }
}
