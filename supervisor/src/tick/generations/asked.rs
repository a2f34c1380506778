//! What of a request to a language model the schedule itself must know. All else
//! in it is for the model's host.

use serde::Deserialize;
use shm_protocol::id::RequestId;
use shm_protocol::limit;
use shm_protocol::tensor::Tensor;

/// A request, as far as the schedule reads it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ScheduledRequest {
    /// A text, or an embedding.
    Text {
        /// Ticks after which nobody wants it any more.
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
/// For the agent: what is wrong with it.
pub(crate) fn read(inputs: &[Tensor]) -> Result<ScheduledRequest, String> {
    let bytes = inputs.first().map_or(&[][..], |tensor| &tensor.data);
    if bytes.len() > limit::PAYLOAD_BYTES {
        let most = limit::PAYLOAD_BYTES;
        return Err(format!(
            "a request to a language model has at most {most} bytes, not {}",
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
        } => Ok(ScheduledRequest::Text { deadline }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::tensor::{DType, Shape};

    fn asked(json: &str) -> Result<ScheduledRequest, String> {
        read(&[Tensor {
            dtype: DType::U8,
            shape: Shape::new(&[json.len() as u64]).expect("one dimension"),
            data: json.as_bytes().to_vec(),
        }])
    }

    #[test]
    fn a_request_says_what_the_schedule_must_know() {
        let text = |deadline| Ok(ScheduledRequest::Text { deadline });
        assert_eq!(asked(r#"{"prompt": "a"}"#), text(None));
        assert_eq!(
            asked(r#"{"prompt": "a", "deadline_ticks": 7}"#),
            text(Some(7))
        );
        assert_eq!(
            asked(r#"{"cancel": 3}"#),
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
            let said = asked(json).expect_err("it is no request");
            assert!(said.contains(word), "{said}");
        }
    }
}
