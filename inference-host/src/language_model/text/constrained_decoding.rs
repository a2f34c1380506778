//! Constrained decoding: text that must be JSON of a schema, or of a Lark grammar.
//!
//! At each token `llguidance` gives the tokens that may follow; that is a function of the format and of the tokens so
//! far.

use super::format_error::{FormatError, brief};
use super::format_limits;
use super::large_stack::run_on_large_stack;
use super::regex_intersections::{MAX_PAIRS, max_pairs_per_step};
use super::response_format::ResponseFormat;
use super::tokenizer::ModelTokenizer;
use llguidance::api::{GrammarInit, ParserLimits, TopLevelGrammar};
use llguidance::earley::lexerspec::LexerSpec;
use llguidance::toktrie::{
    ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie,
};
use llguidance::{Matcher, ParserFactory};
use shm_protocol::progress;
use std::sync::Arc;

/// Compiles a `response_format` to a constraint, for the tokens of one model.
pub(crate) struct ConstraintCompiler(Arc<ParserFactory>);

/// A constraint after some tokens of a sequence.
pub(crate) struct TokenConstraint {
    matcher: Matcher,
    /// True once the mask after the last token was computed. The fuel of a step depends on the steps before, so a
    /// sequence that is decoded again takes all of them again.
    is_mask_computed: bool,
}

impl ConstraintCompiler {
    /// A compiler for a model with `vocab_size` tokens, of which `eos_token_ids` end a text.
    ///
    /// # Errors
    /// When no token ends a text.
    pub(crate) fn new(
        tokenizer: &ModelTokenizer,
        vocab_size: usize,
        eos_token_ids: &[u32],
    ) -> Result<ConstraintCompiler, String> {
        let eos = *eos_token_ids.first().ok_or(
            "a response_format needs a model with an eos_token_id; add it to its generation_config.json",
        )?;
        let bytes = tokenizer.token_bytes(vocab_size);
        let info = TokRxInfo::new(
            u32::try_from(bytes.len()).map_err(|error| error.to_string())?,
            eos,
        );
        let tokens = TokTrie::from(&info, &bytes).with_eos_tokens(eos_token_ids);
        let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(tokens));
        let mut factory = ParserFactory::new(&tokens, InferenceCapabilities::default(), &[])
            .map_err(|error| {
                format!("the vocabulary of the model does not support a response_format: {error}")
            })?;
        factory.quiet();
        *factory.limits_mut() = format_limits::parser_limits();
        Ok(ConstraintCompiler(Arc::new(factory)))
    }

    /// The constraint before the first token.
    ///
    /// # Errors
    /// [`FormatError`] with its code: the part of the schema or the grammar that is invalid or too large.
    pub(crate) fn compile(&self, format: ResponseFormat) -> Result<TokenConstraint, String> {
        let factory = Arc::clone(&self.0);
        let compiled = run_on_large_stack(move || compile_matcher(&factory, &format))
            .unwrap_or_else(|panic| Err(FormatError::from_compiler(&panic)));
        match compiled {
            Ok(matcher) => Ok(TokenConstraint {
                matcher,
                is_mask_computed: false,
            }),
            Err(error) => Err(format!("the response_format is refused: {error}")),
        }
    }
}

/// A matcher before the first token. The compilation recurses as deep as the format is nested; the matcher does not.
fn compile_matcher(
    factory: &ParserFactory,
    format: &ResponseFormat,
) -> Result<Matcher, FormatError> {
    format_limits::check(format)?;
    let failed = |error: &dyn std::fmt::Display| FormatError::from_compiler(error);
    let grammar = match format {
        ResponseFormat::JsonSchema(schema) => TopLevelGrammar::from_json_schema(schema.clone()),
        ResponseFormat::Grammar(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
    };
    let tokens = Some(Arc::clone(factory.tok_env()));
    let read = GrammarInit::Serialized(grammar).to_internal(tokens, factory.limits().clone());
    progress::report();
    let (grammar, lexemes) = read.map_err(|error| failed(&error))?;
    check_lexemes(&lexemes, factory.limits().clone())?;
    progress::report();
    let parser = factory.create_parser_from_init_default(GrammarInit::Internal(grammar, lexemes));
    progress::report();
    let mut matcher = Matcher::new(parser);
    if let Some(error) = matcher.get_error() {
        return Err(failed(&error));
    }
    matcher.compute_mask().map_err(|error| failed(&error))?;
    Ok(matcher)
}

/// Refuses regular expressions whose intersections are too much work. `llguidance` tries the first byte of a text
/// without a limit on the fuel when it makes its lexer, so the same is done here before, with a limit.
fn check_lexemes(lexemes: &LexerSpec, mut limits: ParserLimits) -> Result<(), FormatError> {
    let pairs = max_pairs_per_step(lexemes.regex_builder.exprset());
    if pairs > MAX_PAIRS {
        return Err(FormatError::TooComplex(format!(
            "an intersection (& or ~ in a grammar, patterns or names that exclude each other in a schema) takes \
             {pairs} pairs in a step, and the limit is {MAX_PAIRS}; intersect fewer regular expressions, or shorter \
             ones"
        )));
    }
    let fuel = limits.initial_lexer_fuel;
    let mut lexer = lexemes
        .to_regex_vec(&mut limits)
        .map_err(|error| FormatError::from_compiler(&error))?;
    lexer.set_fuel(fuel);
    let start = lexer.initial_state(&lexemes.all_lexemes());
    for byte in 0..=u8::MAX {
        lexer.transition(start, byte);
        if lexer.has_error() {
            return Err(FormatError::TooComplex(format!(
                "its regular expressions take more than {fuel} units of work to compile; intersect (& or ~ in a \
                 grammar, several patterns or a length beside a pattern in a schema) fewer of them, or shorter ones"
            )));
        }
    }
    Ok(())
}

impl TokenConstraint {
    /// The tokens that may follow.
    pub(crate) fn allowed_tokens(&mut self) -> Result<SimpleVob, String> {
        self.is_mask_computed = true;
        let allowed = self.matcher.compute_mask_or_eos();
        progress::report();
        allowed.map_err(|error| violated(&error))
    }

    /// Takes a token. True if nothing may follow but the end.
    pub(crate) fn accept(&mut self, token: u32) -> Result<bool, String> {
        if !self.is_mask_computed {
            self.allowed_tokens()?;
        }
        self.is_mask_computed = false;
        self.matcher
            .consume_token(token)
            .map_err(|error| violated(&error))?;
        Ok(self.matcher.is_stopped())
    }
}

fn violated(error: &dyn std::fmt::Display) -> String {
    let detail = brief(error);
    format!("the text cannot follow its response_format: {detail}; simplify the format")
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::test_tokenizer;
    use super::super::format_limits::MAX_FORMAT_BYTES;
    use super::*;
    use serde_json::Value;
    use std::thread;

    fn begin(format: ResponseFormat) -> Result<TokenConstraint, String> {
        let compiler = ConstraintCompiler::new(&test_tokenizer(), 300, &[2]).expect("tokens");
        compiler.compile(format)
    }

    fn lark(grammar: &str) -> Result<TokenConstraint, String> {
        begin(ResponseFormat::Grammar(grammar.to_owned()))
    }

    /// As many parts as fit into a form, each leading to the next.
    fn longest(
        begin: &str,
        part: &dyn Fn(usize) -> String,
        end: &dyn Fn(usize) -> String,
    ) -> String {
        let mut format = begin.to_owned();
        let mut parts = 0;
        while format.len() + part(parts).len() + end(parts + 1).len() <= MAX_FORMAT_BYTES {
            format += &part(parts);
            parts += 1;
        }
        format + &end(parts)
    }

    fn chain(open: &str, shut: &str) -> String {
        let part = |number| format!("r{number}: {open}r{}{shut}\n", number + 1);
        let grammar = longest("start: r0\n", &part, &|number| {
            format!("r{number}: \"x\"\n")
        });
        let missing = MAX_FORMAT_BYTES - grammar.len();
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
    fn the_longest_rule_chains_need_no_deep_stack_to_decode() {
        let (open, shut) = ("(".repeat(13), ")".repeat(13));
        let mut formats: Vec<ResponseFormat> = [("", ""), (&open, &shut), ("[", "]")]
            .map(|(open, shut)| ResponseFormat::Grammar(chain(open, shut)))
            .into();
        let upper = chain("", "").to_uppercase().replace("START", "start");
        formats.push(ResponseFormat::Grammar(upper.replace("\"X\"", "\"x\"")));
        formats.extend(
            [
                r##"{"$ref":"#/$defs/N"}"##,
                r##"{"type":"object","$ref":"#/$defs/N"}"##,
                r##"{"allOf":[{"$ref":"#/$defs/N"}]}"##,
                r##"{"items":{"$ref":"#/$defs/N"}}"##,
            ]
            .map(|part| ResponseFormat::JsonSchema(references(part))),
        );
        for format in formats {
            let shown: String = format!("{format:?}").chars().take(60).collect();
            let mut grammar = begin(format).unwrap_or_else(|error| panic!("{shown}: {error}"));
            let serves = thread::Builder::new().stack_size(256 << 10);
            let written = serves.spawn(move || {
                let token = grammar
                    .allowed_tokens()?
                    .iter()
                    .next()
                    .ok_or("nothing may follow")?;
                grammar.accept(token)
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
            said.contains("32769 bytes, and the limit is 32768"),
            "{said}"
        );
    }

    #[test]
    fn nested_intersections_need_no_deep_stack_to_decode() {
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
            let mut constraint = match lark(&grammar(levels)) {
                Ok(constraint) => constraint,
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
                    let token = constraint
                        .allowed_tokens()?
                        .iter()
                        .next()
                        .ok_or("nothing may follow")?;
                    if constraint.accept(token)? {
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
    fn endless_intersections_are_refused_by_counts() {
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
    fn joined_patterns_have_the_limits_of_intersections() {
        let patterns = |count: usize| {
            let patterns = (3..3 + count)
                .map(|times| serde_json::json!({ "pattern": format!("[a-c]{{{times}}}") }));
            ResponseFormat::JsonSchema(
                serde_json::json!({ "type": "string", "allOf": patterns.collect::<Vec<_>>() }),
            )
        };
        assert!(begin(patterns(2)).is_ok());
        let said = begin(patterns(40)).err().expect("forty at once");
        assert!(said.contains("pairs to intersect"), "{said}");
    }

    #[test]
    fn a_panic_of_the_compiler_is_a_refusal_without_source_paths() {
        let multiples =
            [0.999_999_1, 99_991.0, 7.777_73].map(|of| serde_json::json!({ "multipleOf": of }));
        let schema = serde_json::json!({ "type": "number", "allOf": multiples });
        let said = begin(ResponseFormat::JsonSchema(schema))
            .err()
            .expect("no such number");
        assert!(
            said.contains("refused") && !said.contains(".rs") && !said.contains('\n'),
            "{said}"
        );
    }

    #[test]
    fn opaque_errors_of_the_compiler_have_a_code_and_a_next_step() {
        let message = |schema: Value| {
            let refused = begin(ResponseFormat::JsonSchema(schema)).err();
            refused.expect("it is refused")
        };
        let loops = message(serde_json::json!({ "$ref": "#" }));
        assert!(loops.contains("no_valid_text: "), "{loops}");
        assert!(
            loops.contains("a $ref that leads only back to itself"),
            "{loops}"
        );
        let huge = [5_000_000_000_000_000_000, i64::MIN];
        for minimum in huge {
            let said = message(serde_json::json!({ "type": "integer", "minimum": minimum }));
            assert!(said.contains("number_out_of_range: "), "{said}");
        }
        let unknown = message(serde_json::json!({ "$ref": "#/$defs/absent" }));
        assert!(unknown.contains("invalid_format: "), "{unknown}");
    }
}
