//! The parts of this binary that fleets can name as `builtin:NAME`.

/// Name and bytes of each part.
const PARTS: [(&str, &[u8]); 4] = [
    (
        "cartpole",
        include_bytes!("../../agents/built/cartpole.wasm"),
    ),
    ("counter", include_bytes!("../../agents/built/counter.wasm")),
    ("referee", include_bytes!("../../agents/built/referee.wasm")),
    ("policy", include_bytes!("../../models/policy.onnx")),
];

/// The bytes of a part.
pub(super) fn find(name: &str) -> Option<&'static [u8]> {
    PARTS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, bytes)| *bytes)
}

/// The names of all parts.
pub(super) fn names() -> [&'static str; PARTS.len()] {
    PARTS.map(|(name, _)| name)
}
