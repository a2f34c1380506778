//! Batching of outcomes and await requests: encoded one after the other into one buffer, and sent in few records.

use bincode::Encode;
use shm_protocol::{codec, limit};

/// Bytes before the first element for the number of elements, which is known last and encoded first.
const COUNT_BYTES: usize = 9;

/// Maximum bytes of a record with several elements. The decoder's limit counts the bytes that it allocates, which can
/// be more than it reads, hence the half.
const MAX_RECORD_BYTES: usize = limit::RECORD_BYTES / 2;

/// A growing list in its encoding, such as [`shm_protocol::agent_to_supervisor::Outcomes`].
pub(crate) struct RecordBatcher {
    buffer: Vec<u8>,
    count: u64,
    limit: usize,
}

impl RecordBatcher {
    /// An empty batch for a ring with this maximum payload.
    pub(crate) fn new(max_payload_bytes: usize) -> Self {
        RecordBatcher {
            buffer: vec![0; COUNT_BYTES],
            count: 0,
            limit: max_payload_bytes.min(MAX_RECORD_BYTES),
        }
    }

    /// True if there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds an element. Sends the earlier elements first if all together are too large for one record.
    ///
    /// # Errors
    /// Those of `send`.
    pub(crate) fn add<T: Encode, E>(
        &mut self,
        element: &T,
        send: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.buffer.len();
        codec::encode_into(element, &mut self.buffer);
        if self.buffer.len() > self.limit && self.count > 0 {
            let last = self.buffer.split_off(start);
            self.flush(send)?;
            self.buffer.extend_from_slice(&last);
        }
        self.count += 1;
        Ok(())
    }

    /// Sends the batch, even if it is empty.
    ///
    /// # Errors
    /// Those of `send`.
    pub(crate) fn flush<E>(
        &mut self,
        send: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let count = codec::encode(&self.count);
        let start = COUNT_BYTES - count.len();
        self.buffer[start..COUNT_BYTES].copy_from_slice(&count);
        let sent = send(&self.buffer[start..]);
        self.buffer.truncate(COUNT_BYTES);
        self.count = 0;
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::agent_to_supervisor::{Effect, Outcome, Outcomes, Status};
    use shm_protocol::id::AgentId;
    use std::convert::Infallible;

    fn outcome(agent: u32, bytes: usize) -> Outcome {
        let effect = Effect::Emit {
            topic: "t".into(),
            payload: vec![7; bytes],
        };
        Outcome {
            agent: AgentId(agent),
            status: Status::Completed,
            fuel_used: 3,
            effects: vec![effect],
        }
    }

    fn records(limit: usize, outcomes: &[Outcome]) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        let mut send = |bytes: &[u8]| {
            sent.push(bytes.to_vec());
            Ok::<(), Infallible>(())
        };
        let mut record = RecordBatcher::new(limit);
        for outcome in outcomes {
            let Ok(()) = record.add(outcome, &mut send);
        }
        let Ok(()) = record.flush(&mut send);
        sent
    }

    #[test]
    fn a_record_is_the_encoding_of_its_outcomes() {
        for count in [0, 1, 300] {
            let outcomes: Vec<Outcome> = (0..count).map(|agent| outcome(agent, 5)).collect();
            assert_eq!(
                records(1 << 20, &outcomes),
                [codec::encode(&Outcomes { outcomes })]
            );
        }
    }

    #[test]
    fn an_outcome_that_does_not_fit_goes_into_the_next_record() {
        let outcomes: Vec<Outcome> = [10, 200, 10, 10]
            .into_iter()
            .zip(0..)
            .map(|(size, id)| outcome(id, size))
            .collect();
        let records = records(100, &outcomes);
        assert_eq!(records.len(), 3);
        let decode = |record: &Vec<u8>| {
            codec::decode::<Outcomes, 4096>(record)
                .expect("valid")
                .outcomes
        };
        assert_eq!(
            records.iter().flat_map(decode).collect::<Vec<_>>(),
            outcomes
        );
    }
}
