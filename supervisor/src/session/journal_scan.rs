//! One reading of a whole journal before a replay: it is checked, and its verdicts and recorded answers are collected.

use crate::error::RunError;
use crate::journal::{JournalEntry, JournalReader};
use crate::record::{Digest, Verdict};
use crate::rundir::RunDir;
use crate::tick::RecordedAnswers;
use shm_protocol::id::{ModelId, Tick};
use std::collections::BTreeMap;

/// The result of reading a whole journal.
pub(crate) struct JournalScan {
    /// The last tick.
    pub(crate) until: Tick,
    pub(crate) chain: Digest,
    /// The verdicts, by tick.
    pub(crate) verdicts: BTreeMap<Tick, Vec<Verdict>>,
    /// Recorded answers that the engine is not asked for again.
    pub(crate) recorded_answers: RecordedAnswers,
}

/// Checks every record of a journal.
pub(crate) fn scan_journal(run_dir: &RunDir) -> Result<JournalScan, RunError> {
    let (header, mut journal) = JournalReader::open(run_dir)?;
    let numbers = (0..header.models.len()).map(ModelId::from_index);
    let generators =
        numbers.filter(|model| header.models[model.index()].settings.generator.is_some());
    let (mut verdicts, mut recorded_answers) =
        (BTreeMap::new(), RecordedAnswers::new(generators.collect()));
    while let Some(JournalEntry { tick, record, .. }) = journal.next_tick()? {
        record
            .verdicts
            .iter()
            .for_each(|verdict| recorded_answers.add_verdict(tick, verdict));
        if !record.verdicts.is_empty() {
            verdicts.insert(tick, record.verdicts);
        }
    }
    if !recorded_answers.needs_no_results() {
        let (_, mut again) = JournalReader::open(run_dir)?;
        while let Some(entry) = again.next_tick()? {
            let results = entry.record.results.iter();
            results.for_each(|result| recorded_answers.add_result(entry.tick, result));
            recorded_answers.add_awaits(entry.tick, &entry.record.awaited);
            recorded_answers.add_requests(entry.tick, &entry.record.outcomes);
        }
    }
    Ok(JournalScan {
        until: journal.ticks(),
        chain: journal.chain(),
        verdicts,
        recorded_answers,
    })
}
