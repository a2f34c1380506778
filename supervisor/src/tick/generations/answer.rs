//! The answer that an agent gets of a generation in one tick: tensors, as from any model.

use shm_protocol::generation::{Delta, Deltas, Finish};
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::{DType, Shape, Tensor};
use shm_protocol::{codec, limit};

/// Position of the outputs in [`shm_protocol::generation::signature`].
const TOKENS: usize = 0;
const STATE: usize = 2;

/// The state of a generation that continues.
const WRITING: &str = "writing";

/// The answer with a delta.
pub(crate) fn of_delta(delta: &Delta) -> RequestResult {
    let state = delta.finish.map_or(WRITING, Finish::name);
    Ok(outputs(&delta.tokens, &delta.text, state, &delta.embedding))
}

/// The answer of a generation that is queued behind others.
pub(crate) fn queued(before: usize) -> RequestResult {
    Ok(outputs(&[], "", &format!("queued {before}"), &[]))
}

/// The answer of a generation that ends without the engine.
pub(crate) fn ended(finish: Finish) -> RequestResult {
    Ok(outputs(&[], "", finish.name(), &[]))
}

/// The tokens of an answer, and true if the generation continues after it. An error ends a generation.
pub(crate) fn parse(answer: &RequestResult) -> (Vec<u32>, bool) {
    let Ok(outputs) = answer else {
        return (Vec::new(), false);
    };
    let data = |position: usize| outputs.get(position).map_or(&[][..], |tensor| &tensor.data);
    let (tokens, _) = data(TOKENS).as_chunks::<4>();
    let tokens = tokens.iter().map(|bytes| u32::from_le_bytes(*bytes));
    let state = data(STATE);
    let continues = !Finish::ALL
        .iter()
        .any(|finish| finish.name().as_bytes() == state);
    (tokens.collect(), continues)
}

/// Reads the deltas in an answer of the engine, one for each of `members` sequences of at most `steps` new tokens.
///
/// # Errors
/// Outputs that no sound host sends.
pub(crate) fn parse_deltas(
    outputs: &[Tensor],
    members: usize,
    steps: u32,
) -> Result<Vec<Result<Delta, String>>, String> {
    let [tensor] = outputs else {
        return Err(format!("{} outputs instead of one", outputs.len()));
    };
    if tensor.dtype != DType::U8 {
        return Err(format!(
            "{}{:?} as pieces of text",
            tensor.dtype, tensor.shape
        ));
    }
    let Deltas(deltas) = codec::decode_record(&tensor.data).map_err(|error| error.to_string())?;
    if deltas.len() != members {
        return Err(format!("{} pieces for {members} texts", deltas.len()));
    }
    for delta in deltas.iter().flatten() {
        if delta.tokens.len() > steps as usize {
            return Err(format!("{} tokens in {steps} steps", delta.tokens.len()));
        }
        let bytes = delta.text.len() + delta.embedding.len() * size_of::<f32>();
        if bytes > limit::PAYLOAD_BYTES {
            return Err(format!("a piece of {bytes} bytes"));
        }
        if delta.tokens.is_empty() && delta.finish.is_none() && steps > 0 {
            return Err("a piece without a token that does not end its text".to_owned());
        }
    }
    Ok(deltas)
}

fn outputs(tokens: &[u32], text: &str, state: &str, embedding: &[f32]) -> Vec<Tensor> {
    let tokens_bytes = tokens.iter().flat_map(|token| token.to_le_bytes());
    let floats = embedding.iter().flat_map(|value| value.to_le_bytes());
    vec![
        list(DType::U32, tokens.len(), tokens_bytes.collect()),
        list(DType::U8, text.len(), text.as_bytes().to_vec()),
        list(DType::U8, state.len(), state.as_bytes().to_vec()),
        list(DType::F32, embedding.len(), floats.collect()),
    ]
}

fn list(dtype: DType, count: usize, data: Vec<u8>) -> Tensor {
    Tensor {
        dtype,
        shape: Shape::new(&[count as u64]).expect("one dimension"),
        data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::generation::signature;

    fn delta(tokens: &[u32], finish: Option<Finish>) -> Delta {
        Delta {
            tokens: tokens.to_vec(),
            text: "words".to_owned(),
            embedding: Vec::new(),
            finish,
            prompt_tokens: 1,
        }
    }

    #[test]
    fn an_answer_has_the_signature_that_agents_see() {
        let ports = signature().outputs;
        let answer = of_delta(&delta(&[1, 2], None)).expect("outputs");
        assert_eq!(ports[TOKENS].name, "tokens");
        assert_eq!(ports[STATE].name, "state");
        for (port, tensor) in ports.iter().zip(&answer) {
            assert!(port.admits(tensor.dtype, &tensor.shape), "{port}");
            tensor.check().expect("bytes as the shape says");
        }
        assert_eq!(ports.len(), answer.len());
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(
            parse(&of_delta(&delta(&[7, 70_000], None))),
            (vec![7, 70_000], true)
        );
        for finish in Finish::ALL {
            assert_eq!(
                parse(&of_delta(&delta(&[1], Some(finish)))),
                (vec![1], false)
            );
            assert_eq!(parse(&ended(finish)), (vec![], false));
        }
        assert_eq!(parse(&queued(3)), (vec![], true));
        assert_eq!(parse(&Err("no".to_owned())), (vec![], false));
    }

    #[test]
    fn what_no_sound_engine_says_is_refused() {
        let said = |said: Vec<Result<Delta, String>>| {
            let bytes = codec::encode(&Deltas(said));
            parse_deltas(&[list(DType::U8, bytes.len(), bytes)], 1, 2)
        };
        assert!(said(vec![Ok(delta(&[1, 2], None))]).is_ok());
        assert!(said(vec![Err("too long".to_owned())]).is_ok());
        assert!(said(vec![]).is_err());
        assert!(said(vec![Ok(delta(&[1, 2, 3], None))]).is_err());
        assert!(said(vec![Ok(delta(&[], None))]).is_err());
        assert!(said(vec![Ok(delta(&[], Some(Finish::Length)))]).is_ok());
        let long = Delta {
            text: "a".repeat(limit::PAYLOAD_BYTES + 1),
            ..delta(&[1], None)
        };
        assert!(said(vec![Ok(long)]).is_err());
        assert!(parse_deltas(&[list(DType::U8, 1, vec![9])], 1, 2).is_err());
        assert!(parse_deltas(&[], 1, 2).is_err());
    }
}
