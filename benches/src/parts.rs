//! The parts of a tick, each alone on the records of a captured run.

use crate::Trouble;
use crate::captured::Captured;
use crate::clock::timed;
use shm_protocol::agent_to_supervisor::{OUTCOMES, Outcomes};
use shm_protocol::codec;
use shm_protocol::id::{BatchId, HostId, Incarnation, Tick};
use shm_protocol::inference_to_supervisor::OUTPUT;
use shm_protocol::link::{HostLink, LinkSizes, SupervisorLink};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_agent::{STEPS, Steps};
use shm_protocol::supervisor_to_inference::INPUT;
use shm_protocol::tensor::{DType, Shape, Tensor};
use std::hint::black_box;
use std::path::Path;
use supervisor::fleet::Durability;
use supervisor::journal::{JournalWriter, create_run_dir};
use supervisor::tick::{TickAction, TickInput, TickMachine};

/// Bytes of each ring, as in a run: larger than the nearer caches.
const RING_BYTES: usize = 16 << 20;

/// Columns of the network's output.
const OUTPUT_WIDTH: u64 = 16;

/// Mean seconds that each part takes in one tick.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codec {
    /// Steps to bytes, in the supervisor.
    pub encode_steps: f64,
    /// Bytes to steps, in the agent host.
    pub decode_steps: f64,
    /// Outcomes to bytes, in the agent host.
    pub encode_outcomes: f64,
    /// Bytes to outcomes, in the supervisor.
    pub decode_outcomes: f64,
}

/// Encoding and decoding of what goes to the agents and comes back.
///
/// # Errors
/// When what was encoded cannot be decoded.
pub fn codec(captured: &Captured) -> Result<Codec, Trouble> {
    let mut sum = Codec::default();
    let (mut down, mut up) = (Vec::new(), Vec::new());
    for (position, record) in captured.records.iter().enumerate() {
        let steps = Steps {
            steps: captured.steps(position),
        };
        down.clear();
        sum.encode_steps += timed(|| codec::encode_into(&steps, &mut down)).0;
        let (took, decoded) = timed(|| codec::decode_record::<Steps>(&down));
        sum.decode_steps += took;
        black_box(decoded?);
        up.clear();
        sum.encode_outcomes += timed(|| codec::encode_into(&record.outcomes, &mut up)).0;
        let (took, decoded) = timed(|| codec::decode_record::<Outcomes>(&up));
        sum.decode_outcomes += took;
        black_box(decoded?);
    }
    let ticks = captured.records.len() as f64;
    Ok(Codec {
        encode_steps: sum.encode_steps / ticks,
        decode_steps: sum.decode_steps / ticks,
        encode_outcomes: sum.encode_outcomes / ticks,
        decode_outcomes: sum.decode_outcomes / ticks,
    })
}

/// Mean seconds of the pure machine in one tick: what it does with outcomes, and what it does with the engine's answer.
/// A tick must have one batch at most.
///
/// # Errors
/// When it does not take what the run gave it.
pub fn machine(captured: &Captured) -> Result<(f64, f64), Trouble> {
    let mut machine = TickMachine::new(captured.plan(), None);
    let mut actions = Vec::new();
    machine.apply(TickInput::Begin, &mut actions)?;
    let (mut on_outcomes, mut on_answer) = (0.0, 0.0);
    for (position, record) in captured.records.iter().enumerate() {
        actions.clear();
        let tick = Tick(position as u64 + 1);
        let input = TickInput::Outcomes {
            host: HostId(0),
            tick,
            outcomes: record.outcomes.clone(),
        };
        let (took, result) = timed(|| machine.apply(input, &mut actions));
        result?;
        on_outcomes += took;
        let is_asked = actions
            .iter()
            .any(|action| matches!(action, TickAction::Infer(_)));
        if is_asked && position + 1 < captured.records.len() {
            // What was asked for is freed here, as it is in a run: outside of the machine.
            actions.clear();
            let data = captured.output(position + 1);
            let shape = Shape::new(&[data.len() as u64 / (4 * OUTPUT_WIDTH), OUTPUT_WIDTH])?;
            let outputs = Ok(vec![Tensor {
                dtype: DType::F32,
                shape,
                data,
            }]);
            let input = TickInput::Answer {
                batch: BatchId(position as u64),
                outputs,
            };
            let (took, result) = timed(|| machine.apply(input, &mut actions));
            result?;
            on_answer += took;
        }
    }
    let ticks = captured.records.len() as f64;
    Ok((on_outcomes / ticks, on_answer / ticks))
}

/// Mean seconds of appending a tick to a journal: encoding, digest, write. `batch` also wakes a thread that syncs.
///
/// # Errors
/// When the journal cannot be written.
pub fn journal(
    captured: &Captured,
    scratch: &Path,
    durability: Durability,
) -> Result<f64, Trouble> {
    let dir = scratch.join("journal-alone");
    let run = create_run_dir(&dir)?;
    let mut writer = JournalWriter::create(&run, &captured.header, durability)?;
    let mut sum = 0.0;
    for (position, record) in captured.records.iter().enumerate() {
        let (took, result) = timed(|| writer.append(Tick(position as u64 + 1), record));
        result?;
        sum += took;
    }
    writer.wait_durable()?;
    drop(writer);
    drop(run);
    std::fs::remove_dir_all(&dir)?;
    Ok(sum / captured.records.len() as f64)
}

/// Mean seconds of all copies and checksums of one tick's records in rings, both ends in one thread: no hand-over.
///
/// # Errors
/// When a ring refuses.
pub fn rings(captured: &Captured) -> Result<f64, Trouble> {
    let sizes = LinkSizes {
        down_bytes: RING_BYTES,
        up_bytes: RING_BYTES,
    };
    let (mut agents, mut agent_host) = link(sizes)?;
    let (mut engine, mut engine_host) = link(sizes)?;
    let (mut down, mut up, mut sum) = (Vec::new(), Vec::new(), 0.0);
    for (position, record) in captured.records.iter().enumerate() {
        let steps = codec::encode(&captured.steps(position));
        let outcomes = codec::encode(&record.outcomes);
        let rows: Vec<&[u8]> = captured.rows(position).collect();
        let output = captured.output(position);
        let tick = Tick(position as u64 + 1);
        let (took, result) = timed(|| -> Result<(), Trouble> {
            let full = || Trouble::from("a ring with one tick in it is full");
            agents
                .down
                .try_push(&RecordHeader::new(STEPS, tick), &steps)?
                .then_some(())
                .ok_or_else(full)?;
            agent_host.down.try_take(&mut down)?;
            agent_host.push(&RecordHeader::new(OUTCOMES, tick), &outcomes)?;
            agents.up.try_take(&mut up)?;
            if rows.is_empty() {
                return Ok(());
            }
            let bytes = rows.iter().map(|row| row.len()).sum();
            let mut reservation = engine
                .down
                .try_reserve(&RecordHeader::new(INPUT, tick), bytes)?
                .ok_or_else(full)?;
            let mut offset = 0;
            for row in &rows {
                reservation.write(offset, row);
                offset += row.len();
            }
            reservation.publish();
            // The host reads it where it lies.
            engine_host
                .down
                .try_peek(0)?
                .ok_or("what was published is not there")?;
            engine_host.down.release(1);
            engine_host.push(&RecordHeader::new(OUTPUT, tick), &output)?;
            engine.up.try_take(&mut Vec::new())?;
            Ok(())
        });
        result?;
        sum += took;
    }
    Ok(sum / captured.records.len() as f64)
}

/// Both ends of a link.
fn link(sizes: LinkSizes) -> Result<(SupervisorLink, HostLink), Trouble> {
    let (supervisor, descriptors) = SupervisorLink::create(sizes, Incarnation(1))?;
    let host = HostLink::attach(
        descriptors.down,
        descriptors.up,
        descriptors.bell,
        Incarnation(1),
    )?;
    Ok((supervisor, host))
}
