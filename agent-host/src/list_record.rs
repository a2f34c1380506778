//! Outcomes and waits on their way up: encoded one after the other into one
//! buffer, and sent as few records.

use bincode::Encode;
use shm_protocol::{codec, limit};

/// Room for the number of elements, which is known last and stands first.
const HEADROOM: usize = 9;

/// Most bytes of a record with several elements. The decoder's limit counts what it allocates, which may be more than
/// it reads, so there is room to spare.
const RECORD_BYTES: usize = limit::RECORD_BYTES / 2;

/// The encoding of a list that grows, as of [`shm_protocol::agent_to_supervisor::Outcomes`].
pub(crate) struct ListRecord {
    buffer: Vec<u8>,
    count: u64,
    limit: usize,
}

impl ListRecord {
    /// For a ring that takes payloads of this size.
    pub(crate) fn new(max_payload_bytes: usize) -> Self {
        ListRecord {
            buffer: vec![0; HEADROOM],
            count: 0,
            limit: max_payload_bytes.min(RECORD_BYTES),
        }
    }

    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds an element. Sends what is there before, if both together are too large for one record.
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

    /// Sends what is there, even if that is nothing.
    ///
    /// # Errors
    /// Those of `send`.
    pub(crate) fn flush<E>(
        &mut self,
        send: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let count = codec::encode(&self.count);
        let start = HEADROOM - count.len();
        self.buffer[start..HEADROOM].copy_from_slice(&count);
        let sent = send(&self.buffer[start..]);
        self.buffer.truncate(HEADROOM);
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
        let mut record = ListRecord::new(limit);
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
    fn what_does_not_fit_goes_into_the_next_record() {
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
