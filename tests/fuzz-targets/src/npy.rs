//! Arrays in the `.npy` format.

use supervisor::models::npy::{parse, write};

/// Reads an array. One that was read is written as a file that reads as the same array.
pub fn npy(bytes: &[u8]) -> bool {
    let Ok(array) = parse(bytes) else {
        return false;
    };
    assert!(array.data.len() <= bytes.len());
    let mut written = Vec::new();
    // A shape of very many dimensions, which no tensor has, does not fit the header that is written.
    if write(&mut written, &array).is_ok() {
        assert_eq!(parse(&written).expect("it was written just now"), array);
    }
    true
}
