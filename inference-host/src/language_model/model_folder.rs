//! The folder of a language model, as a bundle: the graph, its external data, and the JSON files beside them.

use serde_json::{Map, Value};
use shm_protocol::bundle::ModelBundle;

/// The folder of a language model.
pub(super) struct ModelFolder<'p> {
    bundle: ModelBundle<'p>,
    graph: String,
}

impl<'p> ModelFolder<'p> {
    /// Opens a bundle.
    ///
    /// # Errors
    /// When it is no bundle, or has no graph.
    pub(super) fn open(bytes: &'p [u8]) -> Result<ModelFolder<'p>, String> {
        let bundle = ModelBundle::open(bytes).map_err(|error| error.to_string())?;
        let names = bundle.files().map(|(name, _)| name);
        let graph = names.into_iter().find(|name| name.ends_with(".onnx"));
        let graph = graph.ok_or(
            "its folder has no .onnx file; expected is model.onnx or decoder_model_merged.onnx, also in a folder onnx/",
        )?;
        let graph = graph.to_owned();
        Ok(ModelFolder { bundle, graph })
    }

    /// The graph.
    pub(super) fn graph(&self) -> &'p [u8] {
        self.bundle.file(&self.graph).unwrap_or_default()
    }

    /// The external data of the graph: files with its weights, by the names in the graph.
    pub(super) fn external_data(&self) -> Vec<(&str, &'p [u8])> {
        external_data_files(&self.bundle, &self.graph)
    }

    /// A file as text, if it is there.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'p str>, String> {
        let Some(bytes) = self.bundle.file(name) else {
            return Ok(None);
        };
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(format!("its file {name} is not UTF-8: {error}")),
        }
    }

    /// A file with one JSON object; empty if it is not there.
    pub(super) fn object(&self, name: &str) -> Result<Map<String, Value>, String> {
        let Some(text) = self.text(name)? else {
            return Ok(Map::new());
        };
        match serde_json::from_str(text) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(format!("its file {name} is not a JSON object")),
            Err(error) => Err(format!("its file {name} is not JSON: {error}")),
        }
    }

    /// A file with any JSON, if it is there.
    pub(super) fn json(&self, name: &str) -> Result<Option<Value>, String> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let read = serde_json::from_str(text);
        read.map(Some)
            .map_err(|error| format!("its file {name} is not JSON: {error}"))
    }
}

/// The files in the folder of a graph, by their names relative to it.
pub(crate) fn external_data_files<'n, 'p>(
    bundle: &'n ModelBundle<'p>,
    graph: &str,
) -> Vec<(&'n str, &'p [u8])> {
    let folder = graph.rfind('/').map_or("", |end| &graph[..=end]);
    let files = bundle.files().filter(|(name, _)| *name != graph);
    let files = files.filter_map(|(name, bytes)| Some((name.strip_prefix(folder)?, bytes)));
    files.filter(|(name, _)| !is_not_data(name)).collect()
}

/// True if a file holds text or a graph, and no weights.
fn is_not_data(name: &str) -> bool {
    [".json", ".jinja", ".txt", ".onnx"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle_of(names: &[&str]) -> Vec<u8> {
        let files = names
            .iter()
            .map(|name| ((*name).to_owned(), name.as_bytes().to_vec()));
        shm_protocol::bundle::bundle(&files.collect::<Vec<_>>())
    }

    #[test]
    fn external_data_has_the_names_of_the_graph() {
        let bytes = bundle_of(&[
            "onnx/model.onnx",
            "onnx/model.onnx_data",
            "config.json",
            "other.bin",
        ]);
        let folder = ModelFolder::open(&bytes).expect("a bundle");
        assert_eq!(folder.graph(), b"onnx/model.onnx");
        let external_data = folder.external_data();
        assert_eq!(external_data.len(), 1);
        assert_eq!(external_data[0].0, "model.onnx_data");
    }

    #[test]
    fn a_missing_or_invalid_file_is_named() {
        let bytes = bundle_of(&["config.json"]);
        let message = ModelFolder::open(&bytes).err().expect("there is no graph");
        assert!(message.contains("no .onnx file"), "{message}");
        assert!(ModelFolder::open(b"LSPACK1\n").is_err());
        let bytes = bundle_of(&["model.onnx", "config.json"]);
        let folder = ModelFolder::open(&bytes).expect("a bundle");
        let message = folder.object("config.json").expect_err("it is no JSON");
        assert!(message.contains("config.json is not JSON"), "{message}");
        assert_eq!(folder.object("absent.json"), Ok(Map::new()));
    }
}
