//! Incremental detokenization: text that grows token by token.
//!
//! Emitted text is never taken back, so an incomplete character is held back until it is complete, and so is what may
//! become a stop string. The text emitted after some tokens is a function of these tokens alone.

use super::tokenizer::ModelTokenizer;

/// Most tokens of a character; more tokens without a character are emitted as replacement characters.
const CHARACTER_TOKENS: usize = 8;

/// The text of one sequence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Detokenizer {
    /// The tokens that are not emitted, after some that are: the text of a token may depend on the tokens before it.
    tokens: Vec<u32>,
    /// The number of these tokens whose text is emitted.
    emitted: usize,
    /// Text that may become a stop string.
    pending: String,
    is_stopped: bool,
}

impl Detokenizer {
    /// Takes a token and gives the text that is final now.
    pub(crate) fn push(
        &mut self,
        tokenizer: &ModelTokenizer,
        token: u32,
        stop_strings: &[String],
    ) -> Result<String, String> {
        self.tokens.push(token);
        let (before, now) = (
            tokenizer.decode(&self.tokens[..self.emitted])?,
            tokenizer.decode(&self.tokens)?,
        );
        let is_whole =
            !now.ends_with('\u{fffd}') || self.tokens.len() - self.emitted >= CHARACTER_TOKENS;
        if now.len() <= before.len() || !is_whole {
            return Ok(String::new());
        }
        self.pending
            .push_str(now.get(before.len()..).unwrap_or_default());
        self.tokens.drain(..self.emitted);
        self.emitted = self.tokens.len();
        Ok(self.take_certain(stop_strings))
    }

    /// True if a stop string has come up; no part of it is emitted.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// The text that was held back, at the end of the sequence.
    pub(crate) fn finish(
        &mut self,
        tokenizer: &ModelTokenizer,
        stop_strings: &[String],
    ) -> Result<String, String> {
        let (before, now) = (
            tokenizer.decode(&self.tokens[..self.emitted])?,
            tokenizer.decode(&self.tokens)?,
        );
        self.emitted = self.tokens.len();
        self.pending
            .push_str(now.get(before.len()..).unwrap_or_default());
        let finished = self.take_certain(stop_strings);
        Ok(finished + &std::mem::take(&mut self.pending))
    }

    /// Takes from the pending text what cannot be part of a stop string.
    fn take_certain(&mut self, stop_strings: &[String]) -> String {
        let first = stop_strings
            .iter()
            .filter_map(|stop| self.pending.find(stop.as_str()))
            .min();
        if let Some(position) = first {
            self.is_stopped = true;
            self.pending.truncate(position);
            return std::mem::take(&mut self.pending);
        }
        let is_start = |from: &usize| {
            let rest = &self.pending[*from..];
            stop_strings.iter().any(|stop| stop.starts_with(rest))
        };
        let pending = &self.pending;
        let from = pending
            .char_indices()
            .map(|(position, _)| position)
            .find(is_start);
        let held_back = self.pending.split_off(from.unwrap_or(self.pending.len()));
        std::mem::replace(&mut self.pending, held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::test_tokenizer;
    use super::*;

    /// The text after each token, and at the end.
    fn emitted_by(text: &str, stop_strings: &[&str]) -> (Vec<String>, String, bool) {
        let tokenizer = test_tokenizer();
        let stop_strings: Vec<String> =
            stop_strings.iter().map(|stop| (*stop).to_owned()).collect();
        let mut detokenizer = Detokenizer::default();
        let mut parts = Vec::new();
        for token in tokenizer.encode(text, false).expect("tokens") {
            parts.push(
                detokenizer
                    .push(&tokenizer, token, &stop_strings)
                    .expect("text"),
            );
            if detokenizer.is_stopped() {
                return (parts, String::new(), true);
            }
        }
        let rest = detokenizer.finish(&tokenizer, &stop_strings).expect("text");
        (parts, rest, detokenizer.is_stopped())
    }

    #[test]
    fn an_incomplete_character_is_held_back() {
        let (parts, rest, _) = emitted_by("a☂é\u{1f41f}b", &[]);
        assert!(
            parts.len() > 5,
            "every one of them is several tokens: {parts:?}"
        );
        assert!(
            parts.iter().all(|part| !part.contains('\u{fffd}')),
            "{parts:?}"
        );
        assert_eq!(
            (parts.concat().as_str(), rest.as_str()),
            ("a☂é\u{1f41f}b", "")
        );
    }

    #[test]
    fn an_incomplete_character_is_replaced_at_the_end() {
        let tokenizer = test_tokenizer();
        let token = tokenizer.encode("☂", false).expect("tokens")[0];
        let mut detokenizer = Detokenizer::default();
        assert_eq!(detokenizer.push(&tokenizer, token, &[]), Ok(String::new()));
        assert_eq!(
            detokenizer.finish(&tokenizer, &[]),
            Ok("\u{fffd}".to_owned())
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_not_held_back_forever() {
        let tokenizer = test_tokenizer();
        let token = tokenizer.encode("☂", false).expect("tokens")[1];
        let mut detokenizer = Detokenizer::default();
        let parts: Vec<String> = (0..40)
            .map(|_| detokenizer.push(&tokenizer, token, &[]).expect("text"))
            .collect();
        assert!(parts.concat().chars().count() >= 32, "{parts:?}");
        assert!(detokenizer.tokens.len() <= 2 * CHARACTER_TOKENS);
    }

    #[test]
    fn a_stop_string_across_tokens_ends_the_text_before_it() {
        let (parts, _, is_stopped) = emitted_by("the keeper lights the lamp", &["per li"]);
        assert!(is_stopped);
        assert_eq!(parts.concat(), "the kee");
    }

    #[test]
    fn a_beginning_of_a_stop_string_is_emitted_in_the_end() {
        let (parts, rest, is_stopped) = emitted_by("the keeper", &["per lights", "ers"]);
        assert!(!is_stopped);
        assert!(!parts.concat().contains("per"), "{parts:?}");
        assert_eq!(parts.concat() + &rest, "the keeper");
    }

    #[test]
    fn the_first_of_several_stop_strings_ends_the_text() {
        let (parts, _, is_stopped) = emitted_by("abcdef", &["ef", "cd"]);
        assert!(is_stopped);
        assert_eq!(parts.concat(), "ab");
    }
}
