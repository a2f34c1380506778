//! Records of a journal: header and payload, without the digest behind them.

use crate::check_round_trip;
use shm_protocol::{codec, limit};
use supervisor::journal::frame::{DIGEST_BYTES, FrameHeader, HEADER_BYTES, RecordKind};
use supervisor::record::{RunHeader, Seal, TickRecord};

/// Where a header has its checksum, which covers all before.
const CHECKSUM_AT: usize = 92;

/// Longest record that is taken for the corpus, and how many from each end of a journal.
const MAX_SAMPLE_BYTES: usize = 8 << 10;
const SAMPLES_PER_END: usize = 3;

/// Reads a record. The checksum is made to fit, because no change would be read further than to it.
pub fn journal_frame(bytes: &[u8]) -> bool {
    let Some((header, payload)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return false;
    };
    let mut header = *header;
    if let Ok(parsed) = FrameHeader::parse(&header) {
        assert_eq!(parsed.to_bytes(), header, "a header has one spelling");
    }
    let checksum = crc32c::crc32c(&header[..CHECKSUM_AT]);
    header[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    let Ok(parsed) = FrameHeader::parse(&header) else {
        return false;
    };
    assert_eq!(parsed.to_bytes(), header, "a header has one spelling");
    assert!(parsed.may_begin_with(&header));
    match parsed.kind {
        RecordKind::RunHeader => read::<RunHeader>(payload),
        RecordKind::Tick => read::<TickRecord>(payload),
        RecordKind::Seal => read::<Seal>(payload),
    }
}

fn read<T: bincode::Encode + bincode::Decode<()>>(payload: &[u8]) -> bool {
    match codec::decode::<T, { limit::TICK_RECORD_BYTES }>(payload) {
        Ok(record) => {
            check_round_trip::<T, { limit::TICK_RECORD_BYTES }>(payload, &record);
            true
        }
        Err(_) => false,
    }
}

/// The records of a segment that are no longer than some kilobytes, first and last of them: a corpus.
pub fn journal_frame_samples(segment: &[u8]) -> Vec<(String, Vec<u8>)> {
    let (mut samples, mut rest) = (Vec::new(), segment);
    while let Some(header) = rest.first_chunk::<HEADER_BYTES>() {
        let header = FrameHeader::parse(header).expect("a journal in order");
        let bytes = usize::try_from(header.record_bytes()).expect("a record fits memory");
        let (record, behind) = rest.split_at(bytes);
        let frame = &record[..bytes - DIGEST_BYTES];
        if frame.len() <= MAX_SAMPLE_BYTES {
            let name = format!("{:?}-{}", header.kind, header.tick.0).to_lowercase();
            samples.push((name, frame.to_vec()));
        }
        rest = behind;
    }
    if samples.len() > 2 * SAMPLES_PER_END {
        samples.drain(SAMPLES_PER_END..samples.len() - SAMPLES_PER_END);
    }
    samples
}
