//! The loop over corpora can fail: a reader with a planted bug is found, with the input that shows it.

use fuzz_targets::driver::drive;
use std::panic;

/// A reader with a bug: it believes a length.
fn believing(bytes: &[u8]) -> bool {
    let Some(rest) = bytes.strip_prefix(b"LEN") else {
        return false;
    };
    let [length, data @ ..] = rest else {
        return false;
    };
    !data[..usize::from(*length)].is_empty()
}

#[test]
fn a_planted_panic_is_found() {
    let corpus = [b"LEN\x04data".to_vec(), b"LEN\x00".to_vec()];
    let finding = drive(believing, &corpus, 1, 10_000).expect_err("the bug is found");
    assert!(finding.message.contains("out of range"), "{finding}");
    assert!(panic::catch_unwind(|| believing(&finding.input)).is_err());
}

#[test]
fn equal_seeds_find_equal_inputs() {
    let corpus = [b"LEN\x04data".to_vec()];
    let find = |seed| drive(believing, &corpus, seed, 10_000).expect_err("it is found");
    assert_eq!(find(7), find(7));
    assert_ne!(find(7), find(8));
}

#[test]
fn a_file_of_the_corpus_is_run_as_it_is() {
    let corpus = [b"LEN\xff".to_vec()];
    let finding = drive(believing, &corpus, 0, 0).expect_err("the file itself panics");
    assert_eq!(finding.input, corpus[0]);
}

#[test]
fn a_reader_without_a_bug_is_not_accused() {
    let sound = |bytes: &[u8]| bytes.starts_with(b"LEN");
    assert_eq!(drive(sound, &[b"LEN".to_vec()], 3, 10_000), Ok(()));
}
