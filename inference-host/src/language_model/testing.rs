//! Test fixtures of this folder: the tiny model of `models/testdata/writer`.

use super::model_folder::ModelFolder;
use super::text::tokenizer::ModelTokenizer;
use crate::testing::model_file;
use shm_protocol::bundle::bundle;

/// Files that every variant has.
const FILES: [&str; 4] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// A bundle of the variant with this graph; each change replaces a file, or leaves it out.
pub(super) fn bundle_with(graph: &str, changes: &[(&str, Option<&[u8]>)]) -> Vec<u8> {
    let file = |name: &str| {
        (
            name.to_owned(),
            model_file(&format!("testdata/writer/{name}")),
        )
    };
    let mut files = vec![file(graph)];
    files.extend(FILES.iter().map(|name| file(name)));
    for (name, contents) in changes {
        files.retain(|(present, _)| present != name);
        files.extend(contents.map(|contents| ((*name).to_owned(), contents.to_vec())));
    }
    bundle(&files)
}

/// Its tokenizer.
pub(super) fn test_tokenizer() -> ModelTokenizer {
    let bytes = bundle_with("model.onnx", &[]);
    ModelTokenizer::read(&ModelFolder::open(&bytes).expect("a bundle"), Some(300))
        .expect("a tokenizer")
}

/// A bundle of the model in `models/talk`, which has been trained.
pub(super) fn talk_bundle() -> Vec<u8> {
    let names = [
        "model.onnx",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    bundle(&names.map(|name| (name.to_owned(), model_file(&format!("talk/{name}")))))
}
