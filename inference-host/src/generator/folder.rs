//! The files of a language model, as they lie in a pack: which is the graph,
//! which lie beside it, and the JSON that describes them.

use serde_json::{Map, Value};
use shm_protocol::bundle::ModelBundle;

/// A folder with a language model.
pub(super) struct Folder<'p> {
    pack: ModelBundle<'p>,
    graph: String,
}

impl<'p> Folder<'p> {
    /// Opens a pack.
    ///
    /// # Errors
    /// When it is none, or has no graph.
    pub(super) fn open(bytes: &'p [u8]) -> Result<Folder<'p>, String> {
        let pack = ModelBundle::open(bytes).map_err(|error| error.to_string())?;
        let named = pack.files().map(|(name, _)| name);
        let graph = named.into_iter().find(|name| name.ends_with(".onnx"));
        let graph = graph.ok_or(
            "there is no .onnx file among its files; expected is model.onnx or decoder_model_merged.onnx, also in a \
             folder onnx/",
        )?;
        let graph = graph.to_owned();
        Ok(Folder { pack, graph })
    }

    /// The graph.
    pub(super) fn graph(&self) -> &'p [u8] {
        self.pack.file(&self.graph).unwrap_or_default()
    }

    /// The files with the graph's weights, by the names that the graph has for them.
    pub(super) fn beside_graph(&self) -> Vec<(&str, &'p [u8])> {
        beside(&self.pack, &self.graph)
    }

    /// A file as text, if it is there.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'p str>, String> {
        let Some(bytes) = self.pack.file(name) else {
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

/// The files in the folder of a graph, by their names from there.
pub(crate) fn beside<'n, 'p>(pack: &'n ModelBundle<'p>, graph: &str) -> Vec<(&'n str, &'p [u8])> {
    let folder = graph.rfind('/').map_or("", |end| &graph[..=end]);
    let files = pack.files().filter(|(name, _)| *name != graph);
    let files = files.filter_map(|(name, bytes)| Some((name.strip_prefix(folder)?, bytes)));
    files.filter(|(name, _)| !is_description(name)).collect()
}

/// Whether a file holds words and not weights.
fn is_description(name: &str) -> bool {
    [".json", ".jinja", ".txt", ".onnx"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::bundle::bundle;

    fn packed(names: &[&str]) -> Vec<u8> {
        let files = names
            .iter()
            .map(|name| ((*name).to_owned(), name.as_bytes().to_vec()));
        bundle(&files.collect::<Vec<_>>())
    }

    #[test]
    fn weights_have_the_names_that_the_graph_knows() {
        let bytes = packed(&[
            "onnx/model.onnx",
            "onnx/model.onnx_data",
            "config.json",
            "other.bin",
        ]);
        let folder = Folder::open(&bytes).expect("a pack");
        assert_eq!(folder.graph(), b"onnx/model.onnx");
        let beside = folder.beside_graph();
        assert_eq!(beside.len(), 1);
        assert_eq!(beside[0].0, "model.onnx_data");
    }

    #[test]
    fn what_is_missing_or_broken_is_named() {
        let bytes = packed(&["config.json"]);
        let said = Folder::open(&bytes).err().expect("there is no graph");
        assert!(said.contains("no .onnx file"), "{said}");
        assert!(Folder::open(b"LSPACK1\n").is_err());
        let bytes = packed(&["model.onnx", "config.json"]);
        let folder = Folder::open(&bytes).expect("a pack");
        let said = folder.object("config.json").expect_err("it is no JSON");
        assert!(said.contains("config.json is not JSON"), "{said}");
        assert_eq!(folder.object("absent.json"), Ok(Map::new()));
    }
}
