//! Chat templates: from the messages of a chat to one prompt, by the Jinja template of the model's folder, with the
//! functions that Hugging Face gives such templates. A template sees no clock, and one that loops ends.

use super::super::model_folder::ModelFolder;
use super::large_stack::{STACK_BYTES, run_on_large_stack};
use crate::memory_budget::MemoryBudget;
use crate::sys::signal::while_rendering;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, context};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// Most steps of a template. One for a chat takes some dozen for each message, and a request holds some two thousand
/// messages at most.
const FUEL: u64 = 400_000;

/// Each step may nest a value once more, and a value takes 0.8 KiB a level when it is written out or dropped.
const _: () = assert!(STACK_BYTES as u64 > FUEL * 1024);

/// Most bytes of memory of one rendering.
const RENDER_BYTES: u64 = 256 << 20;

/// The name of the template in its environment, and in messages.
const TEMPLATE_NAME: &str = "chat_template";

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChatMessage {
    pub(crate) role: String,
    pub(crate) content: String,
}

/// The chat template of a model.
pub(crate) struct ChatTemplate(Arc<CompiledTemplate>);

struct CompiledTemplate {
    environment: Environment<'static>,
    bos_token: Option<String>,
    eos_token: Option<String>,
}

impl ChatTemplate {
    /// Reads the template of a folder; `None` if it has none, as base models do.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub(crate) fn read(folder: &ModelFolder<'_>) -> Result<Option<ChatTemplate>, String> {
        let config = folder.object("tokenizer_config.json")?;
        let (file, source) = match folder.text("chat_template.jinja")? {
            Some(source) => ("chat_template.jinja", source.to_owned()),
            None => match source_of(&config)? {
                Some(source) => ("tokenizer_config.json", source),
                None => return Ok(None),
            },
        };
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| error.to_string())?);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<String, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment
            .add_template_owned(TEMPLATE_NAME, strip_generation_tags(&source))
            .map_err(|error| {
                format!(
                    "its chat template in {file} is invalid: {}",
                    describe_error(&error)
                )
            })?;
        Ok(Some(ChatTemplate(Arc::new(CompiledTemplate {
            environment,
            bos_token: token_text(&config, "bos_token"),
            eos_token: token_text(&config, "eos_token"),
        }))))
    }

    /// The special tokens that the tokenizer's configuration names.
    pub(crate) fn special_tokens(&self) -> impl Iterator<Item = &str> {
        self.0
            .bos_token
            .iter()
            .chain(&self.0.eos_token)
            .map(String::as_str)
    }

    /// The prompt for the answer to a chat.
    ///
    /// # Errors
    /// When the template raises an exception or takes too many steps.
    pub(crate) fn render(&self, messages: Vec<ChatMessage>) -> Result<String, String> {
        let template = Arc::clone(&self.0);
        run_on_large_stack(move || template.render(&messages)).and_then(|rendered| rendered)
    }
}

impl CompiledTemplate {
    /// Recurses as deep as the template's macros do.
    fn render(&self, messages: &[ChatMessage]) -> Result<String, String> {
        let message = |message: &ChatMessage| {
            let pairs = [("role", &message.role), ("content", &message.content)];
            Value::from_pairs(pairs.map(|(key, text)| (key, text.as_str())))
        };
        let messages: Vec<Value> = messages.iter().map(message).collect();
        let values = context! {
            messages => messages,
            add_generation_prompt => true,
            bos_token => self.bos_token.as_deref().unwrap_or_default(),
            eos_token => self.eos_token.as_deref().unwrap_or_default(),
        };
        let template = self.environment.get_template(TEMPLATE_NAME);
        // Few steps can double a text often enough to fill any memory. Beyond the budget this host aborts, and the
        // supervisor abandons the request.
        let render = || template.and_then(|template| template.render(values));
        let rendered = while_rendering(|| MemoryBudget::new(RENDER_BYTES).enforce(render));
        rendered.map_err(|error| match error.kind() {
            ErrorKind::OutOfFuel => {
                format!("the model's chat template does not end within {FUEL} steps; send fewer messages, or prompt")
            }
            _ => format!(
                "the model's chat template refuses the messages: {}",
                describe_error(&error)
            ),
        })
    }
}

/// The template in a tokenizer's configuration: one, or several by name.
fn source_of(config: &Map<String, Json>) -> Result<Option<String>, String> {
    match config.get("chat_template") {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(source)) => Ok(Some(source.clone())),
        Some(Json::Array(several)) => {
            let is_default =
                |entry: &&Json| entry.get("name").and_then(Json::as_str) == Some("default");
            let chosen = several.iter().find(is_default).or(several.first());
            Ok(chosen
                .and_then(|entry| entry.get("template"))
                .and_then(Json::as_str)
                .map(str::to_owned))
        }
        Some(_) => Err(
            "its tokenizer_config.json has a chat_template that is neither a string nor a list"
                .to_owned(),
        ),
    }
}

/// The text of a token, which these files write as a string or as an object with `content`.
fn token_text(config: &Map<String, Json>, key: &str) -> Option<String> {
    let value = config.get(key)?;
    let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
    Some(text.to_owned())
}

/// The source without the tags around an assistant's answer, which are for training and not part of Jinja.
fn strip_generation_tags(source: &str) -> String {
    let mut source = source.to_owned();
    for word in ["generation", "endgeneration"] {
        for (left, right) in [("{%", "%}"), ("{%-", "%}"), ("{%", "-%}"), ("{%-", "-%}")] {
            source = source.replace(&format!("{left} {word} {right}"), "");
        }
    }
    source
}

/// The message of a template error, with its line.
fn describe_error(error: &Error) -> String {
    let detail = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("line {line}: {detail}"),
        None => detail,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::bundle_with;
    use super::*;

    fn template(config: &str) -> Result<Option<ChatTemplate>, String> {
        let bytes = bundle_with(
            "model.onnx",
            &[("tokenizer_config.json", Some(config.as_bytes()))],
        );
        ChatTemplate::read(&ModelFolder::open(&bytes).expect("a bundle"))
    }

    fn rendered(source: &str) -> Result<String, String> {
        let config =
            serde_json::json!({ "chat_template": source, "eos_token": "</s>" }).to_string();
        let message = |role: &str, content: &str| ChatMessage {
            role: role.to_owned(),
            content: content.to_owned(),
        };
        let template = template(&config)?.expect("it has one");
        template.render(vec![
            message("system", "Be brief."),
            message("user", " Hello "),
        ])
    }

    #[test]
    fn messages_are_rendered_as_in_python() {
        let said = rendered(
            "{% for message in messages %}\n{{ message['role'].upper() + ': ' + message['content'].strip() + \
             eos_token }}\n\
             {% endfor %}\n{% generation %}{% if add_generation_prompt %}A:{% endif %}{% endgeneration %}",
        );
        assert_eq!(
            said.as_deref(),
            Ok("SYSTEM: Be brief.</s>\nUSER: Hello</s>\nA:")
        );
        assert_eq!(
            rendered("{% if strftime_now is defined %}clock{% endif %}-{{ tools is none }}")
                .as_deref(),
            Ok("-False")
        );
    }

    #[test]
    fn a_template_that_loops_ends() {
        let said = rendered(
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ a * b }}{% endfor %}{% endfor %}",
        );
        let said = said.expect_err("it takes a hundred million steps");
        assert!(said.contains("does not end within"), "{said}");
    }

    #[test]
    fn deep_macros_and_values_do_not_end_the_process() {
        let said = rendered("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}");
        let said = said.expect_err("it calls itself for ever");
        assert!(said.contains("recursion limit exceeded"), "{said}");
        let nested = |times: usize| {
            let (open, shut) = ("[".repeat(40), "]".repeat(40));
            rendered(&format!(
                "{{% set ns = namespace(x=1) %}}{{% for i in range({times}) %}}{{% set ns.x = {open}ns.x{shut} %}}\
                 {{% endfor %}}{{{{ ns.x }}}}"
            ))
        };
        assert_eq!(nested(8_000).map(|text| text.len()), Ok(640_001));
        let said = nested(9_999).expect_err("it takes too many steps");
        assert!(said.contains("does not end within"), "{said}");
    }

    #[test]
    fn an_exception_of_a_template_is_reported() {
        let said =
            rendered("{{ raise_exception('roles must alternate') }}").expect_err("it refuses");
        assert!(
            said.contains("refuses the messages") && said.contains("roles must alternate"),
            "{said}"
        );
        let said = rendered("{{ strftime_now('%d') }}").expect_err("there is no clock");
        assert!(said.contains("strftime_now"), "{said}");
    }

    #[test]
    fn an_invalid_template_is_named_with_file_and_line() {
        let said = rendered("a\n{% if %}").expect_err("it is invalid");
        assert!(
            said.contains("chat template in tokenizer_config.json is invalid: line 2"),
            "{said}"
        );
    }

    #[test]
    fn the_default_of_several_templates_is_taken() {
        let config = r#"{"chat_template": [{"name": "tools", "template": "no"},
            {"name": "default", "template": "yes"}]}"#;
        let said = template(config)
            .expect("it reads")
            .expect("it has one")
            .render(Vec::new());
        assert_eq!(said.as_deref(), Ok("yes"));
        assert!(template("{}").expect("it reads").is_none());
        assert!(template(r#"{"chat_template": 3}"#).is_err());
    }
}
