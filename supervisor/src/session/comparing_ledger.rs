//! The ledger of a replay: it compares every tick with the journal.

use super::run_store::read_journal;
use super::stats::RunStats;
use crate::analysis::UlpStatistics;
use crate::analysis::diff::{self, Difference};
use crate::error::RunError;
use crate::event_loop::Ledger;
use crate::journal::{JournalEntry, JournalMark, JournalReader};
use crate::observer::Observer;
use crate::record::{AwaitedRecord, ResultRecord, RunHeader, TickRecord};
use crate::rundir::{RunDir, RunEvent};
use shm_protocol::id::Tick;
use std::ops::ControlFlow;

/// The ledger of a replay.
pub(crate) struct ComparingLedger<'a> {
    run_dir: &'a RunDir,
    header: &'a RunHeader,
    journal: JournalReader,
    /// The tick of the journal that the open tick is compared with.
    expected: Option<JournalEntry>,
    from_journal: bool,
    /// Measures the distance of results from the journal's, where they may differ.
    pub(crate) ulp_statistics: Option<UlpStatistics>,
    pub(crate) divergence: Option<Difference>,
    pub(crate) stats: RunStats,
    observer: &'a mut dyn Observer,
}

impl<'a> ComparingLedger<'a> {
    pub(crate) fn new(
        run_dir: &'a RunDir,
        header: &'a RunHeader,
        journal: JournalReader,
        from_journal: bool,
        observer: &'a mut dyn Observer,
    ) -> ComparingLedger<'a> {
        ComparingLedger {
            run_dir,
            header,
            journal,
            expected: None,
            from_journal,
            ulp_statistics: None,
            divergence: None,
            stats: RunStats::begin(),
            observer,
        }
    }
}

impl Ledger for ComparingLedger<'_> {
    fn commit(&mut self, tick: Tick, record: &TickRecord) -> Result<ControlFlow<()>, RunError> {
        let mut expected = self.expected.take().expect("the run ends with its journal");
        if let Some(ulp_statistics) = &mut self.ulp_statistics {
            let results = &mut expected.record.results;
            let awaited = &mut expected.record.awaited;
            let answers = (&results[..], &awaited[..]);
            if ulp_statistics.add(
                self.header,
                tick,
                answers,
                (&record.results, &record.awaited),
            ) {
                // The outcomes are still compared, without the fuel that they took.
                results.clone_from(&record.results);
                awaited.clone_from(&record.awaited);
                let pairs = expected.record.outcomes.iter_mut().zip(&record.outcomes);
                pairs.for_each(|(expected, found)| expected.fuel_used = found.fuel_used);
            }
        }
        self.divergence = diff::ticks(self.header, tick, &expected.record, record);
        if self.divergence.is_some() {
            return Ok(ControlFlow::Break(()));
        }
        self.stats.count_tick(tick, record);
        self.observer.committed(tick, record);
        Ok(ControlFlow::Continue(()))
    }

    fn results(&mut self, _tick: Tick) -> Result<Vec<ResultRecord>, RunError> {
        self.expected = self.journal.next_tick()?;
        let recorded = self.expected.as_ref().filter(|_| self.from_journal);
        Ok(recorded.map_or_else(Vec::new, |entry| entry.record.results.clone()))
    }

    fn awaited(&mut self) -> Vec<AwaitedRecord> {
        let recorded = self.expected.as_ref().filter(|_| self.from_journal);
        recorded.map_or_else(Vec::new, |entry| entry.record.awaited.clone())
    }

    fn event(&mut self, event: RunEvent) -> Result<(), RunError> {
        self.stats.count_event(&event);
        self.observer.event(&event);
        Ok(())
    }

    fn ticks_after(&mut self, mark: Option<&JournalMark>) -> Result<JournalReader, RunError> {
        read_journal(self.run_dir, mark)
    }
}
