//! The external data of an ONNX file: weights may lie in files beside it, which the graph names. Only these names are
//! read of the format (`onnx.proto`, in the encoding of Protocol Buffers).

use std::collections::BTreeSet;

/// Limit of the nesting of graphs. The engine refuses less than that.
const MAX_DEPTH: u32 = 64;

/// The files that an ONNX file names, in the order of their names. Bytes that are no ONNX file give none, or some: the
/// engine reports the error.
pub(crate) fn locations(model: &[u8]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (field, bytes) in messages(model) {
        match field {
            // ModelProto.graph
            7 => in_graph(bytes, MAX_DEPTH, &mut found),
            // ModelProto.functions, FunctionProto.node
            25 => in_all(bytes, 7, |node| in_node(node, MAX_DEPTH, &mut found)),
            _ => {}
        }
    }
    found
}

fn in_graph(graph: &[u8], depth: u32, found: &mut BTreeSet<String>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    for (field, bytes) in messages(graph) {
        match field {
            // GraphProto.node, .initializer, .sparse_initializer
            1 => in_node(bytes, depth, found),
            5 => in_tensor(bytes, found),
            15 => in_sparse(bytes, found),
            _ => {}
        }
    }
}

fn in_node(node: &[u8], depth: u32, found: &mut BTreeSet<String>) {
    // NodeProto.attribute
    in_all(node, 5, |attribute| {
        for (field, bytes) in messages(attribute) {
            match field {
                // AttributeProto.t and .tensors, .g and .graphs, .sparse_tensor and .sparse_tensors
                5 | 10 => in_tensor(bytes, found),
                6 | 11 => in_graph(bytes, depth, found),
                22 | 23 => in_sparse(bytes, found),
                _ => {}
            }
        }
    });
}

/// SparseTensorProto.values and .indices.
fn in_sparse(sparse: &[u8], found: &mut BTreeSet<String>) {
    let tensors = messages(sparse).filter(|(field, _)| matches!(field, 1 | 2));
    tensors.for_each(|(_, tensor)| in_tensor(tensor, found));
}

/// TensorProto.external_data: pairs of key and value.
fn in_tensor(tensor: &[u8], found: &mut BTreeSet<String>) {
    in_all(tensor, 13, |pair| {
        let text = |wanted| {
            let member = messages(pair).find(|(field, _)| *field == wanted);
            member.and_then(|(_, bytes)| std::str::from_utf8(bytes).ok())
        };
        if let (Some("location"), Some(location)) = (text(1), text(2)) {
            found.insert(location.to_owned());
        }
    });
}

/// Calls `does` with each member of this number.
fn in_all(message: &[u8], wanted: u64, does: impl FnMut(&[u8])) {
    let members = messages(message).filter(|(field, _)| *field == wanted);
    members.map(|(_, bytes)| bytes).for_each(does);
}

/// The members of a message that have a length, with their numbers; those without are left out. Ends at the first
/// malformed byte.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        loop {
            let key = number(&mut rest)?;
            match key & 7 {
                0 => drop(number(&mut rest)?),
                1 => rest = rest.get(8..)?,
                5 => rest = rest.get(4..)?,
                2 => {
                    let length = usize::try_from(number(&mut rest)?).ok()?;
                    let (bytes, after) = rest.split_at_checked(length)?;
                    rest = after;
                    return Some((key >> 3, bytes));
                }
                _ => return None,
            }
        }
    })
}

/// A number of variable length.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn file(name: &str) -> Vec<u8> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../models/testdata")
            .join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn files_beside_a_model_are_found_and_a_model_without_has_none() {
        let found = locations(&file("writer/external.onnx"));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["weights.bin"]);
        assert!(locations(&file("writer/merged.onnx")).is_empty());
        assert!(locations(&file("garbage.onnx")).len() < 2);
    }

    #[test]
    fn a_model_cut_anywhere_is_read_to_its_end() {
        let whole = file("writer/external.onnx");
        for end in 0..whole.len() {
            assert!(locations(&whole[..end]).len() <= 1, "cut at {end}");
        }
    }

    #[test]
    fn tensors_in_attributes_of_graphs_in_graphs_are_seen() {
        let member = |field: u8, bytes: &[u8]| {
            let length = u8::try_from(bytes.len()).expect("short");
            [&[field << 3 | 2, length], bytes].concat()
        };
        let pair = [member(1, b"location"), member(2, b"deep.bin")].concat();
        let attribute = member(5, &member(13, &pair));
        let inner = member(1, &member(5, &attribute));
        let outer = member(1, &member(5, &member(6, &inner)));
        let found = locations(&member(7, &outer));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["deep.bin"]);
    }

    #[test]
    fn graphs_in_graphs_without_end_are_left_alone() {
        let mut bytes: Vec<u8> = Vec::new();
        for _ in 0..2000 {
            for field in [6_u8, 5, 1] {
                let mut length = Vec::new();
                let mut left = bytes.len();
                while left >= 0x80 {
                    length.push(u8::try_from(left & 0x7f).expect("seven bits") | 0x80);
                    left >>= 7;
                }
                length.push(u8::try_from(left).expect("seven bits"));
                bytes = [&[field << 3 | 2], length.as_slice(), &bytes].concat();
            }
        }
        assert!(
            locations(&[&[7 << 3 | 2, 0xff, 0xff, 0x7f], bytes.as_slice()].concat()).is_empty()
        );
    }
}
