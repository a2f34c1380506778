//! Models of several files, read into one bundle: a graph with the weights that
//! lie beside it, or a folder with a language model.
//!
//! A folder contributes its JSON and Jinja files, one graph out of possibly many variants, and the weights that this
//! graph names. Symbolic links are followed, as caches of downloaded models are full of them.

use super::error::{COPIES, MAX_BYTES, ModelFilesError};
use super::external_data;
use super::folder::{descriptions, graph_of, is_graph, is_within, split};
use crate::sys::available_memory_bytes;
use shm_protocol::bundle;
use std::path::Path;
use std::{fs, io};

/// A language model as one bundle, its graph first. `path` is its folder, or the graph in it, which may lie in a folder
/// `onnx` of its own.
///
/// # Errors
/// [`ModelFilesError`] names the file and the reason.
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
/// [`ModelFilesError`] names the file and the reason.
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
            return Err(io::Error::other("not a regular file"));
        }
        self.bytes = self.bytes.saturating_add(about.len());
        Ok(())
    }

    fn check(&self) -> Result<(), ModelFilesError> {
        if self.bytes > MAX_BYTES {
            let (path, bytes) = (self.folder.to_owned(), self.bytes);
            return Err(ModelFilesError::TooLarge { path, bytes });
        }
        match available_memory_bytes() {
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

    /// Adds the external data of the graph, which is the first of the files.
    fn add_weights(&mut self, graph: &str) -> Result<(), ModelFilesError> {
        let path = self.folder.join(graph);
        let within = graph.rfind('/').map_or("", |end| &graph[..=end]);
        for location in external_data::locations(&self.files[0].1) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::bundle::ModelBundle;
    use std::path::PathBuf;

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
        assert!(said(made.path()).contains("has no .onnx file, expected one of model.onnx"));
        assert!(said(&made.path().join("absent")).contains("absent cannot be read"));
        let made = folder(&[("a.onnx", "model.onnx"), ("b.onnx", "half.onnx")]);
        assert!(said(made.path()).contains("has a.onnx, b.onnx, expected one of"));
        let made = folder(&[("model.onnx", "external.onnx")]);
        assert!(
            said(made.path()).contains("keeps external data in weights.bin, which cannot be read")
        );
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
