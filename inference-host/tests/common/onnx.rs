//! Small ONNX files, spelled out: what the models of the tree do not have.
//!
//! An ONNX file is a protocol-buffers message; the numbers are those of
//! `onnx.proto`.

/// A field of bytes: tag, length, content.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    bytes.extend(varint(content.len()));
    bytes.extend(content);
    bytes
}

/// A field that is a number.
fn number(field: u8, value: usize) -> Vec<u8> {
    let mut bytes = vec![field << 3];
    bytes.extend(varint(value));
    bytes
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A `ValueInfoProto`: a tensor of `f32`, a name being an open dimension and an empty one a nameless one.
fn value(name: &str, dims: &[Result<usize, &str>]) -> Vec<u8> {
    let dims: Vec<u8> = dims
        .iter()
        .flat_map(|dim| {
            field(
                1,
                &match dim {
                    Ok(fixed) => number(1, *fixed),
                    Err("") => Vec::new(),
                    Err(symbol) => field(2, symbol.as_bytes()),
                },
            )
        })
        .collect();
    let tensor = [number(1, 1), field(2, &dims)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

/// A model of one node: `operator` on `inputs` gives `outputs`, all of them with these dimensions.
pub fn model(
    operator: &str,
    inputs: &[&str],
    outputs: &[&str],
    dims: &[Result<usize, &str>],
) -> Vec<u8> {
    let names = |tag, names: &[&str]| {
        names
            .iter()
            .flat_map(|name| field(tag, name.as_bytes()))
            .collect::<Vec<u8>>()
    };
    let ports = |tag, names: &[&str]| {
        names
            .iter()
            .flat_map(|name| field(tag, &value(name, dims)))
            .collect::<Vec<u8>>()
    };
    let node = [
        names(1, inputs),
        names(2, outputs),
        field(4, operator.as_bytes()),
    ]
    .concat();
    let graph = [
        field(1, &node),
        field(2, b"graph"),
        ports(11, inputs),
        ports(12, outputs),
    ]
    .concat();
    [number(1, 8), field(7, &graph), field(8, &number(2, 17))].concat()
}
