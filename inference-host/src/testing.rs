//! Test fixtures of this crate: one engine for the process, because there can be no second, and the models of the tree.

use crate::backend::{InferenceBackend, LoadOptions, LoadedModel};
use crate::library::CheckedLibrary;
use crate::onnx::OnnxRuntime;
use std::path::Path;
use std::sync::OnceLock;

/// The engine of this test process.
pub(crate) fn engine() -> &'static OnnxRuntime {
    static ENGINE: OnceLock<OnnxRuntime> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let library = CheckedLibrary::open(None).expect("the embedded library");
        OnnxRuntime::start(library, 1).expect("the engine")
    })
}

/// A file of the folder `models`.
pub(crate) fn model_file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../models")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A model on the CPU.
pub(crate) fn load(file: &[u8]) -> LoadedModel {
    let options = LoadOptions {
        name: "tested",
        providers: &[],
        strict_providers: false,
        external_data: &[],
        max_ports: shm_protocol::limit::TENSORS,
    };
    engine().load(file, &options).expect("the model loads")
}
