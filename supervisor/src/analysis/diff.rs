//! The first difference between two runs.

use super::projection::{FieldValue, Project, relative};
use super::tensor_text::{element, number};
use crate::journal::{JournalError, JournalReader};
use crate::record::{RunHeader, TickRecord, hex};
use crate::rundir::RunDir;
use bincode::Encode;
use shm_protocol::codec;
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::tensor::Tensor;
use std::fmt;

/// Maximum number of characters of a value in a difference.
const MAX_VALUE_CHARACTERS: usize = 200;

/// The first difference between a left and a right run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The headers differ: these are not runs of the same fleet, files and seed.
    Header(RecordDifference),
    /// The records of a tick differ.
    Tick {
        /// The tick.
        tick: Tick,
        /// Name of the agent that the difference concerns.
        agent: Option<String>,
        /// The difference.
        record: RecordDifference,
    },
    /// One run has more ticks, and they are equal up to the end of the other one.
    Length {
        /// The last tick of the left run.
        left: Tick,
        /// The last tick of the right run.
        right: Tick,
    },
}

/// The first difference between two records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordDifference {
    /// The first field that differs, as in `outcomes[1].effects[0].send.payload byte 5`.
    pub field: ValueDifference,
    /// The first byte of the encoded records that differs.
    pub byte: ValueDifference,
}

/// A place where two records differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueDifference {
    /// The path of the place.
    pub path: String,
    /// The value in the left record.
    pub left: String,
    /// The value in the right record.
    pub right: String,
}

/// Finds the first difference between two runs, which may be active or torn.
///
/// # Errors
/// When a journal is damaged or cannot be read.
pub fn diff(left: &RunDir, right: &RunDir) -> Result<Option<Difference>, JournalError> {
    let (left_header, mut left) = JournalReader::open(left)?;
    let (right_header, mut right) = JournalReader::open(right)?;
    if let Some(difference) = run_headers(&left_header, &right_header) {
        return Ok(Some(difference));
    }
    loop {
        match (left.next_tick()?, right.next_tick()?) {
            (None, None) => return Ok(None),
            (Some(left), Some(right)) if left.digest == right.digest => {}
            (Some(left), Some(right)) => {
                let difference = ticks(&left_header, left.tick, &left.record, &right.record);
                return Ok(Some(difference.expect(
                    "up to here the runs were equal, so different digests mean different records",
                )));
            }
            (left_entry, right_entry) => {
                // The longer one is read to its end for the number of its ticks.
                for (entry, reader) in [(left_entry, &mut left), (right_entry, &mut right)] {
                    while entry.is_some() && reader.next_tick()?.is_some() {}
                }
                let (left, right) = (left.ticks(), right.ticks());
                return Ok(Some(Difference::Length { left, right }));
            }
        }
    }
}

/// The first difference between the headers of two runs.
#[must_use]
pub fn run_headers(left: &RunHeader, right: &RunHeader) -> Option<Difference> {
    let (_, record) = compare(left, right, |run| run.project(run))?;
    Some(Difference::Header(record))
}

/// The first difference between two records of one tick. Replay uses it on a tick that came out differently.
#[must_use]
pub fn ticks(
    header: &RunHeader,
    tick: Tick,
    left: &TickRecord,
    right: &TickRecord,
) -> Option<Difference> {
    let (agent, record) = compare(left, right, |record| record.project(header))?;
    Some(Difference::Tick {
        tick,
        agent: agent.map(|agent| header.agent_name(agent).to_owned()),
        record,
    })
}

/// The first difference between two records, and the agent that it concerns.
fn compare<'run, T: PartialEq + Encode>(
    left: &'run T,
    right: &'run T,
    project: impl Fn(&'run T) -> FieldValue<'run>,
) -> Option<(Option<AgentId>, RecordDifference)> {
    // Nearly all pairs of records are equal, and a projection takes time.
    if left == right {
        return None;
    }
    let (agent, mut field) = first_difference(Some(&project(left)), Some(&project(right)))
        .expect("the projection has every field, so it differs where the records do");
    field.path = relative(&field.path).to_owned();
    let byte = first_byte(&codec::encode(left), &codec::encode(right));
    Some((agent, RecordDifference { field, byte }))
}

/// Walks two projections side by side; a part that one side lacks is shown as nothing.
fn first_difference(
    left: Option<&FieldValue<'_>>,
    right: Option<&FieldValue<'_>>,
) -> Option<(Option<AgentId>, ValueDifference)> {
    let parts = (
        left.and_then(FieldValue::parts),
        right.and_then(FieldValue::parts),
    );
    if let (Some(left), Some(right)) = parts
        && left
            .iter()
            .zip(&right)
            .all(|(left, right)| left.0 == right.0)
    {
        return (0..left.len().max(right.len())).find_map(|at| {
            let (left, right) = (left.get(at), right.get(at));
            let (step, part) = left.or(right)?;
            let (agent, mut difference) =
                first_difference(left.map(|part| part.1), right.map(|part| part.1))?;
            difference.path.insert_str(0, step);
            Some((part.agent().or(agent), difference))
        });
    }
    if left == right {
        return None;
    }
    let difference = match (left, right) {
        (Some(FieldValue::Bytes(left)), Some(FieldValue::Bytes(right))) => first_byte(left, right),
        (
            Some(FieldValue::Tensor(left) | FieldValue::TextTensor(left)),
            Some(FieldValue::Tensor(right) | FieldValue::TextTensor(right)),
        ) => first_element(left, right),
        (left, right) => ValueDifference {
            path: String::new(),
            left: text(left),
            right: text(right),
        },
    };
    Some((None, difference))
}

/// A value as text, the beginning of it if it is long.
fn text(value: Option<&FieldValue<'_>>) -> String {
    let mut text = format!("{:#}", value.unwrap_or(&FieldValue::Null));
    if let Some((end, _)) = text.char_indices().nth(MAX_VALUE_CHARACTERS) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

fn common_bytes(left: &[u8], right: &[u8]) -> usize {
    let pairs = left.iter().zip(right);
    pairs.take_while(|(left, right)| left == right).count()
}

fn first_byte(left: &[u8], right: &[u8]) -> ValueDifference {
    let at = common_bytes(left, right);
    let value = |bytes: &[u8]| match bytes.get(at) {
        Some(byte) => format!("{byte:#04x}"),
        None => "the end".to_owned(),
    };
    ValueDifference {
        path: format!(" byte {at}"),
        left: value(left),
        right: value(right),
    }
}

fn first_element(left: &Tensor, right: &Tensor) -> ValueDifference {
    if (left.dtype, left.shape) != (right.dtype, right.shape) {
        let value = |tensor: &Tensor| format!("{}{:?}", tensor.dtype, tensor.shape);
        return ValueDifference {
            path: " dtype and shape".to_owned(),
            left: value(left),
            right: value(right),
        };
    }
    if left.data.len() != right.data.len() {
        return first_byte(&left.data, &right.data);
    }
    // Of the elements that share a byte, the first that differs.
    let bits = left.dtype.bits();
    let first = common_bytes(&left.data, &right.data) * 8 / bits;
    let position = (first..first + (8 / bits).max(1))
        .find(|position| element(left, *position) != element(right, *position))
        .unwrap_or(first);
    let value = |tensor: &Tensor| {
        let bytes = hex(&element(tensor, position));
        format!("{} (0x{bytes})", number(tensor, position))
    };
    ValueDifference {
        path: format!(" element {position}"),
        left: value(left),
        right: value(right),
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Header(record) => {
                write!(f, "the headers of the runs differ in {record}")
            }
            Difference::Tick {
                tick,
                agent: Some(agent),
                record,
            } => write!(f, "tick {tick}, agent {agent:?} differs in {record}"),
            Difference::Tick {
                tick,
                agent: None,
                record,
            } => write!(f, "tick {tick} differs in {record}"),
            Difference::Length { left, right } => write!(
                f,
                "the runs are equal up to tick {}, where the {} one ends; the left one has {left} ticks, the right one {right}",
                left.min(right),
                if left < right { "left" } else { "right" }
            ),
        }
    }
}

impl fmt::Display for RecordDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecordDifference { field, byte } = self;
        writeln!(f, "{}", field.path)?;
        writeln!(f, "  left:  {}", field.left)?;
        writeln!(f, "  right: {}", field.right)?;
        let ValueDifference { path, left, right } = byte;
        write!(f, "  first at{path} of the record: {left} and {right}")
    }
}
