//! Projection of a record to named fields. `inspect` shows the fields as text and as JSON, `diff` compares them, so that
//! a field has one name and one form everywhere.

mod records;

use super::tensor_text::{TensorText, number};
use crate::record::hex;
use crate::record::{Digest, RunHeader};
use serde::ser::{Serialize, SerializeMap, Serializer};
use shm_protocol::id::AgentId;
use shm_protocol::tensor::{DType, Tensor};
use std::borrow::Cow;
use std::fmt;

/// Maximum number of bytes of a payload in text.
const MAX_PAYLOAD_BYTES: usize = 96;

/// A record, or a part of one, as a tree of named fields. The header gives agents, models and tensors their names.
pub(super) trait Project {
    fn project<'run>(&'run self, header: &'run RunHeader) -> FieldValue<'run>;
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FieldValue<'run> {
    /// An optional field without a value.
    Null,
    Flag(bool),
    Number(i128),
    /// A variant of an enumeration, as in `out_of_fuel`.
    Code(Cow<'run, str>),
    Text(&'run str),
    /// An agent by its name.
    Agent(AgentId, Cow<'run, str>),
    Digest(&'run Digest),
    Bytes(&'run [u8]),
    Tensor(&'run Tensor),
    /// A tensor of a language model, whose bytes are text.
    TextTensor(&'run Tensor),
    List(Vec<FieldValue<'run>>),
    Record(Vec<(Cow<'run, str>, FieldValue<'run>)>),
}

impl<'run> FieldValue<'run> {
    /// The parts of a list or record, each with its step in the path of a field: `[2]` or `.payload`.
    pub(super) fn parts(&self) -> Option<Vec<(String, &FieldValue<'run>)>> {
        match self {
            FieldValue::List(elements) => {
                let steps = elements.iter().enumerate();
                Some(
                    steps
                        .map(|(at, value)| (format!("[{at}]"), value))
                        .collect(),
                )
            }
            FieldValue::Record(fields) => {
                let steps = fields.iter();
                Some(
                    steps
                        .map(|(name, value)| (format!(".{name}"), value))
                        .collect(),
                )
            }
            _ => None,
        }
    }

    /// The agent that a record concerns: the first one among its fields.
    pub(super) fn agent(&self) -> Option<AgentId> {
        match self {
            FieldValue::Agent(agent, _) => Some(*agent),
            FieldValue::Record(fields) => fields.iter().find_map(|(_, value)| value.agent()),
            _ => None,
        }
    }
}

/// The path of a field relative to the value that it is a part of.
pub(super) fn relative(path: &str) -> &str {
    path.strip_prefix('.').unwrap_or(path)
}

/// One line. Digests are cut, unless the alternate form (`{:#}`) asks for all of them.
impl fmt::Display for FieldValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldValue::Null => f.write_str("nothing"),
            FieldValue::Flag(flag) => write!(f, "{flag}"),
            FieldValue::Number(number) => write!(f, "{number}"),
            FieldValue::Code(code) => f.write_str(code),
            FieldValue::Text(text) => write!(f, "{text:?}"),
            FieldValue::Agent(_, name) => write!(f, "{name:?}"),
            FieldValue::Digest(digest) if f.alternate() => f.write_str(&hex(*digest)),
            FieldValue::Digest(digest) => f.write_str(&hex(&digest[..8])),
            FieldValue::Bytes(bytes) => payload(f, bytes),
            FieldValue::TextTensor(tensor) if tensor.dtype == DType::U8 => payload(f, &tensor.data),
            FieldValue::Tensor(tensor) | FieldValue::TextTensor(tensor) => {
                write!(
                    f,
                    "{}{:?} {}",
                    tensor.dtype,
                    tensor.shape,
                    TensorText(tensor)
                )
            }
            FieldValue::List(_) | FieldValue::Record(_) => {
                for (position, (step, part)) in self.parts().into_iter().flatten().enumerate() {
                    let comma = if position == 0 { "" } else { ", " };
                    let step = relative(&step);
                    match part.parts() {
                        Some(_) => write!(f, "{comma}{step} {{{part}}}")?,
                        None => write!(f, "{comma}{step} {part}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// Bytes as text where they are text, otherwise in hexadecimal digits; the beginning of them if there are many.
fn payload(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    match std::str::from_utf8(bytes) {
        Ok(text) => write!(
            f,
            "{:?}",
            text.chars().take(MAX_PAYLOAD_BYTES).collect::<String>()
        )?,
        Err(_) => write!(f, "0x{}", hex(&bytes[..bytes.len().min(MAX_PAYLOAD_BYTES)]))?,
    }
    match bytes.len() {
        ..=MAX_PAYLOAD_BYTES => Ok(()),
        count => write!(f, "... ({count} bytes)"),
    }
}

/// JSON with everything that the record holds. Bytes that are no text become `{"hex": "ff00"}`, a tensor becomes
/// `{"dtype": "f32", "shape": [1, 2], "data": [3, -0.5]}`, and a number that JSON does not have becomes text: `"NaN"`.
impl Serialize for FieldValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            FieldValue::Null => serializer.serialize_unit(),
            FieldValue::Flag(flag) => serializer.serialize_bool(*flag),
            FieldValue::Number(number) => serializer.serialize_i128(*number),
            FieldValue::Code(text) | FieldValue::Agent(_, text) => serializer.serialize_str(text),
            FieldValue::Text(text) => serializer.serialize_str(text),
            FieldValue::Digest(digest) => serializer.serialize_str(&hex(*digest)),
            FieldValue::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => serializer.serialize_str(text),
                Err(_) => serializer.collect_map([("hex", hex(bytes))]),
            },
            FieldValue::Tensor(tensor) | FieldValue::TextTensor(tensor) => {
                let mut map = serializer.serialize_map(Some(3))?;
                map.serialize_entry("dtype", tensor.dtype.name())?;
                map.serialize_entry("shape", tensor.shape.dims())?;
                match self {
                    FieldValue::TextTensor(_) if tensor.dtype == DType::U8 => {
                        map.serialize_entry("data", &FieldValue::Bytes(&tensor.data))?;
                    }
                    _ => map.serialize_entry("data", &json_numbers(tensor))?,
                }
                map.end()
            }
            FieldValue::List(elements) => serializer.collect_seq(elements),
            FieldValue::Record(fields) => {
                serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
            }
        }
    }
}

fn json_numbers(tensor: &Tensor) -> Vec<serde_json::Value> {
    let texts = (0..TensorText(tensor).elements()).map(|position| number(tensor, position));
    texts
        .map(|text| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)))
        .collect()
}
