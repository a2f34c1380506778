//! Appending to a journal.
//!
//! A record is one buffer, one hash and one write. A write or sync that failed is never tried again: the writer then
//! takes nothing more, and the reader classifies what is in the files.

mod level;
mod output;
mod resume;
mod syncer;

pub use resume::Truncation;

use crate::fleet::Durability;
use crate::journal::check;
use crate::journal::error::JournalError;
use crate::journal::frame::{DIGEST_BYTES, FrameHeader, HEADER_BYTES, RecordKind};
use crate::journal::mark::JournalMark;
use crate::journal::segment::{self, SEGMENT_BYTES};
use crate::planted::{Bug, planted};
use crate::record::RunId;
use crate::record::{Digest, RunHeader, Seal, SealReason, TickRecord};
use crate::rundir::RunDir;
use bincode::Encode;
use level::Level;
use output::Segment;
use shm_protocol::id::Tick;
use shm_protocol::{codec, limit};
use std::path::Path;

/// Appends the records of one run.
#[derive(Debug)]
pub struct JournalWriter {
    /// Kept for its lock.
    run: RunDir,
    run_id: RunId,
    agents: usize,
    models: usize,
    segment: Segment,
    segment_limit: u64,
    /// The record being made. Kept, because fresh memory costs more than writing it.
    buffer: Vec<u8>,
    previous: Digest,
    committed: Tick,
    level: Level,
    poisoned: bool,
}

impl JournalWriter {
    /// Begins the journal of a run with its header, which is durable at its level when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    ///
    /// # Panics
    /// Without the lock of the run.
    pub fn create(
        run: &RunDir,
        header: &RunHeader,
        durability: Durability,
    ) -> Result<JournalWriter, JournalError> {
        JournalWriter::create_with(run, header, durability, SEGMENT_BYTES)
    }

    /// As [`JournalWriter::create`], with segments of another size.
    pub(crate) fn create_with(
        run: &RunDir,
        header: &RunHeader,
        durability: Durability,
        segment_limit: u64,
    ) -> Result<JournalWriter, JournalError> {
        assert!(
            run.is_locked(),
            "only who holds the lock may write to a run"
        );
        let payload = codec::encode(header);
        let mut writer = JournalWriter {
            run: run.clone(),
            run_id: RunId::of(&payload),
            agents: header.agents.len(),
            models: header.models.len(),
            segment: Segment::create(run, 1, Tick::ZERO)?,
            segment_limit,
            buffer: Vec::new(),
            previous: Digest::default(),
            committed: Tick::ZERO,
            level: Level::Process,
            poisoned: false,
        };
        writer.write_record(RecordKind::RunHeader, Tick::ZERO, header)?;
        if durability != Durability::Process {
            writer.sync_segment()?;
        }
        writer.level = Level::start(run, writer.run_id, durability, &writer.mark())?;
        Ok(writer)
    }

    /// Appends a committed tick and gives its digest, the new value of the chain.
    ///
    /// # Errors
    /// When it cannot be written, or synced at the level `sync`; at the level `batch` also when a sync of an
    /// earlier tick failed. The writer takes nothing more then.
    ///
    /// # Panics
    /// When the tick is not the one after the last.
    pub fn append(&mut self, tick: Tick, record: &TickRecord) -> Result<Digest, JournalError> {
        self.refuse_poisoned()?;
        assert_eq!(
            tick,
            self.committed.next(),
            "ticks are journaled one after the other"
        );
        debug_assert!(
            check::record(record, self.agents, self.models).is_ok(),
            "a reader would refuse this tick"
        );
        // Any failure below poisons the writer.
        self.poisoned = true;
        let digest = self.write_record(RecordKind::Tick, tick, record)?;
        let mark = JournalMark {
            tick,
            ..self.mark()
        };
        if matches!(self.level, Level::Sync(_)) && !planted(Bug::AcknowledgeBeforeSync) {
            self.sync_segment()?;
        }
        match &mut self.level {
            Level::Process => {}
            Level::Batch(syncer) => syncer.written(mark, &self.segment.path, &self.segment.file)?,
            Level::Sync(synced) => level::note(synced, &mark)?,
        }
        self.committed = tick;
        self.poisoned = false;
        Ok(digest)
    }

    /// The last tick that is written.
    #[must_use]
    pub fn committed(&self) -> Tick {
        self.committed
    }

    /// The last tick that is durable at the level of the run. Only ticks up to it may have effects outside.
    #[must_use]
    pub fn durable(&self) -> Tick {
        match &self.level {
            Level::Process | Level::Sync(_) => self.committed,
            Level::Batch(_) if planted(Bug::DurableBeforeSync) => self.committed,
            Level::Batch(syncer) => syncer.durable(),
        }
    }

    /// Digest of the last tick, or of the header when there is none. It covers the run up to here.
    #[must_use]
    pub fn chain(&self) -> Digest {
        self.previous
    }

    /// The position after the last tick, or after the header when there is none.
    #[must_use]
    pub fn mark(&self) -> JournalMark {
        JournalMark {
            tick: self.committed,
            chain: self.previous,
            segment: self.segment.number,
            offset: self.segment.bytes,
        }
    }

    /// The name of the run.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.run_id
    }

    /// Waits until every written tick is durable at the level of the run.
    ///
    /// # Errors
    /// When a sync failed.
    pub fn wait_durable(&mut self) -> Result<(), JournalError> {
        self.refuse_poisoned()?;
        let Level::Batch(syncer) = &self.level else {
            return Ok(());
        };
        let drained = syncer.drain();
        self.poisoned = drained.is_err();
        drained
    }

    /// Ends the journal in good order, brings all of it to the disk, and gives the chain.
    ///
    /// Before it, [`JournalWriter::wait_durable`], then release and sync the outbox: a sealed run has its whole outbox.
    ///
    /// # Errors
    /// When a sync or write fails. The journal is then not sealed, or a part of the seal is there.
    pub fn seal(mut self, reason: SealReason) -> Result<Digest, JournalError> {
        self.wait_durable()?;
        let chain = self.chain();
        if matches!(self.level, Level::Process) {
            self.sync_every_segment()?;
        }
        let seal = Seal {
            ticks: self.committed.0,
            reason,
        };
        self.write_record(RecordKind::Seal, self.committed, &seal)?;
        self.sync_segment()?;
        let end = self.mark();
        self.level.note_end(&end)?;
        Ok(chain)
    }

    fn refuse_poisoned(&self) -> Result<(), JournalError> {
        if self.poisoned {
            Err(JournalError::Poisoned {
                folder: self.run.journal(),
            })
        } else {
            Ok(())
        }
    }

    /// Encodes, hashes and writes a record.
    fn write_record<T: Encode>(
        &mut self,
        kind: RecordKind,
        tick: Tick,
        value: &T,
    ) -> Result<Digest, JournalError> {
        let digest = self.build_record(kind, tick, value)?;
        if segment::is_full(
            self.segment.bytes,
            self.buffer.len() as u64,
            self.segment_limit,
        ) {
            // A segment must not be on the disk before all of the one before it, or a power cut would leave a hole.
            if let Level::Batch(syncer) = &self.level {
                syncer.drain()?;
            }
            self.segment = Segment::create(&self.run, self.segment.number + 1, tick)?;
        }
        self.segment.append(&self.buffer, tick)?;
        self.previous = digest;
        Ok(digest)
    }

    /// Puts a whole record into the buffer.
    fn build_record<T: Encode>(
        &mut self,
        kind: RecordKind,
        tick: Tick,
        value: &T,
    ) -> Result<Digest, JournalError> {
        let buffer = &mut self.buffer;
        buffer.clear();
        buffer.resize(HEADER_BYTES, 0);
        codec::encode_into(value, buffer);
        let payload_bytes = buffer.len() - HEADER_BYTES;
        if payload_bytes > limit::TICK_RECORD_BYTES {
            return Err(JournalError::TooLarge {
                tick,
                bytes: payload_bytes,
                limit: limit::TICK_RECORD_BYTES,
            });
        }
        let (run, previous) = (self.run_id, self.previous);
        let header = FrameHeader {
            kind,
            run,
            tick,
            payload_bytes: payload_bytes as u64,
            previous,
        };
        buffer[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        let digest = *blake3::hash(buffer).as_bytes();
        buffer.extend_from_slice(&digest);
        debug_assert_eq!(buffer.len(), HEADER_BYTES + payload_bytes + DIGEST_BYTES);
        Ok(digest)
    }

    fn sync_segment(&self) -> Result<(), JournalError> {
        self.segment
            .file
            .sync()
            .map_err(|source| self.sync_error(&self.segment.path, source))
    }

    /// Syncs what the level `process` never did. A file that is opened again still reports an earlier failure.
    fn sync_every_segment(&self) -> Result<(), JournalError> {
        for number in 1..self.segment.number {
            let path = self.run.journal().join(segment::name(number));
            let synced = self
                .run
                .disk()
                .open_read(&path)
                .and_then(|file| file.sync());
            synced.map_err(|source| self.sync_error(&path, source))?;
        }
        self.sync_segment()
    }

    fn sync_error(&self, file: &Path, source: std::io::Error) -> JournalError {
        let durable = if matches!(self.level, Level::Process) {
            Tick::ZERO
        } else {
            self.durable()
        };
        JournalError::Sync {
            file: file.to_path_buf(),
            durable,
            source,
        }
    }
}
