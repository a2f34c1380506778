//! A chat as one prompt: the folder's template, in Jinja, with what Hugging Face
//! gives such templates. There is no clock in it, and one that loops ends.

use super::super::folder::Folder;
use super::worker::on_large_stack;
use crate::allowance::Allowance;
use crate::sys::signal::rendering;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, context};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// Steps that a template may take. One for a chat takes some dozen for each message, and a request holds some two thousand
/// messages at most. Each step may nest a value once more, which the stack of [`worker`](super::worker) is sized for.
pub(super) const FUEL: u64 = 400_000;

/// Most bytes of memory that it may take.
const RENDER_BYTES: u64 = 256 << 20;

/// The name of the template within its own environment, and in messages.
const NAME: &str = "chat_template";

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::generator) struct Message {
    pub(in crate::generator) role: String,
    pub(in crate::generator) content: String,
}

/// The template of a folder.
pub(in crate::generator) struct Template(Arc<Parts>);

struct Parts {
    environment: Environment<'static>,
    first: Option<String>,
    last: Option<String>,
}

impl Template {
    /// Reads the template of a folder; `None` if it has none, as models that only go on with a text do.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub(in crate::generator) fn read(folder: &Folder<'_>) -> Result<Option<Template>, String> {
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
            .add_template_owned(NAME, without_marks(&source))
            .map_err(|error| format!("its chat template in {file} is broken: {}", told(&error)))?;
        Ok(Some(Template(Arc::new(Parts {
            environment,
            first: text_of(&config, "bos_token"),
            last: text_of(&config, "eos_token"),
        }))))
    }

    /// Tokens that the settings name, each of which the tokenizer of the same model has.
    pub(in crate::generator) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.first.iter().chain(&self.0.last).map(String::as_str)
    }

    /// The prompt that asks for the answer to a chat.
    ///
    /// # Errors
    /// What the template says against it.
    pub(in crate::generator) fn render(&self, messages: Vec<Message>) -> Result<String, String> {
        let parts = Arc::clone(&self.0);
        on_large_stack(move || parts.render(&messages)).and_then(|rendered| rendered)
    }
}

impl Parts {
    /// Calls itself as deep as the template's macros do.
    fn render(&self, messages: &[Message]) -> Result<String, String> {
        let message = |message: &Message| {
            let pairs = [("role", &message.role), ("content", &message.content)];
            Value::from_pairs(pairs.map(|(key, text)| (key, text.as_str())))
        };
        let messages: Vec<Value> = messages.iter().map(message).collect();
        let values = context! {
            messages => messages,
            add_generation_prompt => true,
            bos_token => self.first.as_deref().unwrap_or_default(),
            eos_token => self.last.as_deref().unwrap_or_default(),
        };
        let template = self.environment.get_template(NAME);
        // Few steps can double a text often enough to fill any memory. At its limit this host ends, and what was asked
        // is given up on.
        let render = || template.and_then(|template| template.render(values));
        let rendered = rendering(|| Allowance::new(RENDER_BYTES).within(render));
        rendered.map_err(|error| match error.kind() {
            ErrorKind::OutOfFuel => {
                format!("the model's chat template does not end within {FUEL} steps")
            }
            _ => format!(
                "the model's chat template refuses the messages: {}",
                told(&error)
            ),
        })
    }
}

/// The template in a tokenizer's settings: one, or several by name.
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
            "its tokenizer_config.json has a chat_template that is neither text nor a list"
                .to_owned(),
        ),
    }
}

/// A token as these files write it: as text, or as an object around its text.
fn text_of(config: &Map<String, Json>, key: &str) -> Option<String> {
    let value = config.get(key)?;
    let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
    Some(text.to_owned())
}

/// The marks around what an assistant has said are for training, and no part of Jinja.
fn without_marks(source: &str) -> String {
    let mut source = source.to_owned();
    for word in ["generation", "endgeneration"] {
        for (left, right) in [("{%", "%}"), ("{%-", "%}"), ("{%", "-%}"), ("{%-", "-%}")] {
            source = source.replace(&format!("{left} {word} {right}"), "");
        }
    }
    source
}

/// An error of a template with its line.
fn told(error: &Error) -> String {
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
    use super::super::super::testing::packed;
    use super::*;

    fn template(config: &str) -> Result<Option<Template>, String> {
        let bytes = packed(
            "model.onnx",
            &[("tokenizer_config.json", Some(config.as_bytes()))],
        );
        Template::read(&Folder::open(&bytes).expect("a pack"))
    }

    fn rendered(source: &str) -> Result<String, String> {
        let config =
            serde_json::json!({ "chat_template": source, "eos_token": "</s>" }).to_string();
        let message = |role: &str, content: &str| Message {
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
    fn messages_become_a_prompt_in_the_manner_of_python() {
        let said = rendered(
            "{% for message in messages %}\n{{ message['role'].upper() + ': ' + message['content'].strip() + eos_token }}\n\
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
    fn macros_and_values_may_go_deep_without_an_end_of_the_process() {
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
    fn what_a_template_says_against_it_is_passed_on() {
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
    fn a_broken_template_is_named_with_file_and_line() {
        let said = rendered("a\n{% if %}").expect_err("it is broken");
        assert!(
            said.contains("chat template in tokenizer_config.json is broken: line 2"),
            "{said}"
        );
    }

    #[test]
    fn of_several_templates_the_default_is_taken() {
        let config = r#"{"chat_template": [{"name": "tools", "template": "no"}, {"name": "default", "template": "yes"}]}"#;
        let said = template(config)
            .expect("it reads")
            .expect("it has one")
            .render(Vec::new());
        assert_eq!(said.as_deref(), Ok("yes"));
        assert!(template("{}").expect("it reads").is_none());
        assert!(template(r#"{"chat_template": 3}"#).is_err());
    }
}
