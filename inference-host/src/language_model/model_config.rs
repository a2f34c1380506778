//! The configuration of a language model, from the JSON files of its folder: context length, end-of-text tokens and
//! sampling parameters. Both layouts are read: that of Hugging Face (`config.json`, `generation_config.json`) and that
//! of onnxruntime-genai (`genai_config.json`).

use super::model_folder::ModelFolder;
use serde_json::{Map, Value};

/// Sampling parameters, unless a request says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SamplingParams {
    pub(super) temperature: f32,
    pub(super) top_k: usize,
    pub(super) top_p: f32,
    pub(super) min_p: f32,
    pub(super) repetition_penalty: f32,
}

/// The names of a graph's inputs and outputs; `%d` stands for the number of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GraphNames {
    pub(super) input_ids: String,
    pub(super) attention_mask: String,
    pub(super) position_ids: String,
    pub(super) logits: String,
    /// Past and present names of the keys, and of the values.
    pub(super) past_present: [(String, String); 2],
}

/// The configuration of a model beside its graph.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ModelConfig {
    /// Most tokens of a sequence, prompt included.
    pub(super) context_length: Option<u32>,
    /// Tokens that end a sequence.
    pub(super) eos_token_ids: Vec<u32>,
    /// Size of the vocabulary, if a file says so.
    pub(super) vocab_size: Option<u64>,
    /// Heads of keys and values, and the size of each.
    pub(super) kv_heads: Option<u64>,
    pub(super) head_dim: Option<u64>,
    pub(super) graph_names: GraphNames,
    pub(super) sampling: SamplingParams,
}

impl ModelConfig {
    /// Reads the configuration of a folder.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub(super) fn read(folder: &ModelFolder<'_>) -> Result<ModelConfig, String> {
        let genai = folder.object("genai_config.json")?;
        if genai.is_empty() {
            from_hugging_face(folder)
        } else {
            from_genai(&genai)
        }
    }
}

fn from_hugging_face(folder: &ModelFolder<'_>) -> Result<ModelConfig, String> {
    let config = folder.object("config.json")?;
    let generation = folder.object("generation_config.json")?;
    let text = config.get("text_config").and_then(Value::as_object);
    let config = text.unwrap_or(&config);
    let first = |keys: &[&str]| keys.iter().find_map(|key| number(config, key));
    let context_length = first(&[
        "max_position_embeddings",
        "n_positions",
        "n_ctx",
        "max_sequence_length",
        "seq_length",
    ]);
    let hidden = first(&["hidden_size", "n_embd", "d_model"]);
    let heads = first(&["num_attention_heads", "n_head", "num_heads"]);
    let eos_token_ids = match tokens(&generation, "eos_token_id") {
        eos_token_ids if eos_token_ids.is_empty() => tokens(config, "eos_token_id"),
        eos_token_ids => eos_token_ids,
    };
    Ok(ModelConfig {
        context_length: context_length
            .and_then(|context_length| u32::try_from(context_length).ok()),
        eos_token_ids,
        vocab_size: number(config, "vocab_size"),
        kv_heads: number(config, "num_key_value_heads").or(heads),
        head_dim: number(config, "head_dim").or_else(|| hidden?.checked_div(heads?)),
        graph_names: GraphNames::default(),
        sampling: sampling_params("generation_config.json", &generation)?,
    })
}

fn from_genai(file: &Map<String, Value>) -> Result<ModelConfig, String> {
    let object =
        |of: &Map<String, Value>, key: &str| of.get(key).and_then(Value::as_object).cloned();
    let missing = |what: &str| {
        format!(
            "its file genai_config.json has no object {what}; write the folder again with the model builder of \
             onnxruntime-genai"
        )
    };
    let model = object(file, "model").ok_or_else(|| missing("model"))?;
    let decoder = object(&model, "decoder").ok_or_else(|| missing("model.decoder"))?;
    let inputs = object(&decoder, "inputs").ok_or_else(|| missing("model.decoder.inputs"))?;
    let outputs = object(&decoder, "outputs").ok_or_else(|| missing("model.decoder.outputs"))?;
    let heads = number(&decoder, "num_attention_heads");
    let default = GraphNames::default();
    let named = |of: &Map<String, Value>, key: &str, default: &str| {
        of.get(key)
            .and_then(Value::as_str)
            .unwrap_or(default)
            .to_owned()
    };
    let [keys, values] = &default.past_present;
    let cache = |past: &str, present: &str, default: &(String, String)| {
        (
            named(&inputs, past, &default.0),
            named(&outputs, present, &default.1),
        )
    };
    let names = GraphNames {
        input_ids: named(&inputs, "input_ids", &default.input_ids),
        attention_mask: named(&inputs, "attention_mask", &default.attention_mask),
        position_ids: named(&inputs, "position_ids", &default.position_ids),
        logits: named(&outputs, "logits", &default.logits),
        past_present: [
            cache("past_key_names", "present_key_names", keys),
            cache("past_value_names", "present_value_names", values),
        ],
    };
    let search = object(file, "search").unwrap_or_default();
    Ok(ModelConfig {
        context_length: number(&model, "context_length")
            .and_then(|context_length| u32::try_from(context_length).ok()),
        eos_token_ids: tokens(&model, "eos_token_id"),
        vocab_size: number(&model, "vocab_size"),
        kv_heads: number(&decoder, "num_key_value_heads").or(heads),
        head_dim: number(&decoder, "head_size")
            .or_else(|| number(&decoder, "hidden_size")?.checked_div(heads?)),
        graph_names: names,
        sampling: sampling_params("genai_config.json", &search)?,
    })
}

impl Default for GraphNames {
    fn default() -> GraphNames {
        let cache = |part: &str| {
            (
                format!("past_key_values.%d.{part}"),
                format!("present.%d.{part}"),
            )
        };
        GraphNames {
            input_ids: "input_ids".to_owned(),
            attention_mask: "attention_mask".to_owned(),
            position_ids: "position_ids".to_owned(),
            logits: "logits".to_owned(),
            past_present: [cache("key"), cache("value")],
        }
    }
}

/// Without `do_sample` decoding is greedy, as these files define it.
fn sampling_params(file: &str, of: &Map<String, Value>) -> Result<SamplingParams, String> {
    let real = |key: &str, default: f64, is_valid: fn(f64) -> bool| match of.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value
            .as_f64()
            .filter(|number| is_valid(*number))
            .ok_or_else(|| {
                format!(
                    "its file {file} has {value} as {key}, which is out of range; correct the file"
                )
            }),
    };
    let samples = of
        .get("do_sample")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let temperature = real("temperature", 1.0, |value| (0.0..=100.0).contains(&value))?;
    #[allow(clippy::cast_possible_truncation, reason = "settings of a few digits")]
    let single = |value: f64| value as f32;
    Ok(SamplingParams {
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

/// One token or a list of tokens.
fn tokens(of: &Map<String, Value>, key: &str) -> Vec<u32> {
    let token = |value: &Value| value.as_u64().and_then(|token| u32::try_from(token).ok());
    match of.get(key) {
        Some(Value::Array(list)) => list.iter().filter_map(token).collect(),
        Some(one) => token(one).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::bundle::bundle;

    fn read(files: &[(&str, &str)]) -> Result<ModelConfig, String> {
        let graph = [("model.onnx".to_owned(), Vec::new())];
        let files = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
        let bytes = bundle(&graph.into_iter().chain(files).collect::<Vec<_>>());
        ModelConfig::read(&ModelFolder::open(&bytes).expect("a bundle"))
    }

    #[test]
    fn generation_config_overrides_config_and_do_sample_decides() {
        let config =
            r#"{"n_positions": 64, "eos_token_id": 1, "n_embd": 32, "n_head": 4, "vocab_size": 9}"#;
        let greedy = read(&[("config.json", config)]).expect("a configuration");
        assert_eq!(
            (greedy.context_length, greedy.eos_token_ids, greedy.head_dim),
            (Some(64), vec![1], Some(8))
        );
        assert_eq!(greedy.sampling.temperature.to_bits(), 0.0_f32.to_bits());
        let generation =
            r#"{"eos_token_id": [2, 3], "temperature": 0.6, "top_k": 20, "do_sample": true}"#;
        let config = read(&[
            ("config.json", config),
            ("generation_config.json", generation),
        ]);
        let config = config.expect("a configuration");
        assert_eq!(
            (config.eos_token_ids, config.sampling.top_k),
            (vec![2, 3], 20)
        );
        assert_eq!(config.sampling.temperature.to_bits(), 0.6_f32.to_bits());
    }

    #[test]
    fn a_value_out_of_range_is_named_with_its_file() {
        let config =
            read(&[("generation_config.json", r#"{"top_p": 0}"#)]).expect_err("no mass at all");
        assert!(
            config.contains("generation_config.json has 0 as top_p"),
            "{config}"
        );
        let config = read(&[("genai_config.json", r#"{"model": {}}"#)]).expect_err("no decoder");
        assert!(config.contains("no object model.decoder"), "{config}");
    }
}
