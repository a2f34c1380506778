//! Text to tokens and back: the folder's `tokenizer.json`.

use super::super::folder::Folder;
use serde_json::Value;
use shm_protocol::progress;
use tokenizers::Tokenizer;

/// Most bytes of a text that is made tokens: twice what a model of [`MOST_TOKENS`](shm_protocol::generation::MOST_TOKENS)
/// usually holds. The time grows with the text, even if that is one word: half a second to three seconds for so much.
pub(super) const TEXT_BYTES: usize = 1 << 20;

/// A tokenizer, and which bytes its tokens stand for.
pub(in crate::generator) struct Words {
    tokenizer: Tokenizer,
    count: u32,
    spelling: Spelling,
}

/// How the tokens of a vocabulary spell bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// Each letter stands for a byte, as in GPT-2.
    Letters,
    /// Plain text, `▁` for a space, `<0x0A>` for a byte, as in SentencePiece.
    Plain,
}

impl Words {
    /// Reads the tokenizer of a folder.
    ///
    /// # Errors
    /// When it is missing or does not fit the words that the model has.
    pub(in crate::generator) fn read(
        folder: &Folder<'_>,
        vocabulary: Option<u64>,
    ) -> Result<Words, String> {
        let text = folder.text("tokenizer.json")?.ok_or(
            "its folder has no tokenizer.json; save the tokenizer with save_pretrained of a fast tokenizer",
        )?;
        let mut tokenizer = Tokenizer::from_bytes(text)
            .map_err(|error| format!("its file tokenizer.json is not a tokenizer: {error}"))?;
        // A prompt is taken whole or refused; a file may say otherwise.
        tokenizer
            .with_truncation(None)
            .map_err(|error| format!("its file tokenizer.json: {error}"))?
            .with_padding(None);
        let count = tokenizer
            .get_vocab(true)
            .into_values()
            .max()
            .map_or(0, |most| most + 1);
        if let Some(words) = vocabulary.filter(|words| u64::from(count) > *words) {
            return Err(format!(
                "its tokenizer.json has tokens up to {}, and the model has {words} words; are both files of one model?",
                count - 1
            ));
        }
        let file: Value = serde_json::from_str(text).unwrap_or_default();
        // Meant for training: it leaves out merges by chance, and not by a seed of ours.
        if let Some(dropout) = file
            .pointer("/model/dropout")
            .filter(|dropout| dropout.as_f64() > Some(0.0))
        {
            return Err(format!(
                "its tokenizer.json makes other tokens of the same text each time (dropout {dropout} of its model); write null there"
            ));
        }
        let spelling = if says_byte_level(&file) {
            Spelling::Letters
        } else {
            Spelling::Plain
        };
        Ok(Words {
            tokenizer,
            count,
            spelling,
        })
    }

    /// Tokens that exist, the highest and one more.
    pub(in crate::generator) fn count(&self) -> u32 {
        self.count
    }

    /// The tokens of a text. `with_frame` adds what the tokenizer puts around every text.
    pub(in crate::generator) fn encode(
        &self,
        text: &str,
        with_frame: bool,
    ) -> Result<Vec<u32>, String> {
        if text.len() > TEXT_BYTES {
            return Err(format!(
                "the text has {} bytes, and at most {TEXT_BYTES} are made tokens; shorten it",
                text.len()
            ));
        }
        let encoded = self.tokenizer.encode(text, with_frame);
        progress::report();
        let encoded =
            encoded.map_err(|error| format!("the text cannot be made tokens: {error}"))?;
        Ok(encoded.get_ids().to_vec())
    }

    /// The text of tokens, without those that are not text.
    pub(in crate::generator) fn decode(&self, tokens: &[u32]) -> Result<String, String> {
        let decoded = self.tokenizer.decode(tokens, true);
        decoded.map_err(|error| format!("tokens cannot be made text: {error}"))
    }

    /// The number of a token that is written so.
    pub(in crate::generator) fn token(&self, text: &str) -> Option<u32> {
        self.tokenizer.token_to_id(text)
    }

    /// The bytes of each of the first `count` tokens; one that is not text begins with 0xff, which is in no text.
    pub(in crate::generator) fn bytes(&self, count: usize) -> Vec<Vec<u8>> {
        let added = self.tokenizer.get_added_tokens_decoder();
        let numbers = 0_u32..self.count.min(u32::try_from(count).unwrap_or(u32::MAX));
        let spelled = numbers.map(|number| match self.tokenizer.id_to_token(number) {
            Some(token) if added.get(&number).is_some_and(|added| added.special) => {
                [&[0xff], token.as_bytes()].concat()
            }
            Some(token) if added.contains_key(&number) => token.into_bytes(),
            Some(token) => self.spelling.bytes(&token),
            None => Vec::new(),
        });
        let mut bytes: Vec<Vec<u8>> = spelled.collect();
        bytes.resize(count, Vec::new());
        bytes
    }
}

/// Whether a decoder of GPT-2's kind is among those of a tokenizer file.
fn says_byte_level(file: &Value) -> bool {
    let is_byte_level =
        |part: &Value| part.get("type").and_then(Value::as_str) == Some("ByteLevel");
    let decoder = file.get("decoder");
    let parts = decoder
        .and_then(|decoder| decoder.get("decoders"))
        .and_then(Value::as_array);
    decoder.is_some_and(is_byte_level) || parts.is_some_and(|parts| parts.iter().any(is_byte_level))
}

impl Spelling {
    fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            Spelling::Letters => token
                .chars()
                .map(byte_of_letter)
                .collect::<Option<_>>()
                .unwrap_or_default(),
            Spelling::Plain => {
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

/// The byte that a letter stands for in GPT-2's alphabet: itself where it can be seen, and otherwise the letters from
/// U+0100 on in the order of the bytes that cannot.
fn byte_of_letter(letter: char) -> Option<u8> {
    let is_seen = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(letter) {
        code @ 0..=0xff => u8::try_from(code).ok().filter(|byte| is_seen(*byte)),
        code => {
            let position = usize::try_from(code - 0x100).ok()?;
            (0..=u8::MAX).filter(|byte| !is_seen(*byte)).nth(position)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{packed, writer_words};
    use super::*;

    #[test]
    fn bytes_of_tokens_make_the_bytes_of_their_text() {
        let words = writer_words();
        let bytes = words.bytes(310);
        assert_eq!(bytes.len(), 310);
        for text in ["the keeper lights", "é ☂ \n\t \u{1f41f}", "{\"a\": 1}"] {
            let tokens = words.encode(text, false).expect("tokens");
            let joined: Vec<u8> = tokens
                .iter()
                .flat_map(|token| bytes[*token as usize].clone())
                .collect();
            assert_eq!(joined, text.as_bytes(), "{text}");
        }
        assert_eq!(
            bytes[words.token("</s>").expect("it has one") as usize],
            b"\xff</s>"
        );
        assert_eq!(bytes[305], b"");
    }

    #[test]
    fn bytes_are_spelled_as_sentencepiece_does_it() {
        assert_eq!(Spelling::Plain.bytes("<0x0A>"), b"\n");
        assert_eq!(Spelling::Plain.bytes("▁and"), b" and");
        assert_eq!(Spelling::Plain.bytes("<0xZZ>"), b"<0xZZ>");
    }

    #[test]
    fn one_word_of_the_most_bytes_is_taken_and_one_more_is_refused() {
        let words = writer_words();
        let word = "a".repeat(TEXT_BYTES);
        assert_eq!(
            words.encode(&word, false).map(|tokens| tokens.len()),
            Ok(TEXT_BYTES)
        );
        let said = words.encode(&(word + "a"), false);
        assert_eq!(
            said,
            Err(
                "the text has 1048577 bytes, and at most 1048576 are made tokens; shorten it"
                    .to_owned()
            )
        );
    }

    #[test]
    fn a_tokenizer_that_draws_at_random_is_refused() {
        let text = String::from_utf8(crate::testing::model_file("testdata/writer/tokenizer.json"))
            .expect("text");
        assert!(text.contains("\"dropout\":null"));
        let text = text.replace("\"dropout\":null", "\"dropout\":0.1");
        let bytes = packed("model.onnx", &[("tokenizer.json", Some(text.as_bytes()))]);
        let said = Words::read(&Folder::open(&bytes).expect("a pack"), None).err();
        assert!(said.expect("it draws").contains("dropout 0.1"));
    }

    #[test]
    fn a_tokenizer_that_does_not_fit_is_refused_with_both_numbers() {
        let bytes = packed("model.onnx", &[]);
        let folder = Folder::open(&bytes).expect("a pack");
        let said = Words::read(&folder, Some(299)).err().expect("300 tokens");
        assert!(
            said.contains("tokens up to 299") && said.contains("299 words"),
            "{said}"
        );
        let bytes = packed("model.onnx", &[("tokenizer.json", Some(b"{}"))]);
        let said = Words::read(&Folder::open(&bytes).expect("a pack"), None).err();
        assert!(
            said.expect("no tokenizer")
                .contains("tokenizer.json is not a tokenizer")
        );
        let bytes = packed("model.onnx", &[("tokenizer.json", None)]);
        let said = Words::read(&Folder::open(&bytes).expect("a pack"), None).err();
        assert!(said.expect("no file").contains("has no tokenizer.json"));
    }
}
