//! The folder of a language model: its graph, and the files that describe the model.

use super::error::{GRAPHS, ModelFilesError};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

pub(super) fn is_graph(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "onnx")
}

/// True if a relative name leads to a file in its folder, or below.
pub(super) fn is_within(location: &str) -> bool {
    let parts = Path::new(location).components();
    !location.is_empty()
        && parts
            .into_iter()
            .all(|part| matches!(part, Component::Normal(_)))
}

/// The folder of a graph file, and its name in that.
pub(super) fn split(path: &Path) -> (PathBuf, String) {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let folder = path.parent().unwrap_or(Path::new(""));
    match folder.file_name() {
        Some(last) if last == "onnx" => {
            let above = folder.parent().unwrap_or(Path::new("")).to_owned();
            (above, format!("onnx/{name}"))
        }
        _ => (folder.to_owned(), name),
    }
}

/// The graph of a folder.
pub(super) fn graph_of(folder: &Path) -> Result<String, ModelFilesError> {
    let unreadable = |source| ModelFilesError::Read {
        path: folder.to_owned(),
        source,
    };
    if let Some(name) = named_by_genai(folder) {
        return Ok(name);
    }
    if let Some(name) = GRAPHS.into_iter().find(|name| folder.join(name).is_file()) {
        return Ok(name.to_owned());
    }
    let mut found = names_in(folder).map_err(unreadable)?;
    let deeper = names_in(&folder.join("onnx")).unwrap_or_default();
    found.extend(deeper.iter().map(|name| format!("onnx/{name}")));
    found.retain(|name| is_graph(Path::new(name)));
    let found: Vec<String> = found.into_iter().collect();
    match found.as_slice() {
        [sole] => Ok(sole.clone()),
        [] => Err(ModelFilesError::Graph {
            path: folder.to_owned(),
            found: "no .onnx file".to_owned(),
        }),
        several => Err(ModelFilesError::Graph {
            path: folder.to_owned(),
            found: several.join(", "),
        }),
    }
}

/// The graph that a `genai_config.json` names. A broken file names none; the host reports its error.
fn named_by_genai(folder: &Path) -> Option<String> {
    let config = fs::read(folder.join("genai_config.json")).ok()?;
    let config: serde_json::Value = serde_json::from_slice(&config).ok()?;
    let name = config.pointer("/model/decoder/filename")?.as_str()?;
    is_within(name).then(|| name.to_owned())
}

/// The files that describe the model: those of the folder, and those of the parts of a sentence encoder.
pub(super) fn descriptions(folder: &Path) -> Result<BTreeSet<String>, ModelFilesError> {
    let unreadable = |source| ModelFilesError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut names = names_in(folder).map_err(unreadable)?;
    let parts: Vec<String> = names
        .iter()
        .map(|name| format!("{name}/config.json"))
        .filter(|name| folder.join(name).is_file())
        .collect();
    names.retain(|name| name.ends_with(".json") || name.ends_with(".jinja"));
    names.retain(|name| folder.join(name).is_file());
    names.extend(parts);
    Ok(names)
}

/// The names in a folder, in their order. One that is not text belongs to no model.
fn names_in(folder: &Path) -> io::Result<BTreeSet<String>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(Result::transpose).collect()
}
