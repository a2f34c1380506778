//! Models of several files, read into one bundle: a graph with the weights that
//! lie beside it, or a folder with a language model.
//!
//! What belongs to a folder is decided here: its JSON and Jinja files, one graph
//! out of possibly many variants, and the weights that this graph names. Symbolic
//! links are followed, as caches of downloaded models are full of them.

use super::external_data as external;
use crate::sys::memory;
use shm_protocol::bundle;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};
use thiserror::Error;

/// Most bytes of all files of a model: it is held in memory, by the supervisor and by the host.
const MOST_BYTES: u64 = 64 << 30;

/// Where the graph of a folder lies, if it says nothing else, in the order in which they are looked for.
const GRAPHS: [&str; 4] = [
    "model.onnx",
    "decoder_model_merged.onnx",
    "onnx/model.onnx",
    "onnx/decoder_model_merged.onnx",
];

/// How often the bytes of a model are in memory while it is taken in: as read, as passed to the host, and there.
const COPIES: u64 = 3;

/// Why files are no model.
#[derive(Debug, Error)]
pub enum ModelFilesError {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A folder has no graph, or several and none of the usual names.
    #[error("folder {} has {found}; expected is one of {}: name the .onnx file itself", path.display(), GRAPHS.join(", "))]
    Graph {
        /// The folder.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// A graph names weights where there can be none of its own.
    #[error("{} keeps weights in `{location}`, which is not within its folder; only files beside a model belong to it", path.display())]
    Elsewhere {
        /// The graph.
        path: PathBuf,
        /// What it names.
        location: String,
    },
    /// A graph names weights that are not there.
    #[error("{} keeps weights in {location}, which cannot be read: {source}; is the model complete?", path.display())]
    Weights {
        /// The graph.
        path: PathBuf,
        /// The file that it names.
        location: String,
        /// Why not.
        source: io::Error,
    },
    /// There is more than this machine can hold now.
    #[error(
        "the files of {} have {bytes} bytes, which must fit into memory {COPIES} times while they are taken in, and {available} bytes are left; free some, or take a smaller model",
        path.display()
    )]
    NoMemory {
        /// The model.
        path: PathBuf,
        /// All files together.
        bytes: u64,
        /// What is left.
        available: u64,
    },
    /// There is more than can be held.
    #[error("the files of {} have {bytes} bytes, and a model may have {MOST_BYTES}", path.display())]
    TooLarge {
        /// The model.
        path: PathBuf,
        /// All files together.
        bytes: u64,
    },
}

/// A language model as one bundle, its graph first. `path` is its folder, or the graph in it, which may lie in a folder
/// `onnx` of its own.
///
/// # Errors
/// [`FolderError`] names the file and what is wrong with it.
pub fn read_folder(path: &Path) -> Result<Vec<u8>, ModelFilesError> {
    let (folder, graph) = if is_graph(path) {
        split(path)
    } else {
        (path.to_owned(), graph_of(path)?)
    };
    let mut files = FolderFiles::new(&folder);
    files.add(&graph)?;
    files.add_weights(&graph)?;
    for name in descriptions(&folder)? {
        files.add(&name)?;
    }
    Ok(bundle::bundle(&files.files))
}

/// A model from its ONNX file: the file as it is, or a bundle of it and the weights beside it.
///
/// # Errors
/// [`FolderError`] names the file and what is wrong with it.
pub fn read_model(path: &Path) -> Result<Vec<u8>, ModelFilesError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let mut files = FolderFiles::new(folder);
    files.add(&name.unwrap_or_default())?;
    files.add_weights(&files.files[0].0.clone())?;
    if files.files.len() == 1 {
        return Ok(files.files.swap_remove(0).1);
    }
    Ok(bundle::bundle(&files.files))
}

/// Files with their names within a folder.
struct FolderFiles<'f> {
    folder: &'f Path,
    files: Vec<(String, Vec<u8>)>,
    bytes: u64,
}

impl FolderFiles<'_> {
    fn new(folder: &Path) -> FolderFiles<'_> {
        FolderFiles {
            folder,
            files: Vec::new(),
            bytes: 0,
        }
    }

    fn add(&mut self, name: &str) -> Result<(), ModelFilesError> {
        let path = self.folder.join(name);
        self.read(&path).map_err(|source| ModelFilesError::Read {
            path: path.clone(),
            source,
        })?;
        self.check()?;
        let contents = fs::read(&path).map_err(|source| ModelFilesError::Read { path, source })?;
        self.files.push((name.to_owned(), contents));
        Ok(())
    }

    /// Counts a file before it is read.
    fn read(&mut self, path: &Path) -> io::Result<()> {
        let about = fs::metadata(path)?;
        if !about.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        self.bytes = self.bytes.saturating_add(about.len());
        Ok(())
    }

    fn check(&self) -> Result<(), ModelFilesError> {
        if self.bytes > MOST_BYTES {
            let (path, bytes) = (self.folder.to_owned(), self.bytes);
            return Err(ModelFilesError::TooLarge { path, bytes });
        }
        match memory::available() {
            Some(available) if self.bytes.saturating_mul(COPIES) > available => {
                let (path, bytes) = (self.folder.to_owned(), self.bytes);
                Err(ModelFilesError::NoMemory {
                    path,
                    bytes,
                    available,
                })
            }
            _ => Ok(()),
        }
    }

    /// Adds the files that the graph names, which is the first of the files.
    fn add_weights(&mut self, graph: &str) -> Result<(), ModelFilesError> {
        let path = self.folder.join(graph);
        let within = graph.rfind('/').map_or("", |end| &graph[..=end]);
        for location in external::locations(&self.files[0].1) {
            if !is_within(&location) {
                return Err(ModelFilesError::Elsewhere { path, location });
            }
            let weights = |source| ModelFilesError::Weights {
                path: path.clone(),
                location: location.clone(),
                source,
            };
            let name = format!("{within}{location}");
            self.read(&self.folder.join(&name)).map_err(weights)?;
            self.check()?;
            let contents = fs::read(self.folder.join(&name)).map_err(weights)?;
            self.files.push((name, contents));
        }
        Ok(())
    }
}

fn is_graph(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "onnx")
}

/// Whether a name leads to a file in the folder that it starts from, or below.
fn is_within(location: &str) -> bool {
    let parts = Path::new(location).components();
    !location.is_empty()
        && parts
            .into_iter()
            .all(|part| matches!(part, Component::Normal(_)))
}

/// Folder and name of a graph that is named itself.
fn split(path: &Path) -> (PathBuf, String) {
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
fn graph_of(folder: &Path) -> Result<String, ModelFilesError> {
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

/// The graph that a `genai_config.json` names. A file that is broken names none; the host says what is wrong with it.
fn named_by_genai(folder: &Path) -> Option<String> {
    let config = fs::read(folder.join("genai_config.json")).ok()?;
    let config: serde_json::Value = serde_json::from_slice(&config).ok()?;
    let name = config.pointer("/model/decoder/filename")?.as_str()?;
    is_within(name).then(|| name.to_owned())
}

/// The files that describe the model: those of the folder, and those of the parts of a sentence encoder.
fn descriptions(folder: &Path) -> Result<BTreeSet<String>, ModelFilesError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::bundle::ModelBundle;

    fn writer() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/testdata/writer")
    }

    /// A folder with these files of the tiny model, each under a name of its own.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, from) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
            fs::copy(writer().join(from), path).expect("it is copied");
        }
        folder
    }

    fn names(packed: &[u8]) -> Vec<String> {
        let bundle = ModelBundle::open(packed).expect("a bundle");
        bundle.files().map(|(name, _)| name.to_owned()).collect()
    }

    #[test]
    fn a_folder_has_one_graph_its_weights_and_what_describes_it() {
        let made = folder(&[
            ("config.json", "config.json"),
            ("chat_template.jinja", "config.json"),
            ("README.md", "config.json"),
            ("1_Pooling/config.json", "config.json"),
            ("onnx/model.onnx", "external.onnx"),
            ("onnx/model_fp16.onnx", "half.onnx"),
            ("onnx/weights.bin", "weights.bin"),
        ]);
        let expected = [
            "onnx/model.onnx",
            "onnx/weights.bin",
            "1_Pooling/config.json",
            "chat_template.jinja",
            "config.json",
        ];
        assert_eq!(
            names(&read_folder(made.path()).expect("it reads")),
            expected
        );
        let named = read_folder(&made.path().join("onnx/model_fp16.onnx")).expect("it reads");
        assert_eq!(names(&named)[0], "onnx/model_fp16.onnx");
    }

    #[test]
    fn a_genai_config_names_the_graph() {
        let packed = read_folder(&writer()).expect("it reads");
        assert_eq!(names(&packed)[0], "genai.onnx");
    }

    #[test]
    fn a_link_is_followed() {
        let made = folder(&[("config.json", "config.json")]);
        std::os::unix::fs::symlink(writer().join("model.onnx"), made.path().join("model.onnx"))
            .expect("a link");
        assert_eq!(
            names(&read_folder(made.path()).expect("it reads")),
            ["model.onnx", "config.json"]
        );
    }

    #[test]
    fn what_is_missing_or_leads_elsewhere_is_named() {
        let said = |path: &Path| read_folder(path).expect_err("it is no model").to_string();
        let made = folder(&[("config.json", "config.json")]);
        assert!(said(made.path()).contains("has no .onnx file; expected is one of model.onnx"));
        assert!(said(&made.path().join("absent")).contains("absent cannot be read"));
        let made = folder(&[("a.onnx", "model.onnx"), ("b.onnx", "half.onnx")]);
        assert!(said(made.path()).contains("has a.onnx, b.onnx; expected is"));
        let made = folder(&[("model.onnx", "external.onnx")]);
        assert!(said(made.path()).contains("keeps weights in weights.bin, which cannot be read"));
        for bad in ["../weights.bin", "/etc/passwd", "a/../../b", "", "."] {
            assert!(!is_within(bad), "{bad}");
        }
        assert!(is_within("a/b.bin"));
    }

    #[test]
    fn a_graph_is_a_pack_only_if_it_has_weights_beside_it() {
        let plain = read_model(&writer().join("model.onnx")).expect("it reads");
        assert!(!bundle::is_bundle(&plain));
        let packed = read_model(&writer().join("external.onnx")).expect("it reads");
        assert_eq!(names(&packed), ["external.onnx", "weights.bin"]);
    }

    #[test]
    fn a_graph_that_names_a_file_elsewhere_is_refused() {
        let made = folder(&[("model.onnx", "external.onnx")]);
        let path = made.path().join("model.onnx");
        let model = fs::read(&path).expect("it reads");
        // The same length, so that the file stays what it is.
        let (from, to) = (b"weights.bin", b"../ghts.bin");
        let mut changed = model.clone();
        while let Some(place) = changed
            .windows(from.len())
            .position(|window| window == from)
        {
            changed[place..place + to.len()].copy_from_slice(to);
        }
        fs::write(&path, changed).expect("it is written");
        let said = read_model(&path)
            .expect_err("it leads elsewhere")
            .to_string();
        assert!(
            said.contains("`../ghts.bin`, which is not within its folder"),
            "{said}"
        );
    }
}
