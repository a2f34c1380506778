//! NaNs from many sources. WebAssembly leaves their sign and payload open, and
//! machines differ in them: a runtime that promises the same bits everywhere
//! must settle them, and these are the bits to look at.

use std::fmt::Write;
use std::hint::black_box;

/// Quiet NaNs with a payload and with either sign.
const PLUS_64: u64 = 0x7ff8_0000_dead_beef;
const MINUS_64: u64 = 0xfff8_0000_0bad_cafe;
/// A signalling NaN, which arithmetic must turn into a quiet one.
const SIGNALLING_64: u64 = 0x7ff0_0000_0000_0001;
const PLUS_32: u32 = 0x7fc1_2345;
const MINUS_32: u32 = 0xffc5_4321;

/// The bits of all results as hexadecimal numbers with a space in between: 16
/// digits for a float64, 8 for a float32.
pub fn bits() -> String {
    let mut text = String::new();
    for value in from_64() {
        write!(text, "{:016x} ", value.to_bits()).expect("writing to a string cannot fail");
    }
    for value in from_32() {
        write!(text, "{:08x} ", value.to_bits()).expect("writing to a string cannot fail");
    }
    text.truncate(text.trim_end().len());
    text
}

#[allow(clippy::eq_op, reason = "zero by zero is the point")]
fn from_64() -> Vec<f64> {
    // The compiler must not know the operands, or it computes the results.
    let zero = black_box(0.0_f64);
    let infinity = black_box(f64::INFINITY);
    let [plus, minus, signalling] =
        black_box([PLUS_64, MINUS_64, SIGNALLING_64]).map(f64::from_bits);
    vec![
        zero / zero,
        -zero / zero,
        infinity - infinity,
        infinity * zero,
        infinity / infinity,
        (-1.0 - zero).sqrt(),
        plus + 1.0,
        1.0 + minus,
        plus + minus,
        minus + plus,
        plus * minus,
        minus - plus,
        signalling * infinity,
        signalling + minus,
        minus.ceil(),
        plus.sqrt(),
        f64::from(black_box(f32::from_bits(MINUS_32))),
        -(zero / zero),
    ]
}

#[allow(clippy::eq_op, reason = "zero by zero is the point")]
fn from_32() -> Vec<f32> {
    let zero = black_box(0.0_f32);
    let [plus, minus] = black_box([PLUS_32, MINUS_32]).map(f32::from_bits);
    vec![
        zero / zero,
        -zero / zero,
        (-1.0 - zero).sqrt(),
        plus + minus,
        minus + plus,
        minus * 2.0,
        plus.floor(),
        black_box(f64::from_bits(PLUS_64)) as f32,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_a_nan() {
        assert!(from_64().iter().all(|value| value.is_nan()));
        assert!(from_32().iter().all(|value| value.is_nan()));
        assert_eq!(bits().len(), 18 * 17 + 8 * 9 - 1);
    }
}
