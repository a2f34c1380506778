//! The first difference between two runs.

mod compare;

use crate::journal::{JournalError, JournalReader};
use crate::record::{RunHeader, TickRecord};
use crate::rundir::RunDir;
use compare::{headers, records};
use shm_protocol::id::Tick;
use std::fmt;

/// The first difference between a left and a right run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// They are not runs of the same thing.
    Header {
        /// What differs.
        change: Change,
    },
    /// They differ in a tick.
    Tick {
        /// The tick.
        tick: Tick,
        /// Name of the agent that the difference concerns.
        agent: Option<String>,
        /// What differs.
        change: Change,
    },
    /// One goes on where the other ends, and they are equal up to there.
    Length {
        /// The last tick of the left one.
        left: Tick,
        /// The last tick of the right one.
        right: Tick,
    },
}

/// What differs between two records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The field, as in `effect 2 (send) payload byte 5`.
    pub field: String,
    /// What the left one has there.
    pub left: String,
    /// What the right one has there.
    pub right: String,
    /// The first byte of the encoded records that differs.
    pub byte: ByteChange,
}

/// The first byte that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteChange {
    /// Its position in the payload of the record.
    pub offset: usize,
    /// The left one, if the left record is long enough.
    pub left: Option<u8>,
    /// The right one, if the right record is long enough.
    pub right: Option<u8>,
}

/// Finds the first difference between two runs, which may be going on or torn.
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
                let found = ticks(&left_header, left.tick, &left.record, &right.record);
                return Ok(Some(found.expect(
                    "up to here the runs were equal, so different digests mean different records",
                )));
            }
            (left_entry, right_entry) => {
                // Read the longer one to its end, so that both lengths can be said.
                (left_entry.is_some())
                    .then(|| to_end(&mut left))
                    .transpose()?;
                (right_entry.is_some())
                    .then(|| to_end(&mut right))
                    .transpose()?;
                return Ok(Some(Difference::Length {
                    left: left.ticks(),
                    right: right.ticks(),
                }));
            }
        }
    }
}

fn to_end(reader: &mut JournalReader) -> Result<(), JournalError> {
    while reader.next_tick()?.is_some() {}
    Ok(())
}

/// The first difference between what two runs are.
#[must_use]
pub fn run_headers(left: &RunHeader, right: &RunHeader) -> Option<Difference> {
    let found = headers(left, right).err()?;
    Some(Difference::Header {
        change: found.change(left, right),
    })
}

/// The first difference between two records of one tick. Replay uses it on a tick that came out differently.
#[must_use]
pub fn ticks(
    header: &RunHeader,
    tick: Tick,
    left: &TickRecord,
    right: &TickRecord,
) -> Option<Difference> {
    let found = records(left, right).err()?;
    let agent = found
        .agent
        .and_then(|agent| header.agents.get(agent.index()))
        .map(|pin| pin.name.clone());
    Some(Difference::Tick {
        tick,
        agent,
        change: found.change(left, right),
    })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Header { change } => {
                write!(f, "the headers of the runs differ in {change}")
            }
            Difference::Tick {
                tick,
                agent: Some(agent),
                change,
            } => {
                write!(f, "tick {tick}, agent {agent:?} differs in {change}")
            }
            Difference::Tick {
                tick,
                agent: None,
                change,
            } => write!(f, "tick {tick} differs in {change}"),
            Difference::Length { left, right } => write!(
                f,
                "the runs are equal up to tick {}, where the {} one ends; the left one has {left} ticks, the right one {right}",
                left.min(right),
                if left < right { "left" } else { "right" }
            ),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ByteChange {
            offset,
            left,
            right,
        } = self.byte;
        let shown = |byte: Option<u8>| {
            byte.map_or_else(|| "the end".to_owned(), |byte| format!("{byte:#04x}"))
        };
        writeln!(f, "{}", self.field)?;
        writeln!(f, "  left:  {}", self.left)?;
        writeln!(f, "  right: {}", self.right)?;
        write!(
            f,
            "  first at byte {offset} of the record: {} and {}",
            shown(left),
            shown(right)
        )
    }
}
