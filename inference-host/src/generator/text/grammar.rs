//! Text that must have a form: JSON by a schema, or a grammar in the manner of
//! Lark. At each token `llguidance` says which may follow; that is a function of
//! the form and of the tokens so far.

use super::bounds;
use super::intersections::{PAIRS, pairs};
use super::request::Form;
use super::words::Words;
use super::worker::on_large_stack;
use llguidance::api::{GrammarInit, ParserLimits, TopLevelGrammar};
use llguidance::earley::lexerspec::LexerSpec;
use llguidance::toktrie::{
    ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie,
};
use llguidance::{Matcher, ParserFactory};
use shm_protocol::progress;
use std::sync::Arc;

/// What all grammars of a model share.
pub(in crate::generator) struct Grammars(Arc<ParserFactory>);

/// How far a text has come in its form.
pub(in crate::generator) struct Grammar {
    matcher: Matcher,
    /// True once the mask after the last token was computed. What a step costs in fuel depends on the steps before,
    /// so a text that is brought back to where it was takes all of them again.
    is_asked: bool,
}

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
        *factory.limits_mut() = bounds::limits();
        Ok(Grammars(Arc::new(factory)))
    }

    /// Begins a text in this form.
    ///
    /// # Errors
    /// Names the part of the schema or the grammar that is wrong or too large.
    pub(in crate::generator) fn begin(&self, form: Form) -> Result<Grammar, String> {
        let factory = Arc::clone(&self.0);
        let begun = on_large_stack(move || compile(&factory, &form)).and_then(|begun| begun);
        begun
            .map(|matcher| Grammar {
                matcher,
                is_asked: false,
            })
            .map_err(|error| format!("the response_format is refused: {error}"))
    }
}

/// A matcher at the beginning of a form. Calls itself as deep as the form is; what comes of it does not.
fn compile(factory: &ParserFactory, form: &Form) -> Result<Matcher, String> {
    bounds::check(form)?;
    let grammar = match form {
        Form::Schema(schema) => TopLevelGrammar::from_json_schema(schema.clone()),
        Form::Grammar(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
    };
    let tokens = Some(Arc::clone(factory.tok_env()));
    let read = GrammarInit::Serialized(grammar).to_internal(tokens, factory.limits().clone());
    progress::report();
    let (grammar, lexemes) = read.map_err(|error| brief(&error))?;
    check_lexemes(&lexemes, factory.limits().clone())?;
    progress::report();
    let parser = factory.create_parser_from_init_default(GrammarInit::Internal(grammar, lexemes));
    progress::report();
    let mut matcher = Matcher::new(parser);
    if let Some(error) = matcher.get_error() {
        return Err(brief(&error));
    }
    matcher.compute_mask().map_err(|error| brief(&error))?;
    Ok(matcher)
}

/// Refuses regular expressions whose intersections are too much work. The first byte of a text is tried by `llguidance`
/// with no bound on the fuel, when it makes its lexer, so the same is done here before, with a bound.
fn check_lexemes(lexemes: &LexerSpec, mut limits: ParserLimits) -> Result<(), String> {
    let pairs = pairs(lexemes.regex_builder.exprset());
    if pairs > PAIRS {
        return Err(format!(
            "an intersection (& or ~ in a grammar, patterns or names that exclude each other in a schema) takes {pairs} pairs \
             in a step, and at most {PAIRS} are taken; intersect fewer regular expressions, or shorter ones"
        ));
    }
    let fuel = limits.initial_lexer_fuel;
    let mut lexer = lexemes
        .to_regex_vec(&mut limits)
        .map_err(|error| brief(&error))?;
    lexer.set_fuel(fuel);
    let start = lexer.initial_state(&lexemes.all_lexemes());
    for byte in 0..=u8::MAX {
        lexer.transition(start, byte);
        if lexer.has_error() {
            return Err(format!(
                "whether its regular expressions can match is not found out with {fuel} units of work; intersect (& or ~ in \
                 a grammar, several patterns or a length beside a pattern in a schema) fewer of them, or shorter ones"
            ));
        }
    }
    Ok(())
}

/// Most characters of a library's words: they may repeat all of a form.
const BRIEF: usize = 400;

/// The first words of an error, without the places in code that a panic names.
fn brief(error: &dyn std::fmt::Display) -> String {
    let error = error.to_string();
    let said = error.split("<backtrace>").next().unwrap_or_default();
    let lines = said.lines().map(str::trim);
    let first: Vec<&str> = lines.filter(|line| !line.is_empty()).take(3).collect();
    first.join(" ").chars().take(BRIEF).collect()
}

impl Grammar {
    /// Which tokens may follow.
    pub(in crate::generator) fn allowed(&mut self) -> Result<SimpleVob, String> {
        self.is_asked = true;
        let allowed = self.matcher.compute_mask_or_eos();
        progress::report();
        allowed.map_err(|error| self.told(&error))
    }

    /// Goes on by a token. Gives whether nothing may follow but the end.
    pub(in crate::generator) fn take(&mut self, token: u32) -> Result<bool, String> {
        if !self.is_asked {
            self.allowed()?;
        }
        self.is_asked = false;
        self.matcher
            .consume_token(token)
            .map_err(|error| self.told(&error))?;
        Ok(self.matcher.is_stopped())
    }

    fn told(&self, error: &dyn std::fmt::Display) -> String {
        let error = brief(error);
        format!("the response_format cannot be followed: {error}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::writer_words;
    use super::super::bounds::FORM_BYTES;
    use super::*;
    use serde_json::Value;
    use std::thread;

    fn begin(form: Form) -> Result<Grammar, String> {
        let grammars = Grammars::new(&writer_words(), 300, &[2]).expect("tokens");
        grammars.begin(form)
    }

    fn lark(grammar: &str) -> Result<Grammar, String> {
        begin(Form::Grammar(grammar.to_owned()))
    }

    /// As many parts as fit into a form, each leading to the next.
    fn longest(
        begin: &str,
        part: &dyn Fn(usize) -> String,
        end: &dyn Fn(usize) -> String,
    ) -> String {
        let mut form = begin.to_owned();
        let mut parts = 0;
        while form.len() + part(parts).len() + end(parts + 1).len() <= FORM_BYTES {
            form += &part(parts);
            parts += 1;
        }
        form + &end(parts)
    }

    fn chain(open: &str, shut: &str) -> String {
        let part = |number| format!("r{number}: {open}r{}{shut}\n", number + 1);
        let grammar = longest("start: r0\n", &part, &|number| {
            format!("r{number}: \"x\"\n")
        });
        let missing = FORM_BYTES - grammar.len();
        grammar + &"\n".repeat(missing)
    }

    fn references(part: &str) -> Value {
        let part = |number: usize| {
            format!(
                r#""{number}":{},"#,
                part.replace('N', &(number + 1).to_string())
            )
        };
        let begin = r##"{"$ref":"#/$defs/0","$defs":{"##;
        let text = longest(begin, &part, &|number| format!(r#""{number}":{{}}}}}}"#));
        serde_json::from_str(&text).expect("JSON")
    }

    #[test]
    fn the_longest_chains_that_are_taken_end_no_process_and_need_no_deep_stack_afterwards() {
        let (open, shut) = ("(".repeat(13), ")".repeat(13));
        let mut forms: Vec<Form> = [("", ""), (&open, &shut), ("[", "]")]
            .map(|(open, shut)| Form::Grammar(chain(open, shut)))
            .into();
        let upper = chain("", "").to_uppercase().replace("START", "start");
        forms.push(Form::Grammar(upper.replace("\"X\"", "\"x\"")));
        forms.extend(
            [
                r##"{"$ref":"#/$defs/N"}"##,
                r##"{"type":"object","$ref":"#/$defs/N"}"##,
                r##"{"allOf":[{"$ref":"#/$defs/N"}]}"##,
                r##"{"items":{"$ref":"#/$defs/N"}}"##,
            ]
            .map(|part| Form::Schema(references(part))),
        );
        for form in forms {
            let shown: String = format!("{form:?}").chars().take(60).collect();
            let mut grammar = begin(form).unwrap_or_else(|error| panic!("{shown}: {error}"));
            let serves = thread::Builder::new().stack_size(256 << 10);
            let written = serves.spawn(move || {
                let token = grammar
                    .allowed()?
                    .iter()
                    .next()
                    .ok_or("nothing may follow")?;
                grammar.take(token)
            });
            let written = written
                .expect("a thread")
                .join()
                .expect("a small stack is enough");
            assert!(written.is_ok(), "{shown}: {written:?}");
        }
        let said = lark(&(chain("", "") + "\n"))
            .err()
            .expect("one byte too many");
        assert!(
            said.contains("32769 bytes, and at most 32768 are taken"),
            "{said}"
        );
    }

    #[test]
    fn intersections_of_nested_repetitions_need_no_deep_stack_afterwards() {
        let grammar = |levels: usize| {
            let nested = |side: &str| -> String {
                let level = |number| format!("{side}{number}: {side}{}{{1,3}}\n", number + 1);
                (0..levels).map(level).collect()
            };
            let (left, right) = (nested("A"), nested("B"));
            let ends = format!("A{levels}: /[a-y]/\nB{levels}: /[b-z]/\n");
            format!("start: X\nX: A0 & B0\n{left}{right}{ends}")
        };
        let counts = ["units of work", "too many expressions", "fuel exhausted"];
        let is_counted = |said: &str| counts.iter().any(|count| said.contains(count));
        let mut begun_levels: Vec<usize> = Vec::new();
        for levels in [1, 2, 4, 8, 16, 64, 900] {
            let mut begun = match lark(&grammar(levels)) {
                Ok(begun) => begun,
                Err(said) => {
                    // Refused on the thread with the large stack.
                    assert!(is_counted(&said), "{levels}: {said}");
                    continue;
                }
            };
            begun_levels.push(levels);
            let serves = thread::Builder::new().stack_size(1 << 20);
            let written = serves.spawn(move || {
                for _ in 0..3 {
                    let token = begun.allowed()?.iter().next().ok_or("nothing may follow")?;
                    if begun.take(token)? {
                        break;
                    }
                }
                Ok::<(), String>(())
            });
            let written = written
                .expect("a thread")
                .join()
                .expect("the stack is enough");
            if let Err(said) = written {
                assert!(is_counted(&said), "{levels}: {said}");
            }
        }
        assert!(!begun_levels.is_empty(), "all are refused");
    }

    #[test]
    fn intersections_that_would_take_for_ever_are_refused_by_counts() {
        let side = |from: usize| {
            let parts =
                (0..24_u8).map(|part| format!("[a-{}]{from}{part}", char::from(b'b' + part)));
            format!("/({})+/", parts.collect::<Vec<_>>().join("|"))
        };
        let sides = |count: usize| (0..count).map(side).collect::<Vec<_>>().join(" & ");
        let said = lark(&format!("start: A\nA: {}", sides(6)))
            .err()
            .expect("too many pairs");
        assert!(
            said.contains("an intersection (& or ~") && said.contains("1048576"),
            "{said}"
        );
        let states = "~/([a-z]*a[a-z]{20}|[a-z]*b[a-z]{21}|c[a-z]*)/ & /[a-z]*/";
        let said = lark(&format!("start: A\nA: {states}"))
            .err()
            .expect("too many states");
        assert!(said.contains("1000000 units of work"), "{said}");
        assert!(lark("start: A\nA: /[a-z]+/ & ~/(if|else)/ & /.{2,8}/").is_ok());
    }

    #[test]
    fn patterns_that_are_joined_are_bounded_as_intersections_are() {
        let patterns = |count: usize| {
            let patterns = (3..3 + count)
                .map(|times| serde_json::json!({ "pattern": format!("[a-c]{{{times}}}") }));
            Form::Schema(
                serde_json::json!({ "type": "string", "allOf": patterns.collect::<Vec<_>>() }),
            )
        };
        assert!(begin(patterns(2)).is_ok());
        let said = begin(patterns(40)).err().expect("forty at once");
        assert!(said.contains("pairs to intersect"), "{said}");
    }

    #[test]
    fn a_library_that_panics_is_an_error_without_places_in_code() {
        let multiples =
            [0.999_999_1, 99_991.0, 7.777_73].map(|of| serde_json::json!({ "multipleOf": of }));
        let schema = serde_json::json!({ "type": "number", "allOf": multiples });
        let said = begin(Form::Schema(schema)).err().expect("no such number");
        assert!(
            said.contains("refused") && !said.contains(".rs") && !said.contains('\n'),
            "{said}"
        );
    }
}
