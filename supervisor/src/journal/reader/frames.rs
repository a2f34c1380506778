//! Records with a good frame, in the right place, one after the other.

use super::source::JournalSource;
use super::tail::{Torn, TornKind};
use crate::journal::error::{JournalError, MarkFault, RecordFault};
use crate::journal::frame::{DIGEST_BYTES, FRAME_BYTES, FrameHeader, HEADER_BYTES, RecordKind};
use crate::journal::mark::JournalMark;
use crate::journal::segment;
use crate::journal::sync_marker::SyncMarker;
use crate::record::Digest;
use crate::record::RunId;
use crate::rundir::RunDir;
use bincode::{Decode, Encode};
use shm_protocol::id::Tick;
use shm_protocol::{codec, limit};

/// The records of a journal. What is next depends on what came before.
#[derive(Debug)]
pub(super) struct Frames {
    source: JournalSource,
    synced: Option<SyncMarker>,
    run_id: Option<RunId>,
    previous: Digest,
    ticks: Tick,
    torn: Option<Torn>,
    /// A payload encoded again. Kept, because fresh memory costs more than writing it.
    encoded: Vec<u8>,
}

/// A record whose frame is good. Its bytes are the next ones of the source.
pub(super) struct FrameBytes {
    pub(super) header: FrameHeader,
    pub(super) digest: Digest,
}

/// The reason for which there is no good frame.
enum FrameFault {
    /// Perhaps a torn end, by what comes after it.
    Bad(RecordFault),
    /// In any place a reason to refuse.
    Refused(RecordFault),
    Error(JournalError),
}

impl From<JournalError> for FrameFault {
    fn from(error: JournalError) -> FrameFault {
        FrameFault::Error(error)
    }
}

impl Frames {
    /// The beginning of a journal.
    pub(super) fn open(run: &RunDir) -> Result<Frames, JournalError> {
        // Before the files: in an active run they never are behind it.
        let synced = SyncMarker::read(run)?;
        Ok(Frames {
            source: JournalSource::open(run)?,
            synced,
            run_id: None,
            previous: Digest::default(),
            ticks: Tick::ZERO,
            torn: None,
            encoded: Vec::new(),
        })
    }

    /// The run, once its header was accepted.
    pub(super) fn run_id(&self) -> Option<RunId> {
        self.run_id
    }

    /// The last tick that was accepted.
    pub(super) fn ticks(&self) -> Tick {
        self.ticks
    }

    /// The torn end of the journal, once it was read and is torn.
    pub(super) fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// Bytes of the accepted records.
    pub(super) fn bytes(&self) -> u64 {
        self.source.passed_bytes()
    }

    /// The position after the accepted records.
    pub(super) fn mark(&self) -> JournalMark {
        JournalMark {
            tick: self.ticks,
            chain: self.previous,
            segment: self.source.segment(),
            offset: self.source.offset(),
        }
    }

    /// Moves to a mark, when the record before it still ends there.
    pub(super) fn go_to(&mut self, mark: &JournalMark) -> Result<(), JournalError> {
        let file = self
            .source
            .path()
            .with_file_name(segment::name(mark.segment));
        let beyond = |segments, bytes| MarkFault::Beyond { segments, bytes };
        match self.source.go_to(mark.segment, mark.offset)? {
            Some(bytes) if mark.offset <= bytes => {}
            bytes => {
                let fault = beyond(self.source.segments(), bytes.unwrap_or(0));
                return Err(mark.refused(&file, fault));
            }
        }
        let mut found = Digest::default();
        let ends = self.source.peek_back(DIGEST_BYTES as u64)?;
        found[DIGEST_BYTES - ends.len()..].copy_from_slice(ends);
        if found != mark.chain || mark.offset < FRAME_BYTES as u64 {
            let expected = mark.chain;
            return Err(mark.refused(&file, MarkFault::Chain { found, expected }));
        }
        (self.previous, self.ticks) = (mark.chain, mark.tick);
        Ok(())
    }

    /// True if there are no more bytes and no more files.
    pub(super) fn is_at_end(&self) -> bool {
        self.source.remaining() == 0 && self.source.is_last_segment()
    }

    /// The next record with a good frame in the right place; none at the end, torn or not.
    pub(super) fn next_framed(&mut self) -> Result<Option<FrameBytes>, JournalError> {
        while self.source.remaining() == 0 {
            if self.source.is_last_segment() {
                return self.check_end().map(|()| None);
            }
            if self.source.offset() == 0 {
                return Err(self.corrupt(RecordFault::Empty));
            }
            self.source.next_segment()?;
        }
        match self.frame() {
            Ok(framed) => Ok(Some(framed)),
            Err(FrameFault::Bad(fault)) => self.classify(fault).map(|()| None),
            Err(FrameFault::Refused(fault)) => Err(self.corrupt(fault)),
            Err(FrameFault::Error(error)) => Err(error),
        }
    }

    /// The position up to which the journal of this run is on the disk, if it is known.
    pub(super) fn synced(&self) -> Option<&SyncMarker> {
        self.synced
            .as_ref()
            .filter(|synced| self.run_id == Some(synced.run))
    }

    fn place(&self) -> (u64, u64) {
        (self.source.segment(), self.source.offset())
    }

    /// Checks that the journal does not end before the position that was on the disk.
    fn check_end(&self) -> Result<(), JournalError> {
        match self.synced() {
            Some(synced) if self.place() < synced.place() => Err(JournalError::Lost {
                file: self.source.path().to_path_buf(),
                ticks: self.ticks,
                synced: synced.tick,
            }),
            _ => Ok(()),
        }
    }

    /// Checks the frame of the record that begins here.
    fn frame(&mut self) -> Result<FrameBytes, FrameFault> {
        let Some(bytes) = self
            .source
            .peek(HEADER_BYTES)?
            .first_chunk::<HEADER_BYTES>()
        else {
            return Err(FrameFault::Bad(RecordFault::Short));
        };
        let header = FrameHeader::parse(bytes).map_err(|fault| FrameFault::Bad(fault.into()))?;
        self.check_place(&header).map_err(FrameFault::Refused)?;
        if self.source.remaining() < header.record_bytes() {
            return Err(FrameFault::Bad(RecordFault::Short));
        }
        let record_bytes =
            usize::try_from(header.record_bytes()).expect("a record is far below 2^32 bytes");
        let record = self.source.peek(record_bytes)?;
        let (covered, digest) = record
            .split_last_chunk::<DIGEST_BYTES>()
            .expect("a record is longer than its digest");
        if blake3::hash(covered) != *digest {
            return Err(FrameFault::Bad(RecordFault::Digest));
        }
        Ok(FrameBytes {
            header,
            digest: *digest,
        })
    }

    /// Checks that a record belongs here. One that does not was not left by a write that stopped halfway.
    fn check_place(&self, header: &FrameHeader) -> Result<(), RecordFault> {
        if let Some(expected) = self.run_id.filter(|run| *run != header.run) {
            return Err(RecordFault::Run {
                found: header.run,
                expected,
            });
        }
        let in_order = match header.kind {
            RecordKind::RunHeader => self.run_id.is_none() && header.tick == Tick::ZERO,
            RecordKind::Tick => self.run_id.is_some() && header.tick == self.ticks.next(),
            RecordKind::Seal => self.run_id.is_some() && header.tick == self.ticks,
        };
        if !in_order {
            let found = match header.kind {
                RecordKind::RunHeader => "run header",
                RecordKind::Tick => "record",
                RecordKind::Seal => "seal",
            };
            return Err(RecordFault::Order {
                found,
                tick: header.tick,
            });
        }
        if header.previous != self.previous {
            return Err(RecordFault::Previous {
                found: header.previous,
                expected: self.previous,
            });
        }
        Ok(())
    }

    /// Decodes the payload of the record that begins here, and checks that its encoding is the canonical one.
    pub(super) fn payload<T: Decode<()> + Encode>(
        &mut self,
        framed: &FrameBytes,
    ) -> Result<T, JournalError> {
        let record_bytes = usize::try_from(framed.header.record_bytes())
            .expect("a record is far below 2^32 bytes");
        let record = self.source.peek(record_bytes)?;
        let payload = &record[HEADER_BYTES..record_bytes - DIGEST_BYTES];
        let named = RunId::of;
        let fault = match codec::decode::<T, { limit::TICK_RECORD_BYTES }>(payload) {
            Err(error) => RecordFault::Payload(error),
            Ok(value) => {
                self.encoded.clear();
                codec::encode_into(&value, &mut self.encoded);
                if self.encoded != payload {
                    RecordFault::Content("the encoding of the payload is not canonical".to_owned())
                } else if framed.header.kind == RecordKind::RunHeader
                    && named(payload) != framed.header.run
                {
                    RecordFault::Run {
                        found: framed.header.run,
                        expected: named(payload),
                    }
                } else {
                    return Ok(value);
                }
            }
        };
        Err(self.corrupt(fault))
    }

    /// Goes past a good record.
    pub(super) fn accept(&mut self, framed: &FrameBytes) {
        self.source.advance(framed.header.record_bytes());
        self.run_id = Some(framed.header.run);
        self.previous = framed.digest;
        self.ticks = framed.header.tick;
    }

    /// Classifies a bad record: the torn end of the journal, or corruption.
    fn classify(&mut self, fault: RecordFault) -> Result<(), JournalError> {
        let (file, offset, bytes) = (
            self.source.path().to_path_buf(),
            self.source.offset(),
            self.source.remaining(),
        );
        let (unfinished, is_last) = (self.is_unfinished(&fault)?, self.source.is_last_segment());
        let synced = self.synced().copied();
        if let Some(SyncMarker { tick, .. }) = synced.filter(|synced| self.place() < synced.place())
        {
            let fault = Box::new(fault);
            return Err(self.corrupt(RecordFault::Synced { fault, tick }));
        }
        let after = self.run_id.map(|_| self.ticks);
        let follows = self.source.find_header_after(self.run_id)?;
        let kind = match (synced.is_some_and(|synced| synced.is_exact), follows) {
            (_, None) if is_last && unfinished => TornKind::Unfinished,
            (true, _) if is_last => TornKind::Unsynced {
                reason: fault.to_string(),
            },
            (_, None) if is_last => TornKind::Damaged {
                reason: fault.to_string(),
            },
            (_, follows) => {
                let reason = match follows {
                    None => fault,
                    Some((next, follows)) => RecordFault::Followed {
                        fault: Box::new(fault),
                        file: next,
                        follows,
                    },
                };
                return Err(JournalError::Corrupt {
                    file,
                    offset,
                    after,
                    reason,
                });
            }
        };
        self.torn = Some(Torn {
            file,
            offset,
            bytes,
            kind,
        });
        Ok(())
    }

    /// True if the bytes from here on are the beginning of the next record.
    fn is_unfinished(&mut self, fault: &RecordFault) -> Result<bool, JournalError> {
        if !matches!(fault, RecordFault::Short) {
            return Ok(false);
        }
        // With a whole header, the frame has been checked up to the length.
        if self.source.remaining() >= HEADER_BYTES as u64 {
            return Ok(true);
        }
        let Some(run) = self.run_id else {
            return Ok(true);
        };
        let (previous, ticks, payload_bytes) = (self.previous, self.ticks, 0);
        let next = FrameHeader {
            kind: RecordKind::Tick,
            run,
            tick: ticks.next(),
            payload_bytes,
            previous,
        };
        let seal = FrameHeader {
            kind: RecordKind::Seal,
            tick: ticks,
            ..next
        };
        let bytes = self.source.peek(HEADER_BYTES)?;
        Ok(next.may_begin_with(bytes) || seal.may_begin_with(bytes))
    }

    pub(super) fn corrupt(&self, reason: RecordFault) -> JournalError {
        let after = self.run_id.map(|_| self.ticks);
        JournalError::Corrupt {
            file: self.source.path().to_path_buf(),
            offset: self.source.offset(),
            after,
            reason,
        }
    }
}
