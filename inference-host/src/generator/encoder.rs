//! An encoder as a model of this host: a text goes in, one list of numbers comes
//! out. Each text runs alone, so it is what it is whoever else asks.

use super::folder::Folder;
use super::settings::Settings;
use super::text::request::{Request, Task};
use super::text::words::Words;
use crate::backend::Model;
use crate::sys::tensor::TensorView;
use serde_json::Value;
use shm_protocol::generation::{DecodeRequest, Delta, Deltas, Finish, Sequence};
use shm_protocol::tensor::{DType, Shape};

/// How the numbers of the tokens become those of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pooling {
    /// Their mean.
    Mean,
    /// Those of the first.
    First,
    /// Those of the last.
    Last,
    /// The graph has done it.
    Done,
}

/// An encoder.
pub(super) struct Encoder {
    model: Box<dyn Model>,
    words: Words,
    settings: Settings,
    context: usize,
    output: usize,
    pooling: Pooling,
    normalises: bool,
}

impl Encoder {
    /// An encoder, if the graph has an output of that kind.
    ///
    /// # Errors
    /// Names what is not understood.
    pub(super) fn new(
        model: Box<dyn Model>,
        folder: &Folder<'_>,
        words: Words,
        settings: Settings,
        context: usize,
    ) -> Result<Encoder, String> {
        let outputs = &model.signature().outputs;
        let named = |name: &str| outputs.iter().position(|port| port.name == name);
        let pooled = named("sentence_embedding").map(|output| (output, Pooling::Done));
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
                    "its graph has neither past_key_values, as what writes text has, nor an output last_hidden_state or \
                     sentence_embedding, as what makes embeddings has; its outputs are {}",
                    names.join(", ")
                ));
            }
        };
        if outputs[output].dtype != DType::F32 {
            return Err(format!(
                "its graph gives {}, and embeddings are f32",
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
                    "its graph has an input {port}, and what belongs there is unknown"
                ));
            }
        }
        // A graph that pools has made the length one already, if that is wanted.
        let normalises = pooling != Pooling::Done && says_normalise(folder)?;
        Ok(Encoder {
            model,
            words,
            settings,
            context,
            output,
            pooling,
            normalises,
        })
    }

    /// Does what an order says.
    pub(super) fn answer(&mut self, order: &DecodeRequest) -> Deltas {
        Deltas(
            order
                .sequences
                .iter()
                .map(|sequence| self.embed(sequence))
                .collect(),
        )
    }

    fn embed(&mut self, sequence: &Sequence) -> Result<Delta, String> {
        let request = Request::read(&sequence.asked, &self.settings.sampling)?;
        let Task::Embed(text) = &request.task else {
            return Err("the model makes embeddings and writes no text; ask with input instead of prompt or messages".to_owned());
        };
        let tokens = self.words.encode(text, true)?;
        if tokens.is_empty() {
            return Err("the input is empty; the model needs at least one token".to_owned());
        }
        if tokens.len() > self.context {
            return Err(format!(
                "the input has {} tokens, and the model holds {}; shorten it",
                tokens.len(),
                self.context
            ));
        }
        let embedding = self.run(&tokens)?;
        if let Some(value) = embedding.iter().find(|value| !value.is_finite()) {
            return Err(format!(
                "the model gives {value} in an embedding; its weights or its precision are at fault"
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

    fn run(&mut self, tokens: &[u32]) -> Result<Vec<f32>, String> {
        let shape = Shape::new(&[1, tokens.len() as u64]).map_err(|error| error.to_string())?;
        let inputs: Vec<Vec<u8>> = self
            .model
            .signature()
            .inputs
            .iter()
            .map(|port| {
                let number = |token: &u32| match port.name.as_str() {
                    "input_ids" => i64::from(*token),
                    "attention_mask" => 1,
                    _ => 0,
                };
                tokens
                    .iter()
                    .flat_map(|token| number(token).to_le_bytes())
                    .collect()
            })
            .collect();
        let views = inputs
            .iter()
            .map(|bytes| TensorView::of_slice(DType::I64, shape, bytes));
        let views: Vec<TensorView<'_>> = views
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        self.model
            .run(&views, &mut [])
            .map_err(|error| error.to_string())?;
        let given = self
            .model
            .given(self.output)
            .map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        given.copy_to(&mut bytes);
        let numbers: Vec<f32> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|four| f32::from_le_bytes(*four))
            .collect();
        let width = given
            .shape()
            .dims()
            .last()
            .and_then(|width| usize::try_from(*width).ok())
            .unwrap_or(0);
        if width == 0
            || !numbers.len().is_multiple_of(width)
            || (self.pooling == Pooling::Done && numbers.len() != width)
        {
            return Err(format!(
                "the model gives an embedding of shape {:?}",
                given.shape()
            ));
        }
        let mut pooled = pool(&numbers, width, self.pooling);
        if self.normalises {
            normalise(&mut pooled);
        }
        Ok(pooled)
    }
}

fn pool(numbers: &[f32], width: usize, pooling: Pooling) -> Vec<f32> {
    let mut rows = numbers.chunks(width);
    match pooling {
        Pooling::Mean => {
            let count = rows.len();
            let mut sums = vec![0.0_f64; width];
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
        Pooling::Last => rows.next_back().unwrap_or_default().to_vec(),
        Pooling::First | Pooling::Done => rows.next().unwrap_or_default().to_vec(),
    }
}

fn normalise(numbers: &mut [f32]) {
    let length = libm::sqrt(
        numbers
            .iter()
            .map(|number| f64::from(*number) * f64::from(*number))
            .sum(),
    );
    if length > 0.0 {
        #[allow(clippy::cast_possible_truncation, reason = "at most one")]
        numbers
            .iter_mut()
            .for_each(|number| *number = (f64::from(*number) / length) as f32);
    }
}

/// What the folder's `1_Pooling/config.json`, that of Sentence Transformers, says; the mean if there is none.
fn pooling(folder: &Folder<'_>) -> Result<Pooling, String> {
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
            "its file {file} asks for {key}; known are {}",
            known.join(", ")
        )),
        None if says("pooling_mode_cls_token") => Ok(Pooling::First),
        None if says("pooling_mode_lasttoken") => Ok(Pooling::Last),
        None => Ok(Pooling::Mean),
    }
}

/// Whether `modules.json`, that of Sentence Transformers, has a step that makes the length one.
fn says_normalise(folder: &Folder<'_>) -> Result<bool, String> {
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
    fn tokens_become_one_embedding() {
        let numbers = [1.0, 2.0, 3.0, 6.0];
        assert_eq!(pool(&numbers, 2, Pooling::Mean), [2.0, 4.0]);
        assert_eq!(pool(&numbers, 2, Pooling::First), [1.0, 2.0]);
        assert_eq!(pool(&numbers, 2, Pooling::Last), [3.0, 6.0]);
        let mut vector = [3.0, 4.0];
        normalise(&mut vector);
        assert_eq!(vector.map(f32::to_bits), [0.6_f32, 0.8].map(f32::to_bits));
        normalise(&mut [0.0; 2]);
    }
}
