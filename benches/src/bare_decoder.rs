//! A decoder in this process, in the plain loop that people write with `ort`: the
//! keys and values that a step gives are those that the next one takes.

use crate::Trouble;
use crate::bare_model::BareEngine;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor};
use std::borrow::Cow;
use std::path::Path;

/// A decoder that writes one text.
pub struct BareDecoder {
    session: Session,
    /// Names of the keys and values that it takes, and the dimensions of an empty one.
    past: Vec<(String, Vec<i64>)>,
}

impl BareDecoder {
    /// The decoder of a folder, with the settings of the inference host.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn load(engine: &BareEngine, graph: &Path) -> Result<BareDecoder, Trouble> {
        let session = engine.session(&std::fs::read(graph)?)?;
        let shape = |input: &ort::value::Outlet| -> Vec<i64> {
            let dims = input.dtype().tensor_shape().map(|shape| shape.to_vec());
            // One text, and nothing of it yet.
            let mut dims = dims.unwrap_or_default();
            dims[0] = 1;
            dims[2] = 0;
            dims
        };
        let inputs = session.inputs().iter();
        let past = inputs.filter(|input| input.name().starts_with("past_key_values"));
        let past = past.map(|input| (input.name().to_owned(), shape(input)));
        Ok(BareDecoder {
            past: past.collect(),
            session,
        })
    }

    /// Feeds a prompt, then takes the likeliest token so many times. Gives all of these.
    ///
    /// # Errors
    /// What the engine says.
    pub fn write(&mut self, prompt: &[i64], count: usize) -> Result<Vec<i64>, Trouble> {
        let mut past: Vec<DynValue> = Vec::with_capacity(self.past.len());
        for (_, shape) in &self.past {
            past.push(Tensor::<f32>::from_array((shape.clone(), Vec::new()))?.into_dyn());
        }
        let (mut fed, mut feed, mut tokens) = (0, prompt.to_vec(), Vec::with_capacity(count));
        while tokens.len() < count {
            let length = feed.len();
            let end = fed + length;
            let positions = (fed..end).map(|at| i64::try_from(at).expect("few"));
            let row = |values: Vec<i64>| Tensor::from_array((vec![1_usize, values.len()], values));
            let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = vec![
                ("input_ids".into(), row(feed)?.into()),
                ("attention_mask".into(), row(vec![1; end])?.into()),
                ("position_ids".into(), row(positions.collect())?.into()),
            ];
            for ((name, _), value) in self.past.iter().zip(past.drain(..)) {
                inputs.push((name.as_str().into(), value.into()));
            }
            let mut outputs = self.session.run(inputs)?;
            let next = {
                let (_, logits) = outputs["logits"].try_extract_tensor::<f32>()?;
                let words = logits.len() / length;
                likeliest(&logits[(length - 1) * words..])
            };
            for (name, _) in &self.past {
                let name = name.replace("past_key_values", "present");
                past.push(
                    outputs
                        .remove(&name)
                        .ok_or("a decoder gives what it takes")?,
                );
            }
            (fed, feed) = (end, vec![next]);
            tokens.push(next);
        }
        Ok(tokens)
    }
}

/// The likeliest token; of equals the first.
fn likeliest(logits: &[f32]) -> i64 {
    let mut best = 0;
    for (token, value) in logits.iter().enumerate() {
        if *value > logits[best] {
            best = token;
        }
    }
    i64::try_from(best).expect("few words")
}
