//! The loop that runs a target on stable Rust: over a corpus, and over changes of it that follow from a seed.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use test_support::TestRng;

/// Longest input that is made by changes.
const MAX_INPUT_BYTES: usize = 1 << 16;

/// Numbers at which lengths and counts go wrong, as they lie in fixed layouts and in `bincode`'s variable-length
/// integers, whose first byte from 251 on says how many follow.
const EXTREMES: [&[u8]; 12] = [
    &[0; 8],
    &[0xff; 8],
    &[0x7f],
    &[0x80],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0, 0, 0, 0x80],
    &[251, 0xff, 0xff],
    &[252, 0xff, 0xff, 0xff, 0xff],
    &[253, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[255],
    b"99999999999999999999",
    b"-1e-320",
];

/// An input that a target does not stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The input.
    pub input: Vec<u8>,
    /// What the target panicked with.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = self.input.escape_ascii();
        write!(f, "{}, with these bytes: b\"{input}\"", self.message)
    }
}

/// Runs a target with every input of a corpus, which is not empty, and then with `changed` inputs that follow from the seed.
///
/// # Errors
/// The first input that makes it panic.
pub fn drive(
    target: fn(&[u8]) -> bool,
    corpus: &[Vec<u8>],
    seed: u64,
    changed: u64,
) -> Result<(), Finding> {
    let mut random = TestRng::new(seed);
    let inputs = corpus.iter().cloned();
    let changed = (0..changed).map(|_| change(corpus, &mut random));
    for input in inputs.chain(changed) {
        let ended = panic::catch_unwind(AssertUnwindSafe(|| target(&input)));
        if let Err(payload) = ended {
            let message = message_of(payload.as_ref());
            return Err(Finding { input, message });
        }
    }
    Ok(())
}

fn message_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// An input of the corpus with one to eight changes.
fn change(corpus: &[Vec<u8>], random: &mut TestRng) -> Vec<u8> {
    let mut input = corpus[random.index(corpus.len())].clone();
    for _ in 0..=random.below(8) {
        let place = random.index(input.len() + 1);
        let length = 1 + random.index(16);
        let end = input.len().min(place + length);
        match random.below(8) {
            0 => flip(&mut input, random),
            1 => flip(&mut input, random),
            2 => input.truncate(place),
            3 => drop(input.drain(place..end)),
            4 => {
                let piece = input[place..end].to_vec();
                input.splice(end..end, piece);
            }
            5 => {
                // It goes on as another input does.
                let other = &corpus[random.index(corpus.len())];
                let from = random.index(other.len() + 1);
                input.truncate(place);
                input.extend(&other[from..]);
            }
            6 => {
                input.splice(place..place, random.pick(&EXTREMES).iter().copied());
            }
            _ => {
                let extreme = random.pick(&EXTREMES);
                let end = input.len().min(place + extreme.len());
                input.splice(place..end, extreme.iter().copied());
            }
        }
        input.truncate(MAX_INPUT_BYTES);
    }
    input
}

fn flip(input: &mut [u8], random: &mut TestRng) {
    if !input.is_empty() {
        let place = random.index(input.len());
        input[place] ^= 1 << random.below(8);
    }
}
