//! Text to tokens and back, by the `tokenizer.json` of the model's folder.

use super::super::model_folder::ModelFolder;
use serde_json::Value;
use shm_protocol::progress;
use tokenizers::Tokenizer;

/// Most bytes of a text to encode: twice what a model with [`MAX_TOKENS`](shm_protocol::generation::MAX_TOKENS) tokens
/// of context usually holds. The time grows with the text, even if that is one word: half a second to three seconds.
pub(super) const MAX_TEXT_BYTES: usize = 1 << 20;

/// A tokenizer, and the bytes of its tokens.
pub(crate) struct ModelTokenizer {
    inner: Tokenizer,
    vocab_size: u32,
    byte_encoding: ByteEncoding,
}

/// The encoding of bytes in the tokens of a vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ByteEncoding {
    /// One character for each byte, as in GPT-2.
    ByteLevel,
    /// UTF-8, `▁` for a space, `<0x0A>` for a byte, as in SentencePiece.
    SentencePiece,
}

impl ModelTokenizer {
    /// Reads the tokenizer of a folder.
    ///
    /// # Errors
    /// When it is missing, or has more tokens than the model.
    pub(crate) fn read(
        folder: &ModelFolder<'_>,
        vocabulary: Option<u64>,
    ) -> Result<ModelTokenizer, String> {
        let text = folder.text("tokenizer.json")?.ok_or(
            "its folder has no tokenizer.json; write it with save_pretrained of a fast tokenizer",
        )?;
        let mut tokenizer = Tokenizer::from_bytes(text)
            .map_err(|error| format!("its file tokenizer.json is not a tokenizer: {error}"))?;
        // A prompt is taken whole or refused, even if the file asks for truncation.
        tokenizer
            .with_truncation(None)
            .map_err(|error| format!("its file tokenizer.json: {error}"))?
            .with_padding(None);
        let vocab_size = tokenizer
            .get_vocab(true)
            .into_values()
            .max()
            .map_or(0, |most| most + 1);
        if let Some(limit) = vocabulary.filter(|limit| u64::from(vocab_size) > *limit) {
            return Err(format!(
                "its tokenizer.json has tokens up to {}, and the vocabulary of the model has {limit}; use the files \
                 of one model",
                vocab_size - 1
            ));
        }
        let file: Value = serde_json::from_str(text).unwrap_or_default();
        // Dropout of merges is for training, and has a random seed of its own.
        if let Some(dropout) = file
            .pointer("/model/dropout")
            .filter(|dropout| dropout.as_f64() > Some(0.0))
        {
            return Err(format!(
                "its tokenizer.json has a random dropout of {dropout}, so the same text has other tokens each time; \
                 set model.dropout to null"
            ));
        }
        let byte_encoding = if has_byte_level_decoder(&file) {
            ByteEncoding::ByteLevel
        } else {
            ByteEncoding::SentencePiece
        };
        Ok(ModelTokenizer {
            inner: tokenizer,
            vocab_size,
            byte_encoding,
        })
    }

    /// The highest token and one more.
    pub(crate) fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    /// The tokens of a text, with those that the tokenizer puts around every text if `add_special_tokens` is set.
    pub(crate) fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, String> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(format!(
                "the text has {} bytes, and the limit is {MAX_TEXT_BYTES}; shorten it",
                text.len()
            ));
        }
        let encoded = self.inner.encode(text, add_special_tokens);
        progress::report();
        let encoded = encoded.map_err(|error| format!("the text cannot be tokenized: {error}"))?;
        Ok(encoded.get_ids().to_vec())
    }

    /// The text of tokens, without special tokens.
    pub(crate) fn decode(&self, tokens: &[u32]) -> Result<String, String> {
        let decoded = self.inner.decode(tokens, true);
        decoded.map_err(|error| format!("tokens cannot be decoded to text: {error}"))
    }

    /// The token with this text.
    pub(crate) fn token_id(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// The bytes of each of the first `count` tokens; those of a special token begin with 0xff, which is in no text.
    pub(crate) fn token_bytes(&self, vocab_size: usize) -> Vec<Vec<u8>> {
        let added = self.inner.get_added_tokens_decoder();
        let numbers = 0_u32
            ..self
                .vocab_size
                .min(u32::try_from(vocab_size).unwrap_or(u32::MAX));
        let encoded = numbers.map(|number| match self.inner.id_to_token(number) {
            Some(token) if added.get(&number).is_some_and(|added| added.special) => {
                [&[0xff], token.as_bytes()].concat()
            }
            Some(token) if added.contains_key(&number) => token.into_bytes(),
            Some(token) => self.byte_encoding.bytes(&token),
            None => Vec::new(),
        });
        let mut bytes: Vec<Vec<u8>> = encoded.collect();
        bytes.resize(vocab_size, Vec::new());
        bytes
    }
}

/// True if a byte-level decoder, as in GPT-2, is among the decoders of a tokenizer file.
fn has_byte_level_decoder(file: &Value) -> bool {
    let is_byte_level =
        |part: &Value| part.get("type").and_then(Value::as_str) == Some("ByteLevel");
    let decoder = file.get("decoder");
    let parts = decoder
        .and_then(|decoder| decoder.get("decoders"))
        .and_then(Value::as_array);
    decoder.is_some_and(is_byte_level) || parts.is_some_and(|parts| parts.iter().any(is_byte_level))
}

impl ByteEncoding {
    fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            ByteEncoding::ByteLevel => token
                .chars()
                .map(byte_of_character)
                .collect::<Option<_>>()
                .unwrap_or_default(),
            ByteEncoding::SentencePiece => {
                let byte = token
                    .strip_prefix("<0x")
                    .and_then(|rest| rest.strip_suffix('>'));
                match byte.and_then(|byte| u8::from_str_radix(byte, 16).ok()) {
                    Some(byte) => vec![byte],
                    None => token.replace('▁', " ").into_bytes(),
                }
            }
        }
    }
}

/// The byte of a character in GPT-2's alphabet: printable bytes stand for themselves, the others have the characters
/// from U+0100 on, in their order.
fn byte_of_character(character: char) -> Option<u8> {
    let is_printable = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(character) {
        code @ 0..=0xff => u8::try_from(code).ok().filter(|byte| is_printable(*byte)),
        code => {
            let position = usize::try_from(code - 0x100).ok()?;
            (0..=u8::MAX)
                .filter(|byte| !is_printable(*byte))
                .nth(position)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{bundle_with, test_tokenizer};
    use super::*;

    #[test]
    fn the_bytes_of_tokens_are_those_of_their_text() {
        let tokenizer = test_tokenizer();
        let bytes = tokenizer.token_bytes(310);
        assert_eq!(bytes.len(), 310);
        for text in ["the keeper lights", "é ☂ \n\t \u{1f41f}", "{\"a\": 1}"] {
            let tokens = tokenizer.encode(text, false).expect("tokens");
            let joined: Vec<u8> = tokens
                .iter()
                .flat_map(|token| bytes[*token as usize].clone())
                .collect();
            assert_eq!(joined, text.as_bytes(), "{text}");
        }
        assert_eq!(
            bytes[tokenizer.token_id("</s>").expect("it has one") as usize],
            b"\xff</s>"
        );
        assert_eq!(bytes[305], b"");
    }

    #[test]
    fn bytes_are_encoded_as_in_sentencepiece() {
        assert_eq!(ByteEncoding::SentencePiece.bytes("<0x0A>"), b"\n");
        assert_eq!(ByteEncoding::SentencePiece.bytes("▁and"), b" and");
        assert_eq!(ByteEncoding::SentencePiece.bytes("<0xZZ>"), b"<0xZZ>");
    }

    #[test]
    fn one_word_of_the_longest_text_is_encoded() {
        let tokenizer = test_tokenizer();
        let word = "a".repeat(MAX_TEXT_BYTES);
        assert_eq!(
            tokenizer.encode(&word, false).map(|tokens| tokens.len()),
            Ok(MAX_TEXT_BYTES)
        );
        let said = tokenizer.encode(&(word + "a"), false);
        assert_eq!(
            said,
            Err("the text has 1048577 bytes, and the limit is 1048576; shorten it".to_owned())
        );
    }

    #[test]
    fn a_tokenizer_with_dropout_is_refused() {
        let text = String::from_utf8(crate::testing::model_file("testdata/writer/tokenizer.json"))
            .expect("text");
        assert!(text.contains("\"dropout\":null"));
        let text = text.replace("\"dropout\":null", "\"dropout\":0.1");
        let bytes = bundle_with("model.onnx", &[("tokenizer.json", Some(text.as_bytes()))]);
        let said = ModelTokenizer::read(&ModelFolder::open(&bytes).expect("a pack"), None).err();
        assert!(said.expect("it draws").contains("dropout of 0.1"));
    }

    #[test]
    fn a_tokenizer_of_another_model_is_refused_with_both_sizes() {
        let bytes = bundle_with("model.onnx", &[]);
        let folder = ModelFolder::open(&bytes).expect("a pack");
        let said = ModelTokenizer::read(&folder, Some(299))
            .err()
            .expect("300 tokens");
        assert!(
            said.contains("tokens up to 299") && said.contains("model has 299"),
            "{said}"
        );
        let bytes = bundle_with("model.onnx", &[("tokenizer.json", Some(b"{}"))]);
        let said = ModelTokenizer::read(&ModelFolder::open(&bytes).expect("a pack"), None).err();
        assert!(
            said.expect("no tokenizer")
                .contains("tokenizer.json is not a tokenizer")
        );
        let bytes = bundle_with("model.onnx", &[("tokenizer.json", None)]);
        let said = ModelTokenizer::read(&ModelFolder::open(&bytes).expect("a pack"), None).err();
        assert!(said.expect("no file").contains("has no tokenizer.json"));
    }
}
