//! What the tests of this folder share: the tiny model of `models/testdata/writer`.

use super::folder::Folder;
use super::text::words::Words;
use crate::testing::model_file;
use shm_protocol::bundle::bundle;

/// Files that every variant has.
const FILES: [&str; 4] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// A pack of the variant with this graph; each change puts another file in place of one, or leaves it out.
pub(super) fn packed(graph: &str, changes: &[(&str, Option<&[u8]>)]) -> Vec<u8> {
    let file = |name: &str| {
        (
            name.to_owned(),
            model_file(&format!("testdata/writer/{name}")),
        )
    };
    let mut files = vec![file(graph)];
    files.extend(FILES.iter().map(|name| file(name)));
    for (name, contents) in changes {
        files.retain(|(held, _)| held != name);
        files.extend(contents.map(|contents| ((*name).to_owned(), contents.to_vec())));
    }
    bundle(&files)
}

/// Its tokenizer.
pub(super) fn writer_words() -> Words {
    let bytes = packed("model.onnx", &[]);
    Words::read(&Folder::open(&bytes).expect("a pack"), Some(300)).expect("a tokenizer")
}

/// A pack of the model in `models/talk`, which has been trained.
pub(super) fn talk() -> Vec<u8> {
    let names = [
        "model.onnx",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    bundle(&names.map(|name| (name.to_owned(), model_file(&format!("talk/{name}")))))
}
