//! A run written anew with a change, as only somebody who knows the format could
//! forge it: every checksum and digest fits.

use std::path::Path;
use supervisor::fleet::Durability;
use supervisor::journal::{JournalReader, JournalWriter, create_run_dir};
use supervisor::record::{ResultRecord, RunHeader, SealReason, TickRecord};
use supervisor::rundir::{Outbox, RunDir};

/// Writes the run in `from` to `to`, with changes to its header and its ticks.
pub(crate) fn rewrite(
    from: &Path,
    to: &Path,
    change_header: impl FnOnce(&mut RunHeader),
    mut change_tick: impl FnMut(u64, &mut TickRecord),
) {
    let from = RunDir::read(from).expect("a run");
    let to = create_run_dir(to).expect("a new run");
    let (mut header, mut reader) = JournalReader::open(&from).expect("a journal");
    let objects = header
        .agents
        .iter()
        .map(|agent| agent.component)
        .chain(header.model_files());
    for digest in objects {
        to.put_object(&from.object(&digest).expect("an object"))
            .expect("a copy of it");
    }
    to.put_launch(&from.launch().expect("a launch"))
        .expect("a copy of it");
    change_header(&mut header);
    let mut writer =
        JournalWriter::create(&to, &header, Durability::Process).expect("a new journal");
    let names = header
        .agents
        .iter()
        .map(|agent| agent.name.clone())
        .collect();
    let mut outbox = Outbox::open(&to, writer.run_id(), names).expect("a new outbox");
    while let Some(mut entry) = reader.next_tick().expect("a sound journal") {
        change_tick(entry.tick.0, &mut entry.record);
        writer
            .append(entry.tick, &entry.record)
            .expect("a copy of the tick");
        outbox.push(entry.tick, &entry.record.outcomes);
        outbox.release(entry.tick).expect("lines in the outbox");
    }
    outbox.sync().expect("the outbox on the disk");
    writer.seal(SealReason::Finished).expect("a seal");
}

/// Flips bits in the first output that a model gave.
pub(crate) fn forge_result(result: &mut ResultRecord, byte: usize, flipped: u8) {
    let mut outputs = result
        .outcome
        .iter()
        .next()
        .expect("the model has answered")
        .clone();
    outputs[0].data[byte] ^= flipped;
    result.outcome = Ok(outputs).into();
}
