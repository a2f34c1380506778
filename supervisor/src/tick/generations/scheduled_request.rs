//! The part of a request to a language model that the schedule reads. The rest of it is for the model's host.

use serde::Deserialize;
use shm_protocol::id::RequestId;
use shm_protocol::limit;
use shm_protocol::tensor::Tensor;

/// A request, as far as the schedule reads it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ScheduledRequest {
    /// A generation, or an embedding.
    Generate {
        /// Ticks after which it ends.
        deadline: Option<u64>,
    },
    /// An earlier request of the same agent is to end.
    Cancel(RequestId),
}

/// The keys that the schedule reads.
#[derive(Deserialize)]
struct RequestKeys {
    cancel: Option<u64>,
    deadline_ticks: Option<u64>,
}

/// Reads a request.
///
/// # Errors
/// The reason for which it is refused, for the agent.
pub(crate) fn parse(inputs: &[Tensor]) -> Result<ScheduledRequest, String> {
    let bytes = inputs.first().map_or(&[][..], |tensor| &tensor.data);
    if bytes.len() > limit::PAYLOAD_BYTES {
        let max_bytes = limit::PAYLOAD_BYTES;
        return Err(format!(
            "a request to a language model has at most {max_bytes} bytes, not {}",
            bytes.len()
        ));
    }
    let keys: RequestKeys = serde_json::from_slice(bytes).map_err(|error| {
        format!("a request to a language model is an object in JSON, and this is not: {error}")
    })?;
    match keys {
        RequestKeys {
            cancel: Some(request),
            ..
        } => Ok(ScheduledRequest::Cancel(RequestId(request))),
        RequestKeys {
            deadline_ticks: Some(0),
            ..
        } => Err("`deadline_ticks` is at least 1".to_owned()),
        RequestKeys {
            deadline_ticks: deadline,
            ..
        } => Ok(ScheduledRequest::Generate { deadline }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::tensor::{DType, Shape};

    fn parsed(json: &str) -> Result<ScheduledRequest, String> {
        parse(&[Tensor {
            dtype: DType::U8,
            shape: Shape::new(&[json.len() as u64]).expect("one dimension"),
            data: json.as_bytes().to_vec(),
        }])
    }

    #[test]
    fn a_request_says_what_the_schedule_must_know() {
        let text = |deadline| Ok(ScheduledRequest::Generate { deadline });
        assert_eq!(parsed(r#"{"prompt": "a"}"#), text(None));
        assert_eq!(
            parsed(r#"{"prompt": "a", "deadline_ticks": 7}"#),
            text(Some(7))
        );
        assert_eq!(
            parsed(r#"{"cancel": 3}"#),
            Ok(ScheduledRequest::Cancel(RequestId(3)))
        );
    }

    #[test]
    fn what_is_no_request_is_told() {
        for (json, word) in [
            ("", "JSON"),
            ("[1]", "JSON"),
            ("{\"deadline_ticks\": 0}", "at least 1"),
            ("{\"deadline_ticks\": -1}", "JSON"),
            ("{\"cancel\": \"all\"}", "JSON"),
            (
                &format!("{{\"prompt\": \"{}\"}}", "a".repeat(limit::PAYLOAD_BYTES)),
                "at most",
            ),
        ] {
            let said = parsed(json).expect_err("it is no request");
            assert!(said.contains(word), "{said}");
        }
    }
}
