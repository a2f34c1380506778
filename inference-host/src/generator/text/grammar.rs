//! Text that must have a form: JSON by a schema, or a grammar in the manner of
//! Lark. At each token `llguidance` says which may follow; that is a function of
//! the form and of the tokens so far.

use super::request::Form;
use super::words::Words;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{
    ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie,
};
use llguidance::{Matcher, ParserFactory};
use std::sync::Arc;

/// What all grammars of a model share.
pub(in crate::generator) struct Grammars(ParserFactory);

/// How far a text has come in its form.
pub(in crate::generator) struct Grammar(Matcher);

impl Grammars {
    /// For a model with `words` words, of which `ends` end a text.
    ///
    /// # Errors
    /// When no token ends a text.
    pub(in crate::generator) fn new(
        words: &Words,
        count: usize,
        ends: &[u32],
    ) -> Result<Grammars, String> {
        let end = *ends
            .first()
            .ok_or("a response_format needs a model with an eos_token_id")?;
        let bytes = words.bytes(count);
        let info = TokRxInfo::new(
            u32::try_from(bytes.len()).map_err(|error| error.to_string())?,
            end,
        );
        let tokens = TokTrie::from(&info, &bytes).with_eos_tokens(ends);
        let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(tokens));
        let said = |error| format!("the model's tokens are no use for a response_format: {error}");
        let mut factory =
            ParserFactory::new(&tokens, InferenceCapabilities::default(), &[]).map_err(said)?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits::default();
        Ok(Grammars(factory))
    }

    /// Begins a text in this form.
    ///
    /// # Errors
    /// What is wrong with the schema or the grammar.
    pub(in crate::generator) fn begin(&self, form: &Form) -> Result<Grammar, String> {
        let grammar = match form {
            Form::Schema(schema) => TopLevelGrammar::from_json_schema(schema.clone()),
            Form::Grammar(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
        };
        let parser = self.0.create_parser(grammar);
        let refused = |error: String| {
            let first: Vec<&str> = error
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .take(3)
                .collect();
            format!("the response_format is refused: {}", first.join(" "))
        };
        let mut matcher = Matcher::new(parser);
        match matcher.get_error() {
            Some(error) => Err(refused(error)),
            None => {
                matcher
                    .compute_mask()
                    .map_err(|error| refused(error.to_string()))?;
                Ok(Grammar(matcher))
            }
        }
    }
}

impl Grammar {
    /// Which tokens may follow.
    pub(in crate::generator) fn allowed(&mut self) -> Result<SimpleVob, String> {
        self.0
            .compute_mask_or_eos()
            .map_err(|error| self.told(&error))
    }

    /// Goes on by a token. Gives whether nothing may follow but the end.
    pub(in crate::generator) fn take(&mut self, token: u32) -> Result<bool, String> {
        self.0
            .consume_token(token)
            .map_err(|error| self.told(&error))?;
        Ok(self.0.is_stopped())
    }

    fn told(&self, error: &dyn std::fmt::Display) -> String {
        let error = error.to_string();
        format!(
            "the response_format cannot be followed: {}",
            error.lines().next().unwrap_or_default()
        )
    }
}
