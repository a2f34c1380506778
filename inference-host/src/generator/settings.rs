//! What the JSON files of a folder say about its model: its limits, its ends,
//! and how it likes to be sampled. Both layouts lead to the same settings: that
//! of Hugging Face (`config.json`, `generation_config.json`) and that of
//! onnxruntime-genai (`genai_config.json`).

use super::folder::Folder;
use serde_json::{Map, Value};

/// How tokens are drawn, unless a request says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sampling {
    pub(super) temperature: f32,
    pub(super) top_k: usize,
    pub(super) top_p: f32,
    pub(super) min_p: f32,
    pub(super) repetition_penalty: f32,
}

/// The names of a graph's inputs and outputs; `%d` stands for the number of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) input_ids: String,
    pub(super) attention_mask: String,
    pub(super) position_ids: String,
    pub(super) logits: String,
    /// Past and present of keys, and of values.
    pub(super) caches: [(String, String); 2],
}

/// What is known of a model beside its graph.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    /// Most tokens of a sequence.
    pub(super) context: Option<u32>,
    /// Tokens that end a text.
    pub(super) ends: Vec<u32>,
    /// Words that the model has, if a file says so.
    pub(super) vocabulary: Option<u64>,
    /// Heads of keys and values, and numbers of each.
    pub(super) heads: Option<u64>,
    pub(super) width: Option<u64>,
    pub(super) names: Names,
    pub(super) sampling: Sampling,
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub(super) fn read(folder: &Folder<'_>) -> Result<Settings, String> {
        let genai = folder.object("genai_config.json")?;
        if genai.is_empty() {
            of_hugging_face(folder)
        } else {
            of_genai(&genai)
        }
    }
}

fn of_hugging_face(folder: &Folder<'_>) -> Result<Settings, String> {
    let config = folder.object("config.json")?;
    let generation = folder.object("generation_config.json")?;
    let text = config.get("text_config").and_then(Value::as_object);
    let config = text.unwrap_or(&config);
    let first = |keys: &[&str]| keys.iter().find_map(|key| number(config, key));
    let context = first(&[
        "max_position_embeddings",
        "n_positions",
        "n_ctx",
        "max_sequence_length",
        "seq_length",
    ]);
    let hidden = first(&["hidden_size", "n_embd", "d_model"]);
    let heads = first(&["num_attention_heads", "n_head", "num_heads"]);
    let ends = match tokens(&generation, "eos_token_id") {
        ends if ends.is_empty() => tokens(config, "eos_token_id"),
        ends => ends,
    };
    Ok(Settings {
        context: context.and_then(|context| u32::try_from(context).ok()),
        ends,
        vocabulary: number(config, "vocab_size"),
        heads: number(config, "num_key_value_heads").or(heads),
        width: number(config, "head_dim").or_else(|| hidden?.checked_div(heads?)),
        names: Names::default(),
        sampling: sampling("generation_config.json", &generation)?,
    })
}

fn of_genai(whole: &Map<String, Value>) -> Result<Settings, String> {
    let object =
        |of: &Map<String, Value>, key: &str| of.get(key).and_then(Value::as_object).cloned();
    let missing = |what: &str| format!("its file genai_config.json has no object {what}");
    let model = object(whole, "model").ok_or_else(|| missing("model"))?;
    let decoder = object(&model, "decoder").ok_or_else(|| missing("model.decoder"))?;
    let inputs = object(&decoder, "inputs").ok_or_else(|| missing("model.decoder.inputs"))?;
    let outputs = object(&decoder, "outputs").ok_or_else(|| missing("model.decoder.outputs"))?;
    let heads = number(&decoder, "num_attention_heads");
    let usual = Names::default();
    let named = |of: &Map<String, Value>, key: &str, usual: &str| {
        of.get(key)
            .and_then(Value::as_str)
            .unwrap_or(usual)
            .to_owned()
    };
    let [keys, values] = &usual.caches;
    let cache = |past: &str, present: &str, usual: &(String, String)| {
        (
            named(&inputs, past, &usual.0),
            named(&outputs, present, &usual.1),
        )
    };
    let names = Names {
        input_ids: named(&inputs, "input_ids", &usual.input_ids),
        attention_mask: named(&inputs, "attention_mask", &usual.attention_mask),
        position_ids: named(&inputs, "position_ids", &usual.position_ids),
        logits: named(&outputs, "logits", &usual.logits),
        caches: [
            cache("past_key_names", "present_key_names", keys),
            cache("past_value_names", "present_value_names", values),
        ],
    };
    let search = object(whole, "search").unwrap_or_default();
    Ok(Settings {
        context: number(&model, "context_length").and_then(|context| u32::try_from(context).ok()),
        ends: tokens(&model, "eos_token_id"),
        vocabulary: number(&model, "vocab_size"),
        heads: number(&decoder, "num_key_value_heads").or(heads),
        width: number(&decoder, "head_size")
            .or_else(|| number(&decoder, "hidden_size")?.checked_div(heads?)),
        names,
        sampling: sampling("genai_config.json", &search)?,
    })
}

impl Default for Names {
    fn default() -> Names {
        let cache = |part: &str| {
            (
                format!("past_key_values.%d.{part}"),
                format!("present.%d.{part}"),
            )
        };
        Names {
            input_ids: "input_ids".to_owned(),
            attention_mask: "attention_mask".to_owned(),
            position_ids: "position_ids".to_owned(),
            logits: "logits".to_owned(),
            caches: [cache("key"), cache("value")],
        }
    }
}

/// Without `do_sample` the most likely token is taken each time, as these files mean it.
fn sampling(file: &str, of: &Map<String, Value>) -> Result<Sampling, String> {
    let real = |key: &str, usual: f64, fits: fn(f64) -> bool| match of.get(key) {
        None | Some(Value::Null) => Ok(usual),
        Some(value) => value
            .as_f64()
            .filter(|number| fits(*number))
            .ok_or_else(|| format!("its file {file} has {value} as {key}, which is out of range")),
    };
    let samples = of
        .get("do_sample")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let temperature = real("temperature", 1.0, |value| (0.0..=100.0).contains(&value))?;
    #[allow(clippy::cast_possible_truncation, reason = "settings of a few digits")]
    let single = |value: f64| value as f32;
    Ok(Sampling {
        temperature: if samples { single(temperature) } else { 0.0 },
        top_k: usize::try_from(number(of, "top_k").unwrap_or(0)).unwrap_or(0),
        top_p: single(real("top_p", 1.0, |value| value > 0.0 && value <= 1.0)?),
        min_p: single(real("min_p", 0.0, |value| (0.0..=1.0).contains(&value))?),
        repetition_penalty: single(real("repetition_penalty", 1.0, |value| {
            value > 0.0 && value <= 100.0
        })?),
    })
}

fn number(of: &Map<String, Value>, key: &str) -> Option<u64> {
    of.get(key).and_then(Value::as_u64)
}

/// One token or a list of them.
fn tokens(of: &Map<String, Value>, key: &str) -> Vec<u32> {
    let token = |value: &Value| value.as_u64().and_then(|token| u32::try_from(token).ok());
    match of.get(key) {
        Some(Value::Array(several)) => several.iter().filter_map(token).collect(),
        Some(one) => token(one).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::bundle::bundle;

    fn read(files: &[(&str, &str)]) -> Result<Settings, String> {
        let graph = [("model.onnx".to_owned(), Vec::new())];
        let files = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
        let bytes = bundle(&graph.into_iter().chain(files).collect::<Vec<_>>());
        Settings::read(&Folder::open(&bytes).expect("a pack"))
    }

    #[test]
    fn a_generation_config_goes_before_a_config_and_samples_only_if_it_says_so() {
        let config =
            r#"{"n_positions": 64, "eos_token_id": 1, "n_embd": 32, "n_head": 4, "vocab_size": 9}"#;
        let said = read(&[("config.json", config)]).expect("settings");
        assert_eq!(
            (said.context, said.ends, said.width),
            (Some(64), vec![1], Some(8))
        );
        assert_eq!(said.sampling.temperature.to_bits(), 0.0_f32.to_bits());
        let generation =
            r#"{"eos_token_id": [2, 3], "temperature": 0.6, "top_k": 20, "do_sample": true}"#;
        let said = read(&[
            ("config.json", config),
            ("generation_config.json", generation),
        ]);
        let said = said.expect("settings");
        assert_eq!((said.ends, said.sampling.top_k), (vec![2, 3], 20));
        assert_eq!(said.sampling.temperature.to_bits(), 0.6_f32.to_bits());
    }

    #[test]
    fn a_setting_out_of_range_is_named_with_its_file() {
        let said =
            read(&[("generation_config.json", r#"{"top_p": 0}"#)]).expect_err("no mass at all");
        assert!(
            said.contains("generation_config.json has 0 as top_p"),
            "{said}"
        );
        let said = read(&[("genai_config.json", r#"{"model": {}}"#)]).expect_err("no decoder");
        assert!(said.contains("no object model.decoder"), "{said}");
    }
}
