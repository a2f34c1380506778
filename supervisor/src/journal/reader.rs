//! Reading a journal: a record at a time, each checked before it is used.
//!
//! A bad record is one of two things. With another record of the run behind it,
//! or when no write that stopped halfway can leave it, it is **corruption** and
//! an error. With nothing valid behind it, it is the **torn end** of a run: the
//! reader stops there and [`JournalReader::torn`] says so.

mod frames;
mod source;
mod tail;

pub use tail::{Torn, TornKind};

use super::sync_marker::SyncMarker;
use crate::journal::check;
use crate::journal::error::{JournalError, RecordFault};
use crate::journal::frame::RecordKind;
use crate::journal::mark::JournalMark;
use crate::record::RunId;
use crate::record::{Digest, RunHeader, Seal, TickRecord};
use crate::rundir::RunDir;
use frames::{FrameBytes, Frames};
use shm_protocol::id::Tick;

/// One committed tick as it was journaled.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalEntry {
    /// Its number.
    pub tick: Tick,
    /// The record.
    pub record: TickRecord,
    /// Its digest: the value of the chain after it.
    pub digest: Digest,
}

/// Reads the ticks of a run in order. Holds one record at a time.
#[derive(Debug)]
pub struct JournalReader {
    frames: Frames,
    /// After the last tick, or the header.
    mark: JournalMark,
    agents: usize,
    models: usize,
    seal: Option<Seal>,
    state: ReaderState,
}

/// The state of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReaderState {
    Reading,
    /// The end of the journal was read.
    Ended,
    /// Something was wrong.
    Refused,
}

/// The position of a reader that has read nothing.
const NOWHERE: JournalMark = JournalMark {
    tick: Tick::ZERO,
    chain: [0; 32],
    segment: 1,
    offset: 0,
};

impl JournalReader {
    /// Opens the journal of a run and reads its header.
    ///
    /// # Errors
    /// When there is none or it is damaged.
    pub fn open(run: &RunDir) -> Result<(RunHeader, JournalReader), JournalError> {
        let mut reader = JournalReader {
            frames: Frames::open(run)?,
            mark: NOWHERE,
            agents: 0,
            models: 0,
            seal: None,
            state: ReaderState::Reading,
        };
        let Some(framed) = reader.frames.next_framed()? else {
            return Err(match reader.frames.torn() {
                Some(torn) if torn.kind != TornKind::Unfinished => {
                    JournalError::DamagedTail { torn: torn.clone() }
                }
                Some(_) | None => JournalError::NotBegun {
                    folder: run.journal(),
                },
            });
        };
        let header: RunHeader = reader.frames.payload(&framed)?;
        check::header(&header).map_err(|fault| reader.frames.corrupt(fault))?;
        (reader.agents, reader.models) = (header.agents.len(), header.models.len());
        reader.accept(&framed);
        Ok((header, reader))
    }

    /// Opens the journal of a run and continues after a mark, without reading the records between the header and the
    /// mark.
    ///
    /// # Errors
    /// When there is no journal, its header is damaged, or the tick that was marked does not end at the mark.
    pub fn open_at(
        run: &RunDir,
        mark: &JournalMark,
    ) -> Result<(RunHeader, JournalReader), JournalError> {
        let (header, mut reader) = JournalReader::open(run)?;
        reader.frames.go_to(mark)?;
        reader.mark = *mark;
        Ok((header, reader))
    }

    /// The next tick; none at the end of the journal.
    ///
    /// # Errors
    /// When the journal is damaged or cannot be read. The reader has then ended.
    pub fn next_tick(&mut self) -> Result<Option<JournalEntry>, JournalError> {
        if self.state != ReaderState::Reading {
            return Ok(None);
        }
        let next = self.next_entry();
        self.state = match next {
            Ok(Some(_)) => ReaderState::Reading,
            Ok(None) => ReaderState::Ended,
            Err(_) => ReaderState::Refused,
        };
        next
    }

    /// The ticks from here to the end.
    pub fn entries(&mut self) -> impl Iterator<Item = Result<JournalEntry, JournalError>> {
        std::iter::from_fn(|| self.next_tick().transpose())
    }

    /// The name of the run.
    ///
    /// # Panics
    /// Never: a reader that was opened has read it.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.frames
            .run_id()
            .expect("an open reader has read the header of the run")
    }

    /// Digest of the last tick that was read, or of the header when there is none.
    #[must_use]
    pub fn chain(&self) -> Digest {
        self.mark.chain
    }

    /// The position after the last tick that was read, or after the header when there is none.
    #[must_use]
    pub fn mark(&self) -> JournalMark {
        self.mark
    }

    /// The last tick that was read.
    #[must_use]
    pub fn ticks(&self) -> Tick {
        self.frames.ticks()
    }

    /// The seal, once the end was read and there is one.
    #[must_use]
    pub fn seal(&self) -> Option<&Seal> {
        self.seal.as_ref()
    }

    /// The torn end of the journal, once it was read and is torn.
    #[must_use]
    pub fn torn(&self) -> Option<&Torn> {
        self.frames.torn()
    }

    /// Bytes of the good records that were read: of all of them, unless the reader began at a mark.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.frames.bytes()
    }

    /// True if everything was read and nothing was wrong: the journal can be continued after [`JournalReader::mark`].
    pub(super) fn is_at_end(&self) -> bool {
        self.state == ReaderState::Ended
    }

    /// The position up to which the journal is on the disk, if it is known.
    pub(super) fn synced(&self) -> Option<&SyncMarker> {
        self.frames.synced()
    }

    /// The numbers of agents and models of the run.
    pub(super) fn tables(&self) -> (usize, usize) {
        (self.agents, self.models)
    }

    fn next_entry(&mut self) -> Result<Option<JournalEntry>, JournalError> {
        let Some(framed) = self.frames.next_framed()? else {
            return Ok(None);
        };
        if framed.header.kind == RecordKind::Seal {
            return self.end_with_seal(&framed).map(|()| None);
        }
        let record: TickRecord = self.frames.payload(&framed)?;
        check::record(&record, self.agents, self.models)
            .map_err(|fault| self.frames.corrupt(fault))?;
        self.accept(&framed);
        Ok(Some(JournalEntry {
            tick: self.ticks(),
            record,
            digest: self.chain(),
        }))
    }

    fn end_with_seal(&mut self, framed: &FrameBytes) -> Result<(), JournalError> {
        let (seal, ticks): (Seal, Tick) = (self.frames.payload(framed)?, self.ticks());
        if seal.ticks != ticks.0 {
            let reason = format!(
                "the seal counts {} ticks, and there are {ticks}",
                seal.ticks
            );
            return Err(self.frames.corrupt(RecordFault::Content(reason)));
        }
        // It is no part of the chain.
        self.frames.accept(framed);
        self.seal = Some(seal);
        if self.frames.is_at_end() {
            Ok(())
        } else {
            Err(self.frames.corrupt(RecordFault::AfterSeal))
        }
    }

    fn accept(&mut self, framed: &FrameBytes) {
        self.frames.accept(framed);
        self.mark = self.frames.mark();
    }
}
