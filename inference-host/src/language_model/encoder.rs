//! An encoder model: a text goes in, one embedding comes out. Each text runs alone, so its embedding does not depend on
//! other requests.

use super::model_config::ModelConfig;
use super::model_folder::ModelFolder;
use super::text::generation_request::{GenerationRequest, GenerationTask};
use super::text::tokenizer::ModelTokenizer;
use crate::backend::{Model, ModelRunError};
use crate::floats::floats;
use crate::sys::tensor::TensorView;
use serde_json::Value;
use shm_protocol::generation::{DecodeRequest, Delta, Deltas, Finish, Sequence};
use shm_protocol::tensor::{DType, Port, Shape};

/// The step from the embeddings of tokens to that of their text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pooling {
    /// The mean of all tokens.
    Mean,
    /// The first token.
    Cls,
    /// The last token.
    LastToken,
    /// Pooling is part of the graph.
    InGraph,
}

/// An encoder model.
pub(super) struct Encoder {
    model: Box<dyn Model>,
    tokenizer: ModelTokenizer,
    config: ModelConfig,
    context_length: usize,
    output: usize,
    pooling: Pooling,
    normalizes: bool,
}

impl Encoder {
    /// An encoder model, if the graph has an output with embeddings.
    ///
    /// # Errors
    /// Names the input, output or setting that is not supported.
    pub(super) fn new(
        model: Box<dyn Model>,
        folder: &ModelFolder<'_>,
        tokenizer: ModelTokenizer,
        config: ModelConfig,
        context_length: usize,
    ) -> Result<Encoder, String> {
        let outputs = &model.signature().outputs;
        let named = |name: &str| outputs.iter().position(|port| port.name == name);
        let pooled = named("sentence_embedding").map(|output| (output, Pooling::InGraph));
        let (output, pooling) = match (
            pooled,
            named("last_hidden_state"),
            named("token_embeddings"),
        ) {
            (Some(found), ..) => found,
            (_, Some(output), _) | (_, _, Some(output)) => (output, pooling(folder)?),
            _ => {
                let names: Vec<&str> = outputs.iter().map(|port| port.name.as_str()).collect();
                return Err(format!(
                    "its graph is neither a decoder (it has no input past_key_values) nor an encoder (it has no output \
                     last_hidden_state or sentence_embedding); its outputs are {}",
                    names.join(", ")
                ));
            }
        };
        if outputs[output].dtype != DType::F32 {
            return Err(format!(
                "its graph has an output {}, and embeddings must be f32",
                outputs[output]
            ));
        }
        for port in &model.signature().inputs {
            if !matches!(
                port.name.as_str(),
                "input_ids" | "attention_mask" | "token_type_ids"
            ) || port.dtype != DType::I64
            {
                return Err(format!(
                    "its graph has an input {port}, which is not supported in an encoder"
                ));
            }
        }
        // A graph with pooling also normalises, if that is wanted.
        let normalises = pooling != Pooling::InGraph && has_normalize_module(folder)?;
        Ok(Encoder {
            model,
            tokenizer,
            config,
            context_length,
            output,
            pooling,
            normalizes: normalises,
        })
    }

    /// The embedding of each sequence of a decode request.
    pub(super) fn embed_all(&mut self, request: &DecodeRequest) -> Deltas {
        Deltas(
            request
                .sequences
                .iter()
                .map(|sequence| self.embed(sequence))
                .collect(),
        )
    }

    fn embed(&mut self, sequence: &Sequence) -> Result<Delta, String> {
        let request = GenerationRequest::read(&sequence.asked, &self.config.sampling)?;
        let GenerationTask::Embed(text) = &request.task else {
            return Err("the model makes embeddings and generates no text; send input instead of prompt or \
                        messages".to_owned());
        };
        let tokens = self.tokenizer.encode(text, true)?;
        if tokens.is_empty() {
            return Err("the input is empty; send at least one token".to_owned());
        }
        if tokens.len() > self.context_length {
            return Err(format!(
                "the input has {} tokens, and the context of the model has {}; shorten it",
                tokens.len(),
                self.context_length
            ));
        }
        let (shape, values) = self.run(&tokens)?;
        let embedding = self.pooled(shape, &values)?;
        if let Some(value) = embedding.iter().find(|value| !value.is_finite()) {
            return Err(format!(
                "the model computed {value} in an embedding; check its weights and its precision"
            ));
        }
        Ok(Delta {
            tokens: Vec::new(),
            text: String::new(),
            embedding,
            finish: Some(Finish::EndOfText),
            prompt_tokens: u32::try_from(tokens.len()).unwrap_or(u32::MAX),
        })
    }

    /// The output of the graph for these tokens, with its shape.
    fn run(&mut self, tokens: &[u32]) -> Result<(Shape, Vec<f32>), ModelRunError> {
        let shape = Shape::new(&[1, tokens.len() as u64])?;
        let values = |port: &Port| -> Vec<u8> {
            let value = |token: &u32| match port.name.as_str() {
                "input_ids" => i64::from(*token),
                "attention_mask" => 1,
                _ => 0,
            };
            let values = tokens.iter().map(value);
            values.flat_map(i64::to_le_bytes).collect()
        };
        let ports = &self.model.signature().inputs;
        let inputs: Vec<Vec<u8>> = ports.iter().map(values).collect();
        let views = inputs
            .iter()
            .map(|bytes| TensorView::of_slice(DType::I64, shape, bytes))
            .collect::<Result<Vec<_>, _>>()?;
        self.model.run(&views, &mut [])?;
        let output = self.model.output(self.output)?;
        let mut bytes = Vec::new();
        output.copy_to(&mut bytes);
        Ok((*output.shape(), floats(DType::F32, &bytes)))
    }

    fn pooled(&self, shape: Shape, values: &[f32]) -> Result<Vec<f32>, String> {
        let dimensions = shape.dims().last();
        let dimensions = dimensions.and_then(|dimensions| usize::try_from(*dimensions).ok());
        let dimensions = dimensions.filter(|dimensions| {
            values.len().is_multiple_of(*dimensions)
                && *dimensions > 0
                && (self.pooling != Pooling::InGraph || values.len() == *dimensions)
        });
        let dimensions = dimensions.ok_or_else(|| {
            format!(
                "the model computed an embedding of shape {shape:?}, which its pooling does not support; check \
                 1_Pooling/config.json"
            )
        })?;
        let mut pooled = pool(values, dimensions, self.pooling);
        if self.normalizes {
            normalize(&mut pooled);
        }
        Ok(pooled)
    }
}

fn pool(values: &[f32], dimensions: usize, pooling: Pooling) -> Vec<f32> {
    let mut rows = values.chunks(dimensions);
    match pooling {
        Pooling::Mean => {
            let count = rows.len();
            let mut sums = vec![0.0_f64; dimensions];
            for row in rows {
                sums.iter_mut()
                    .zip(row)
                    .for_each(|(sum, value)| *sum += f64::from(*value));
            }
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                reason = "a mean of few numbers"
            )]
            sums.into_iter()
                .map(|sum| (sum / count as f64) as f32)
                .collect()
        }
        Pooling::LastToken => rows.next_back().unwrap_or_default().to_vec(),
        Pooling::Cls | Pooling::InGraph => rows.next().unwrap_or_default().to_vec(),
    }
}

fn normalize(values: &mut [f32]) {
    let length = libm::sqrt(
        values
            .iter()
            .map(|number| f64::from(*number) * f64::from(*number))
            .sum(),
    );
    if length > 0.0 {
        #[allow(clippy::cast_possible_truncation, reason = "at most one")]
        values
            .iter_mut()
            .for_each(|number| *number = (f64::from(*number) / length) as f32);
    }
}

/// The pooling in `1_Pooling/config.json` of Sentence Transformers; the mean if there is no such file.
fn pooling(folder: &ModelFolder<'_>) -> Result<Pooling, String> {
    let file = "1_Pooling/config.json";
    let config = folder.object(file)?;
    let says = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    let known = [
        "pooling_mode_mean_tokens",
        "pooling_mode_cls_token",
        "pooling_mode_lasttoken",
    ];
    let other = config
        .keys()
        .find(|key| key.starts_with("pooling_mode") && says(key) && !known.contains(&key.as_str()));
    match other {
        Some(key) => Err(format!(
            "its file {file} has {key}, which is not supported; supported are {}",
            known.join(", ")
        )),
        None if says("pooling_mode_cls_token") => Ok(Pooling::Cls),
        None if says("pooling_mode_lasttoken") => Ok(Pooling::LastToken),
        None => Ok(Pooling::Mean),
    }
}

/// True if `modules.json` of Sentence Transformers has a step that normalises to length one.
fn has_normalize_module(folder: &ModelFolder<'_>) -> Result<bool, String> {
    let modules = folder.json("modules.json")?;
    let modules = modules
        .as_ref()
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let kind = |module: &Value| Some(module.get("type")?.as_str()?.ends_with("Normalize"));
    Ok(modules.iter().any(|module| kind(module) == Some(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_makes_one_embedding_of_tokens() {
        let values = [1.0, 2.0, 3.0, 6.0];
        assert_eq!(pool(&values, 2, Pooling::Mean), [2.0, 4.0]);
        assert_eq!(pool(&values, 2, Pooling::Cls), [1.0, 2.0]);
        assert_eq!(pool(&values, 2, Pooling::LastToken), [3.0, 6.0]);
        let mut vector = [3.0, 4.0];
        normalize(&mut vector);
        assert_eq!(vector.map(f32::to_bits), [0.6_f32, 0.8].map(f32::to_bits));
        normalize(&mut [0.0; 2]);
    }
}
