//! Model files with wrong bytes, as disks and downloads make them, and as somebody
//! would who wants to break out. Whatever the engine makes of such a file, the
//! supervisor lives, says one thing that names the model, and leaves nothing.
//!
//! `LOCKSTEP_MUTANTS` is how many are tried; `LOCKSTEP_MUTANTS_SEED` which.

mod common;

use common::{Place, repository};
use std::fs;

const MUTANTS: u64 = 120;

/// Steele, Lea and Flood's `SplitMix64` (2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("below a usize")
    }
}

/// Changes a file in one to four places: flips a bit, writes a byte, cuts, repeats or removes a piece.
fn mutate(file: &[u8], random: &mut Random) -> Vec<u8> {
    let mut mutant = file.to_vec();
    for _ in 0..=random.below(4) {
        let position = random.below(mutant.len());
        let length = 1 + random.below(16);
        let end = mutant.len().min(position + length);
        match random.below(5) {
            _ if mutant.is_empty() => {}
            0 => mutant[position] ^= 1 << random.below(8),
            1 => mutant[position] = random.next().to_le_bytes()[0],
            2 => mutant.truncate(position),
            3 => {
                let piece = mutant[position..end].to_vec();
                mutant.splice(position..position, piece);
            }
            _ => drop(mutant.drain(position..end)),
        }
    }
    mutant
}

fn number(variable: &str, otherwise: u64) -> u64 {
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
        number("LOCKSTEP_MUTANTS", MUTANTS),
        number("LOCKSTEP_MUTANTS_SEED", 1),
    );
    let mut outcomes = std::collections::BTreeMap::new();
    for mutant in 0..count {
        let mut random = Random(seed << 32 | mutant);
        let file = files[random.below(files.len())];
        let path = repository(&format!("models/testdata/{file}.onnx"));
        let bytes = mutate(&fs::read(path).expect("a model"), &mut random);
        fs::write(place.path("mutant.onnx"), &bytes).expect("a file");
        let said = place.lockstep(&["infer", "mutant.onnx", "--deadline-ms", "20000"]);
        let which = format!("mutant {mutant} of seed {seed} ({file}): {said}");
        match said.code {
            Some(0) => {}
            Some(2) => {
                said.clone().naming(&["mutant.onnx"]);
            }
            _ => panic!("{which}"),
        }
        *outcomes.entry(said.code).or_insert(0) += 1;
        let left = fs::read_dir(place.path("tmp")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{which}");
    }
    eprintln!("{count} mutants by exit code: {outcomes:?}");
    assert!(
        outcomes.len() == 2,
        "some load and some do not: {outcomes:?}"
    );
}
