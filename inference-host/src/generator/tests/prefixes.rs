//! Prompts that begin alike take fewer runs, and nobody can tell by what is written.

use super::*;
use crate::backend::RunError;
use crate::generator::graph::decoder::MOST_AT_ONCE;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A graph that counts the runs of whole pieces.
struct Counting {
    graph: Box<dyn Model>,
    pieces: Arc<AtomicUsize>,
}

impl Model for Counting {
    fn signature(&self) -> &Signature {
        self.graph.signature()
    }

    fn predict(&self, output: usize, inputs: &[Shape]) -> Option<Shape> {
        self.graph.predict(output, inputs)
    }

    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        places: &mut [Option<TensorPlace<'_>>],
    ) -> Result<Written, RunError> {
        let whole = [1, MOST_AT_ONCE as u64];
        if inputs.iter().any(|input| input.shape().dims() == whole) {
            self.pieces.fetch_add(1, Ordering::Relaxed);
        }
        self.graph.run(inputs, places)
    }

    fn given(&self, output: usize) -> Result<TensorView<'_>, RunError> {
        self.graph.given(output)
    }
}

/// The trained model, and how many runs of whole pieces it has made.
fn counted(cache_bytes: u64, share: bool) -> (LanguageModel, Arc<AtomicUsize>) {
    let bytes = talk();
    let folder = Folder::open(&bytes).expect("a pack");
    let settings = Settings::read(&folder).expect("settings");
    let template = Template::read(&folder).expect("a template");
    let wanted = Wanted {
        name: "counted",
        providers: &[],
        strict_providers: false,
        beside: &[],
        ports: MOST_PORTS,
    };
    let graph = engine().load(folder.graph(), &wanted).expect("it loads");
    let pieces = Arc::default();
    let model = Counting {
        graph: graph.model,
        pieces: Arc::clone(&pieces),
    };
    let generator = Generator {
        cache_bytes,
        ..GENERATOR
    };
    let parts = Parts {
        folder: &folder,
        settings,
        template,
        generator: &generator,
        may: May { batch: true, share },
    };
    let (model, _) = parts.put_together(Box::new(model)).expect("a writer");
    pieces.store(0, Ordering::Relaxed);
    (model, pieces)
}

/// Agents that are told the same at length, and then something each.
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
fn prompts_that_begin_alike_take_fewer_runs_and_write_the_same() {
    let (mut apart, all) = counted(1 << 30, false);
    let expected = write_with(&mut apart, 4, &alike(0..4));
    let all = all.load(Ordering::Relaxed);
    assert_eq!(all, 4 * 2, "two pieces of each of four prompts");
    let (mut sharing, pieces) = counted(1 << 30, true);
    assert_eq!(write_with(&mut sharing, 4, &alike(0..4)), expected);
    assert_eq!(pieces.load(Ordering::Relaxed), 2);
    // Who asks later finds them too, and who asks something else does not.
    assert_eq!(write_with(&mut sharing, 4, &alike(2..3))[0], expected[2]);
    assert_eq!(pieces.load(Ordering::Relaxed), 2);
    let mut other = alike(0..1);
    other[0].asked = String::from_utf8_lossy(&other[0].asked)
        .replacen("keeper", "gull", 1)
        .into_bytes();
    let written = write_with(&mut sharing, 4, &other);
    assert_eq!(pieces.load(Ordering::Relaxed), 4);
    assert_eq!(write_with(&mut apart, 4, &other), written);
}

#[test]
fn without_room_for_them_nothing_is_kept() {
    let (mut forgetful, pieces) = counted(0, true);
    let (mut sharing, _) = counted(1 << 30, true);
    let written = write_with(&mut forgetful, 9, &alike(0..2));
    assert_eq!(pieces.load(Ordering::Relaxed), 2 * 2);
    assert_eq!(written, write_with(&mut sharing, 9, &alike(0..2)));
}
