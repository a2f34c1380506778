//! The ways to misbehave, by their names in a fleet file.

use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Unreachable,
    Panic,
    Divide,
    OutOfBounds,
    Spin,
    Memory,
    Recurse,
    Flood,
    Large,
    InitError,
    Nan,
    Finish,
}

const NAMES: [(&str, Kind); 12] = [
    ("unreachable", Kind::Unreachable),
    ("panic", Kind::Panic),
    ("divide", Kind::Divide),
    ("out-of-bounds", Kind::OutOfBounds),
    ("spin", Kind::Spin),
    ("memory", Kind::Memory),
    ("recurse", Kind::Recurse),
    ("flood", Kind::Flood),
    ("large", Kind::Large),
    ("init-error", Kind::InitError),
    ("nan", Kind::Nan),
    ("finish", Kind::Finish),
];

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, kind)| *kind)
            .ok_or_else(|| {
                let names = NAMES.map(|(name, _)| name).join(", ");
                format!("setting `what` is \"{text}\": it must be one of {names}")
            })
    }
}
