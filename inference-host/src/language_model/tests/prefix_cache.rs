//! Prompts with a common prefix take fewer runs, and the generated text is the same.

use super::*;
use crate::backend::ModelRunError;
use crate::language_model::graph::decoder::PREFILL_CHUNK_TOKENS;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A graph that counts the runs of whole chunks.
struct Counting {
    graph: Box<dyn Model>,
    chunks: Arc<AtomicUsize>,
}

impl Model for Counting {
    fn signature(&self) -> &Signature {
        self.graph.signature()
    }

    fn predict_shape(&self, output: usize, inputs: &[Shape]) -> Option<Shape> {
        self.graph.predict_shape(output, inputs)
    }

    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        places: &mut [Option<TensorViewMut<'_>>],
    ) -> Result<OutputLocation, ModelRunError> {
        let whole = [1, PREFILL_CHUNK_TOKENS as u64];
        if inputs.iter().any(|input| input.shape().dims() == whole) {
            self.chunks.fetch_add(1, Ordering::Relaxed);
        }
        self.graph.run(inputs, places)
    }

    fn output(&self, output: usize) -> Result<TensorView<'_>, ModelRunError> {
        self.graph.output(output)
    }
}

/// The trained model, and the number of its runs of whole chunks.
fn counted(cache_bytes: u64, share: bool) -> (LanguageModel, Arc<AtomicUsize>) {
    let bytes = talk_bundle();
    let folder = ModelFolder::open(&bytes).expect("a bundle");
    let config = ModelConfig::read(&folder).expect("settings");
    let chat_template = ChatTemplate::read(&folder).expect("a template");
    let options = LoadOptions {
        name: "counted",
        providers: &[],
        strict_providers: false,
        external_data: &[],
        max_ports: MAX_PORTS,
    };
    let graph = engine().load(folder.graph(), &options).expect("it loads");
    let chunks = Arc::default();
    let model = Counting {
        graph: graph.model,
        chunks: Arc::clone(&chunks),
    };
    let generator = Generator {
        cache_bytes,
        ..GENERATOR
    };
    let builder = LanguageModelBuilder {
        folder: &folder,
        config,
        chat_template,
        generator: &generator,
        policy: SharingPolicy {
            batch: true,
            share_prefixes: share,
        },
    };
    let (model, _) = builder.build(Box::new(model)).expect("a decoder");
    chunks.store(0, Ordering::Relaxed);
    (model, chunks)
}

/// Sequences with a long common prefix and different ends.
fn alike(agents: std::ops::Range<u32>) -> Vec<Sequence> {
    let long = "The keeper looks at the sea and the ship comes in. ".repeat(40);
    let asked = |agent: u32| {
        let ends = [
            "Who are you?",
            "What do you see?",
            "Hello.",
            "Is there fog?",
        ];
        json!({ "prompt": format!("{long} {}", ends[agent as usize % ends.len()]), "max_tokens": 9 })
    };
    agents.map(|agent| sequence(agent, &asked(agent))).collect()
}

#[test]
fn a_common_prefix_takes_fewer_runs_and_changes_no_text() {
    let (mut separate, all) = counted(1 << 30, false);
    let expected = generate(&mut separate, 4, &alike(0..4));
    let all = all.load(Ordering::Relaxed);
    assert_eq!(all, 4 * 2, "two chunks of each of four prompts");
    let (mut sharing, chunks) = counted(1 << 30, true);
    assert_eq!(generate(&mut sharing, 4, &alike(0..4)), expected);
    assert_eq!(chunks.load(Ordering::Relaxed), 2);
    // A later request finds the chunks too, and another prompt does not.
    assert_eq!(generate(&mut sharing, 4, &alike(2..3))[0], expected[2]);
    assert_eq!(chunks.load(Ordering::Relaxed), 2);
    let mut other = alike(0..1);
    other[0].asked = String::from_utf8_lossy(&other[0].asked)
        .replacen("keeper", "gull", 1)
        .into_bytes();
    let written = generate(&mut sharing, 4, &other);
    assert_eq!(chunks.load(Ordering::Relaxed), 4);
    assert_eq!(generate(&mut separate, 4, &other), written);
}

#[test]
fn nothing_is_cached_without_cache_bytes() {
    let (mut forgetful, chunks) = counted(0, true);
    let (mut sharing, _) = counted(1 << 30, true);
    let written = generate(&mut forgetful, 9, &alike(0..2));
    assert_eq!(chunks.load(Ordering::Relaxed), 2 * 2);
    assert_eq!(written, generate(&mut sharing, 9, &alike(0..2)));
}
