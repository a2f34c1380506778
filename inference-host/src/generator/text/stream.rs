//! Text that grows token by token. What is out is never taken back, so half a
//! character is held until its other half comes, and so is what may become a
//! stop string. What is out after some tokens follows from these tokens alone.

use super::words::Words;

/// Most tokens of a character; what is no character by then never will be one.
const CHARACTER_TOKENS: usize = 8;

/// A text in the making.
#[derive(Clone, Debug, Default)]
pub(in crate::generator) struct Stream {
    /// The tokens whose text is needed yet: some that are out, as what a token says may depend on those before it, and
    /// those that are not.
    tokens: Vec<u32>,
    /// How many of them are out.
    out: usize,
    /// Text that may become a stop string.
    held: String,
    is_stopped: bool,
}

impl Stream {
    /// Takes a token and gives the text that is certain now.
    pub(in crate::generator) fn push(
        &mut self,
        words: &Words,
        token: u32,
        stops: &[String],
    ) -> Result<String, String> {
        self.tokens.push(token);
        let (before, now) = (
            words.decode(&self.tokens[..self.out])?,
            words.decode(&self.tokens)?,
        );
        let is_whole =
            !now.ends_with('\u{fffd}') || self.tokens.len() - self.out >= CHARACTER_TOKENS;
        if now.len() <= before.len() || !is_whole {
            return Ok(String::new());
        }
        self.held
            .push_str(now.get(before.len()..).unwrap_or_default());
        self.tokens.drain(..self.out);
        self.out = self.tokens.len();
        Ok(self.certain(stops))
    }

    /// Whether a stop string has come up. Nothing of it is out.
    pub(in crate::generator) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// What was held back, as nothing more will come.
    pub(in crate::generator) fn finish(
        &mut self,
        words: &Words,
        stops: &[String],
    ) -> Result<String, String> {
        let (before, now) = (
            words.decode(&self.tokens[..self.out])?,
            words.decode(&self.tokens)?,
        );
        self.out = self.tokens.len();
        self.held
            .push_str(now.get(before.len()..).unwrap_or_default());
        let certain = self.certain(stops);
        Ok(certain + &std::mem::take(&mut self.held))
    }

    /// Takes from the held text what cannot be a part of a stop string.
    fn certain(&mut self, stops: &[String]) -> String {
        let first = stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()))
            .min();
        if let Some(position) = first {
            self.is_stopped = true;
            self.held.truncate(position);
            return std::mem::take(&mut self.held);
        }
        let is_start = |from: &usize| {
            let rest = &self.held[*from..];
            stops.iter().any(|stop| stop.starts_with(rest))
        };
        let held = &self.held;
        let from = held
            .char_indices()
            .map(|(position, _)| position)
            .find(is_start);
        let kept = self.held.split_off(from.unwrap_or(self.held.len()));
        std::mem::replace(&mut self.held, kept)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::writer_words;
    use super::*;

    /// What comes out after each token, and at the end.
    fn written(text: &str, stops: &[&str]) -> (Vec<String>, String, bool) {
        let words = writer_words();
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut stream = Stream::default();
        let mut parts = Vec::new();
        for token in words.encode(text, false).expect("tokens") {
            parts.push(stream.push(&words, token, &stops).expect("text"));
            if stream.is_stopped() {
                return (parts, String::new(), true);
            }
        }
        let rest = stream.finish(&words, &stops).expect("text");
        (parts, rest, stream.is_stopped())
    }

    #[test]
    fn half_a_character_waits_for_its_other_half() {
        let (parts, rest, _) = written("a☂é\u{1f41f}b", &[]);
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
    fn a_character_that_never_comes_is_shown_at_the_end() {
        let words = writer_words();
        let token = words.encode("☂", false).expect("tokens")[0];
        let mut stream = Stream::default();
        assert_eq!(stream.push(&words, token, &[]), Ok(String::new()));
        assert_eq!(stream.finish(&words, &[]), Ok("\u{fffd}".to_owned()));
    }

    #[test]
    fn bytes_that_are_no_text_do_not_wait_for_ever() {
        let words = writer_words();
        let token = words.encode("☂", false).expect("tokens")[1];
        let mut stream = Stream::default();
        let parts: Vec<String> = (0..40)
            .map(|_| stream.push(&words, token, &[]).expect("text"))
            .collect();
        assert!(parts.concat().chars().count() >= 32, "{parts:?}");
        assert!(stream.tokens.len() <= 2 * CHARACTER_TOKENS);
    }

    #[test]
    fn a_stop_string_across_tokens_ends_the_text_before_it() {
        let (parts, _, is_stopped) = written("the keeper lights the lamp", &["per li"]);
        assert!(is_stopped);
        assert_eq!(parts.concat(), "the kee");
    }

    #[test]
    fn what_only_begins_like_a_stop_string_comes_out_after_all() {
        let (parts, rest, is_stopped) = written("the keeper", &["per lights", "ers"]);
        assert!(!is_stopped);
        assert!(!parts.concat().contains("per"), "{parts:?}");
        assert_eq!(parts.concat() + &rest, "the keeper");
    }

    #[test]
    fn the_first_of_several_stop_strings_counts() {
        let (parts, _, is_stopped) = written("abcdef", &["ef", "cd"]);
        assert!(is_stopped);
        assert_eq!(parts.concat(), "ab");
    }
}
