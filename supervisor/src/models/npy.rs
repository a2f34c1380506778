//! Arrays in the `.npy` format of `NumPy` (NEP 1; versions 1.0 to 3.0).
//!
//! The format's header is a line of Python, of which arrays of plain elements
//! use three entries in a fixed spelling. That is what is read here, and nothing
//! else: records, objects and strings are refused by their type.

use shm_protocol::limit;
use std::io::{self, Write};
use thiserror::Error;

const MAGIC: &[u8] = b"\x93NUMPY";

/// The header ends where the elements begin, at a multiple of this.
const ALIGNMENT: usize = 64;

/// An array as it lies in a file, its elements little-endian and in the order of C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// The kind of an element: `f`, `i`, `u`, `b` for a bool, `V` for so many bytes of something else. An `f` of one byte is
    /// how some programs write eight-bit floats.
    pub kind: char,
    /// Bytes of an element.
    pub size: usize,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// The elements.
    pub data: Vec<u8>,
}

/// An error of an array file.
#[derive(Debug, Error)]
pub enum NpyError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is not a .npy file; save the array with numpy.save")]
    Magic,
    /// Its header is not one of a plain array.
    #[error("its header is not one of a plain array: {0}")]
    Header(String),
    /// Its elements are of a type that no tensor has.
    #[error(
        "its elements are of type `{0}`, which no tensor has; convert it with array.astype(...)"
    )]
    Type(String),
    /// It is cut or has more behind its end.
    #[error("it has {actual} bytes of elements where its shape asks for {expected}")]
    Length {
        /// By type and shape.
        expected: usize,
        /// In the file.
        actual: usize,
    },
}

/// Maximum bytes of a file: a tensor of the largest size, in the widest form that any array has, and its header.
pub const MAX_BYTES: u64 = 4 * limit::TENSOR_BYTES as u64 + (1 << 20);

/// Reads an array from the bytes of its file.
///
/// # Errors
/// The first thing that is wrong with them.
pub fn parse(file: &[u8]) -> Result<Array, NpyError> {
    let rest = file.strip_prefix(MAGIC).ok_or(NpyError::Magic)?;
    let cut = || NpyError::Header("it is cut".to_owned());
    let (length, rest) = match rest {
        [1, _, low, high, rest @ ..] => (usize::from(u16::from_le_bytes([*low, *high])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        [version, ..] => return Err(NpyError::Header(format!("version {version} is unknown"))),
        [] => return Err(cut()),
    };
    let (header, data) = rest.split_at_checked(length).ok_or_else(cut)?;
    let header = std::str::from_utf8(header)
        .map_err(|_| NpyError::Header("it is not text".to_owned()))?
        .trim();
    let descr = entry(header, "descr")?;
    let (order, kind, size) = element(descr)?;
    let shape = dimensions(entry(header, "shape")?)?;
    let expected = shape
        .iter()
        .try_fold(size, |bytes, dim| {
            bytes.checked_mul(usize::try_from(*dim).ok()?)
        })
        .ok_or_else(|| NpyError::Header("its shape is too large".to_owned()))?;
    if data.len() != expected {
        return Err(NpyError::Length {
            expected,
            actual: data.len(),
        });
    }
    let mut data = match entry(header, "fortran_order")? {
        "False" => data.to_vec(),
        "True" => in_c_order(data, size, &shape),
        other => return Err(NpyError::Header(format!("fortran_order is `{other}`"))),
    };
    if order == '>' && size > 1 {
        data.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    Ok(Array {
        kind,
        size,
        shape,
        data,
    })
}

/// The value of an entry, as it is spelled.
fn entry<'h>(header: &'h str, name: &str) -> Result<&'h str, NpyError> {
    let missing = || NpyError::Header(format!("there is no `{name}` in `{header}`"));
    let quoted = format!("'{name}':");
    let start = header.find(&quoted).ok_or_else(missing)? + quoted.len();
    let value = header[start..].trim_start();
    let end = match value.chars().next() {
        Some('(') => value.find(')').map(|end| end + 1),
        Some('\'') => value[1..].find('\'').map(|end| end + 2),
        // A record: its type is shown in the refusal.
        Some('[') => value.find(']').map(|end| end + 1),
        _ => value.find([',', '}']),
    };
    end.map(|end| value[..end].trim()).ok_or_else(missing)
}

/// Order of bytes, kind and size of an element, as in `'<f4'`.
fn element(descr: &str) -> Result<(char, char, usize), NpyError> {
    let refused = || NpyError::Type(descr.trim_matches('\'').to_owned());
    let plain = descr
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''));
    let mut letters = plain.ok_or_else(refused)?.chars();
    let (order, kind) = letters.next().zip(letters.next()).ok_or_else(refused)?;
    let size: usize = letters.as_str().parse().map_err(|_| refused())?;
    let is_known = matches!(
        (kind, size),
        ('b', 1) | ('i' | 'u', 1 | 2 | 4 | 8) | ('f', 1 | 2 | 4 | 8) | ('V', 1 | 2)
    );
    if is_known && matches!(order, '<' | '>' | '|' | '=') {
        Ok((order, kind, size))
    } else {
        Err(refused())
    }
}

fn dimensions(shape: &str) -> Result<Vec<u64>, NpyError> {
    let wrong = || NpyError::Header(format!("the shape is `{shape}`"));
    shape
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .ok_or_else(wrong)?
        .split(',')
        .map(str::trim)
        .filter(|dim| !dim.is_empty())
        .map(|dim| dim.parse().map_err(|_| wrong()))
        .collect()
}

/// Elements whose first dimension runs fastest, with the last one running fastest.
fn in_c_order(data: &[u8], size: usize, shape: &[u64]) -> Vec<u8> {
    let mut ordered = Vec::with_capacity(data.len());
    let mut position = vec![0_u64; shape.len()];
    for _ in 0..data.len() / size {
        let index = position
            .iter()
            .zip(shape)
            .rev()
            .fold(0, |index, (at, dim)| index * dim + at);
        let start = usize::try_from(index).unwrap_or(usize::MAX) * size;
        ordered.extend_from_slice(&data[start..start + size]);
        for (at, dim) in position.iter_mut().zip(shape).rev() {
            *at += 1;
            if *at < *dim {
                break;
            }
            *at = 0;
        }
    }
    ordered
}

/// Writes an array.
///
/// # Errors
/// When it cannot be written.
pub fn write(to: &mut dyn Write, array: &Array) -> io::Result<()> {
    let order = if array.size > 1 { '<' } else { '|' };
    let dims: Vec<String> = array.shape.iter().map(ToString::to_string).collect();
    // Python spells a tuple of one with a comma behind it.
    let comma = if dims.len() == 1 { "," } else { "" };
    let mut header = format!(
        "{{'descr': '{order}{}{}', 'fortran_order': False, 'shape': ({}{comma}), }}",
        array.kind,
        array.size,
        dims.join(", ")
    );
    let before = MAGIC.len() + 4;
    let whole = (before + header.len() + 1).next_multiple_of(ALIGNMENT);
    header.extend(std::iter::repeat_n(' ', whole - before - header.len() - 1));
    header.push('\n');
    // At most eight dimensions make a header far shorter than this.
    let length = u16::try_from(header.len()).map_err(io::Error::other)?;
    to.write_all(MAGIC)?;
    to.write_all(&[1, 0])?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(header.as_bytes())?;
    to.write_all(&array.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(header.len()).expect("short");
        [
            MAGIC,
            &[1, 0],
            &length.to_le_bytes(),
            header.as_bytes(),
            data,
        ]
        .concat()
    }

    fn array(kind: char, size: usize, shape: &[u64], data: &[u8]) -> Array {
        Array {
            kind,
            size,
            shape: shape.to_vec(),
            data: data.to_vec(),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for array in [
            array('f', 4, &[2, 1], &[1, 2, 3, 4, 5, 6, 7, 8]),
            array('b', 1, &[3], &[1, 0, 1]),
            array('i', 8, &[], &[9; 8]),
            array('V', 2, &[0, 5], &[]),
        ] {
            let mut file = Vec::new();
            write(&mut file, &array).expect("memory");
            assert_eq!((file.len() - array.data.len()) % ALIGNMENT, 0);
            assert_eq!(parse(&file).expect("our own"), array);
        }
    }

    #[test]
    fn other_orders_of_elements_and_bytes_are_turned() {
        let header = "{'descr': '>u2', 'fortran_order': True, 'shape': (2, 3), }\n";
        let turned = parse(&file(header, &[0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6])).expect("plain");
        assert_eq!(
            turned,
            array('u', 2, &[2, 3], &[1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0])
        );
    }

    #[test]
    fn what_is_no_plain_array_is_refused_by_name() {
        let said = |file: &[u8]| parse(file).expect_err("refused").to_string();
        assert!(said(b"PK\x03\x04").contains("not a .npy file"));
        let header =
            |descr: &str| format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}");
        for (descr, named) in [
            ("'<U4'", "`<U4`"),
            ("'|O'", "`|O`"),
            ("'<c8'", "`<c8`"),
            ("[('a', '<f4')]", "`[('a', '<f4')]`"),
        ] {
            let said = said(&file(&header(descr), &[0; 4]));
            assert!(said.contains(named), "{said}");
        }
        let said_of_cut = said(&file(&header("'<f4'"), &[0; 3]));
        assert!(said_of_cut.contains("3 bytes") && said_of_cut.contains("asks for 4"));
        let whole = file(&header("'<f4'"), &[0; 4]);
        for length in 0..whole.len() {
            parse(&whole[..length]).expect_err("a cut file");
        }
        let huge = "{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 2), }";
        assert!(said(&file(huge, &[])).contains("too large"));
    }
}
