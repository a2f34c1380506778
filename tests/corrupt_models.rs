//! Model files with wrong bytes, as disks and downloads make them, and as somebody
//! would who wants to break out. Whatever the engine makes of such a file, the
//! supervisor lives, says one thing that names the model, and leaves nothing.
//!
//! `LOCKSTEP_CORRUPT_MODELS` is how many are tried; `LOCKSTEP_CORRUPT_MODELS_SEED` which.

use std::fs;
use test_support::{Place, TestRng, repository};

const FILES: u64 = 120;

/// Changes a file in one to four places: flips a bit, writes a byte, cuts, repeats or removes a piece.
fn corrupt(file: &[u8], random: &mut TestRng) -> Vec<u8> {
    let mut corrupt = file.to_vec();
    for _ in 0..=random.below(4) {
        let position = random.index(corrupt.len().max(1));
        let length = 1 + random.index(16);
        let end = corrupt.len().min(position + length);
        match random.below(5) {
            _ if corrupt.is_empty() => {}
            0 => corrupt[position] ^= 1 << random.below(8),
            1 => corrupt[position] = random.next_u64().to_le_bytes()[0],
            2 => corrupt.truncate(position),
            3 => {
                let piece = corrupt[position..end].to_vec();
                corrupt.splice(position..position, piece);
            }
            _ => drop(corrupt.drain(position..end)),
        }
    }
    corrupt
}

fn count_from(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

#[test]
fn a_model_with_wrong_bytes_is_refused_by_name_or_runs() {
    let place = Place::new();
    // Small files, so that most changes hit the graph and not the weights.
    let files = [
        "two_inputs",
        "arch_transformer",
        "arch_gru",
        "dynamic_quantize",
        "cross_row",
    ];
    let (count, seed) = (
        count_from("LOCKSTEP_CORRUPT_MODELS", FILES),
        count_from("LOCKSTEP_CORRUPT_MODELS_SEED", 1),
    );
    let mut outcomes = std::collections::BTreeMap::new();
    for number in 0..count {
        let mut random = TestRng::new(seed << 32 | number);
        let file = random.pick(&files);
        let path = repository(&format!("models/testdata/{file}.onnx"));
        let bytes = corrupt(&fs::read(path).expect("a model"), &mut random);
        fs::write(place.path("corrupt.onnx"), &bytes).expect("a file");
        let said = place.lockstep(&["infer", "corrupt.onnx", "--deadline-ms", "20000"]);
        let which = format!("file {number} of seed {seed} ({file}): {said}");
        match said.code {
            Some(0) => {}
            Some(2) => {
                said.clone().naming(&["corrupt.onnx"]);
            }
            _ => panic!("{which}"),
        }
        *outcomes.entry(said.code).or_insert(0) += 1;
        let left = fs::read_dir(place.path("tmp")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{which}");
    }
    eprintln!("{count} corrupt models by exit code: {outcomes:?}");
    assert!(
        outcomes.len() == 2,
        "some load and some do not: {outcomes:?}"
    );
}
