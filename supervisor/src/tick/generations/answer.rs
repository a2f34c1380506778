//! What an agent gets of a text in one tick: tensors, as from any model.

use shm_protocol::generation::{Delta, Deltas, Finish};
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::{DType, Shape, Tensor};
use shm_protocol::{codec, limit};

/// Position of the outputs in [`shm_protocol::generation::signature`].
const TOKENS: usize = 0;
const STATE: usize = 2;

/// The state of a text that goes on.
const WRITING: &str = "writing";

/// The answer that a piece is.
pub(crate) fn of_piece(piece: &Delta) -> RequestResult {
    let state = piece.finish.map_or(WRITING, Finish::name);
    Ok(outputs(&piece.tokens, &piece.text, state, &piece.embedding))
}

/// The answer of a text that waits behind so many others.
pub(crate) fn queued(before: usize) -> RequestResult {
    Ok(outputs(&[], "", &format!("queued {before}"), &[]))
}

/// The answer of a text that ends without the engine.
pub(crate) fn ended(finish: Finish) -> RequestResult {
    Ok(outputs(&[], "", finish.name(), &[]))
}

/// The tokens of an answer, and whether the text goes on after it. An error ends a text.
pub(crate) fn read(answer: &RequestResult) -> (Vec<u32>, bool) {
    let Ok(outputs) = answer else {
        return (Vec::new(), false);
    };
    let data = |position: usize| outputs.get(position).map_or(&[][..], |tensor| &tensor.data);
    let (tokens, _) = data(TOKENS).as_chunks::<4>();
    let tokens = tokens.iter().map(|bytes| u32::from_le_bytes(*bytes));
    let state = data(STATE);
    let goes_on = !Finish::ALL
        .iter()
        .any(|finish| finish.name().as_bytes() == state);
    (tokens.collect(), goes_on)
}

/// What the engine says, one piece for each of `members` sequences of at most `steps` new tokens.
///
/// # Errors
/// What no sound host says.
pub(crate) fn pieces(
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
    let Deltas(pieces) = codec::decode_record(&tensor.data).map_err(|error| error.to_string())?;
    if pieces.len() != members {
        return Err(format!("{} pieces for {members} texts", pieces.len()));
    }
    for piece in pieces.iter().flatten() {
        if piece.tokens.len() > steps as usize {
            return Err(format!("{} tokens in {steps} steps", piece.tokens.len()));
        }
        let bytes = piece.text.len() + piece.embedding.len() * size_of::<f32>();
        if bytes > limit::PAYLOAD_BYTES {
            return Err(format!("a piece of {bytes} bytes"));
        }
        if piece.tokens.is_empty() && piece.finish.is_none() && steps > 0 {
            return Err("a piece without a token that does not end its text".to_owned());
        }
    }
    Ok(pieces)
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

    fn piece(tokens: &[u32], finish: Option<Finish>) -> Delta {
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
        let answer = of_piece(&piece(&[1, 2], None)).expect("outputs");
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
            read(&of_piece(&piece(&[7, 70_000], None))),
            (vec![7, 70_000], true)
        );
        for finish in Finish::ALL {
            assert_eq!(
                read(&of_piece(&piece(&[1], Some(finish)))),
                (vec![1], false)
            );
            assert_eq!(read(&ended(finish)), (vec![], false));
        }
        assert_eq!(read(&queued(3)), (vec![], true));
        assert_eq!(read(&Err("no".to_owned())), (vec![], false));
    }

    #[test]
    fn what_no_sound_engine_says_is_refused() {
        let said = |said: Vec<Result<Delta, String>>| {
            let bytes = codec::encode(&Deltas(said));
            pieces(&[list(DType::U8, bytes.len(), bytes)], 1, 2)
        };
        assert!(said(vec![Ok(piece(&[1, 2], None))]).is_ok());
        assert!(said(vec![Err("too long".to_owned())]).is_ok());
        assert!(said(vec![]).is_err());
        assert!(said(vec![Ok(piece(&[1, 2, 3], None))]).is_err());
        assert!(said(vec![Ok(piece(&[], None))]).is_err());
        assert!(said(vec![Ok(piece(&[], Some(Finish::Length)))]).is_ok());
        let long = Delta {
            text: "a".repeat(limit::PAYLOAD_BYTES + 1),
            ..piece(&[1], None)
        };
        assert!(said(vec![Ok(long)]).is_err());
        assert!(pieces(&[list(DType::U8, 1, vec![9])], 1, 2).is_err());
        assert!(pieces(&[], 1, 2).is_err());
    }
}
