//! `lockstep infer`.

mod convert;
mod npy;

use super::arguments::Infer;
use super::edge::{Done, Trouble};
use super::engines;
use super::file::NamedFile;
use super::output::line;
use npy::Array;
use serde_json::json;
use shm_protocol::tensor::{Port, Signature, Tensor};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use supervisor::analysis::inspect::Numbers;
use supervisor::host::StopSignals;
use supervisor::launch::{StandaloneModel, StandaloneModelRequest};
use supervisor::models::read_model;

/// Runs a model once, in an inference host and through the rings.
pub(super) fn infer(command: &Infer) -> Result<Done, Trouble> {
    let name = command.model.display().to_string();
    let file =
        read_model(&command.model).map_err(|error| Trouble::input(format!("model {error}")))?;
    let arrays = read_inputs(command)?;
    if let Some(out) = &command.out {
        fs::create_dir_all(out).map_err(|error| cannot_write(out, &error))?;
    }
    let engines = engines::engines()?;
    let stop = StopSignals::install()
        .map_err(|error| Trouble::system(format!("signals cannot be taken over: {error}")))?;
    let request = StandaloneModelRequest {
        // Nobody else asks.
        may_batch: false,
        memory_bytes: 0,
        name: &name,
        file: &file,
        generator: None,
        providers: command.engine.providers.clone(),
        strict_providers: command.engine.strict_providers,
        intra_threads: command.engine.intra_threads,
        tensor_bytes: (command.tensor_mib as usize) << 20,
        patience: Duration::from_millis(command.deadline_ms),
    };
    let mut model = StandaloneModel::load(&engines, &request, stop)?;
    if command.inputs.is_empty() && !model.facts.signature.inputs.is_empty() {
        show(command, &name, &model)?;
        model.end()?;
        return Ok(Done::Fine);
    }
    let inputs = in_order(&name, &model.facts.signature, arrays)?;
    let (outputs, wall) = model.run(&inputs)?;
    let files = write_outputs(command, &model.facts.signature.outputs, &outputs)?;
    tell(command, &model, &outputs, &files, wall)?;
    model.end()?;
    Ok(Done::Fine)
}

fn read_inputs(command: &Infer) -> Result<BTreeMap<String, Array>, Trouble> {
    let mut arrays = BTreeMap::new();
    for (name, path) in command.inputs.iter().map(NamedFile::divided) {
        let array = npy::read(path).map_err(|error| {
            Trouble::input(format!("input {name}, file {}: {error}", path.display()))
        })?;
        if arrays.insert(name.to_owned(), array).is_some() {
            return Err(Trouble::input(format!("input {name} is given twice")));
        }
    }
    Ok(arrays)
}

/// The inputs in the order of the model, each as it takes it.
fn in_order(
    model: &str,
    signature: &Signature,
    mut arrays: BTreeMap<String, Array>,
) -> Result<Vec<Tensor>, Trouble> {
    let takes = || {
        let ports: Vec<String> = signature.inputs.iter().map(Port::to_string).collect();
        ports.join(", ")
    };
    let inputs = signature
        .inputs
        .iter()
        .map(|port| {
            let array = arrays.remove(&port.name).ok_or_else(|| {
                Trouble::input(format!(
                    "model {model} needs an input {}; it takes {}: add --input {}=FILE.npy",
                    port.name,
                    takes(),
                    port.name
                ))
            })?;
            convert::to_tensor(array, port)
                .map_err(|error| Trouble::input(format!("model {model}: {error}")))
        })
        .collect::<Result<Vec<Tensor>, Trouble>>()?;
    match arrays.keys().next() {
        None => Ok(inputs),
        Some(name) => Err(Trouble::input(format!(
            "model {model} has no input {name}; it takes {}",
            takes()
        ))),
    }
}

/// Writes each output to a file of its own; none without `--out`.
fn write_outputs(
    command: &Infer,
    ports: &[Port],
    outputs: &[Tensor],
) -> Result<Vec<Option<PathBuf>>, Trouble> {
    let Some(folder) = &command.out else {
        return Ok(vec![None; outputs.len()]);
    };
    let names = file_names(ports);
    let written = names.into_iter().zip(outputs).map(|(name, output)| {
        let path = folder.join(name);
        let write = || {
            let mut file = BufWriter::new(File::create(&path)?);
            npy::write(&mut file, &convert::to_array(output))?;
            file.flush()
        };
        write().map_err(|error| cannot_write(&path, &error))?;
        Ok(Some(path))
    });
    written.collect()
}

/// The names of outputs as names of files: what no file can have in its name becomes `_`, and where that makes two the
/// same, the position of the output is put before it.
fn file_names(ports: &[Port]) -> Vec<String> {
    let plain = |port: &Port| -> String {
        let may = |letter: char| letter.is_alphanumeric() || "._-".contains(letter);
        let letters = port.name.chars();
        letters
            .map(|letter| if may(letter) { letter } else { '_' })
            .collect()
    };
    let names: Vec<String> = ports.iter().map(plain).collect();
    let is_sole = |name: &String| names.iter().filter(|other| *other == name).count() == 1;
    let numbered = names.iter().enumerate().map(|(position, name)| {
        if is_sole(name) && !name.trim_start_matches('.').is_empty() {
            format!("{name}.npy")
        } else {
            format!("{position}_{name}.npy")
        }
    });
    numbered.collect()
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Trouble {
    Trouble::input(format!("{} cannot be written: {error}", path.display()))
}

/// What the model takes and gives.
fn show(command: &Infer, name: &str, model: &StandaloneModel) -> Result<(), Trouble> {
    let signature = &model.facts.signature;
    line(format!("model       {name} on {}", model.facts.provider))?;
    refused(model)?;
    for port in &signature.inputs {
        line(format!("takes       {port}"))?;
    }
    for port in &signature.outputs {
        line(format!("gives       {port}"))?;
    }
    if command.json {
        line(json!({
            "inputs": ports(&signature.inputs),
            "outputs": ports(&signature.outputs),
            "engine": model.engine.engine,
            "provider": model.facts.provider,
        }))?;
    }
    Ok(())
}

fn ports(ports: &[Port]) -> serde_json::Value {
    ports
        .iter()
        .map(|port| json!({ "name": port.name, "dtype": port.dtype.name(), "shape": port.dims }))
        .collect()
}

fn refused(model: &StandaloneModel) -> Result<(), Trouble> {
    model.facts.refused.iter().try_for_each(|refused| {
        let (provider, detail) = (&refused.provider, &refused.detail);
        line(format!("refused     {provider}: {detail}"))
    })
}

fn tell(
    command: &Infer,
    model: &StandaloneModel,
    outputs: &[Tensor],
    files: &[Option<PathBuf>],
    wall: Duration,
) -> Result<(), Trouble> {
    let ports = &model.facts.signature.outputs;
    line(format!(
        "ran         in {:.3} ms by {} on {}",
        wall.as_secs_f64() * 1e3,
        model.engine.engine,
        model.facts.provider
    ))?;
    refused(model)?;
    for ((port, output), file) in ports.iter().zip(outputs).zip(files) {
        let (dtype, shape) = (output.dtype, output.shape);
        let what = file.as_ref().map_or_else(
            || Numbers(output).to_string(),
            |file| file.display().to_string(),
        );
        line(format!(
            "output      {} {dtype}{shape:?}: {what}",
            port.name
        ))?;
    }
    if command.json {
        let listed = ports.iter().zip(outputs).zip(files);
        let listed = listed.map(|((port, output), file)| {
            json!({
                "name": port.name,
                "dtype": output.dtype.name(),
                "shape": output.shape.dims(),
                // A path can be any bytes; JSON can only hold text.
                "file": file.as_ref().map(|file| file.to_string_lossy()),
            })
        });
        line(json!({
            "outputs": listed.collect::<Vec<_>>(),
            "engine": model.engine.engine,
            "provider": model.facts.provider,
            "refused": model.facts.refused.iter().map(|refused| json!({"provider": refused.provider, "reason": refused.detail})).collect::<Vec<_>>(),
            "wall_s": wall.as_secs_f64(),
        }))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::tensor::DType;

    #[test]
    fn names_of_files_are_plain_and_differ() {
        let ports: Vec<Port> = ["y", "a/b", "a:b", "..", ""]
            .into_iter()
            .map(|name| Port {
                name: name.to_owned(),
                dtype: DType::F32,
                dims: Vec::new(),
            })
            .collect();
        assert_eq!(
            file_names(&ports),
            ["y.npy", "1_a_b.npy", "2_a_b.npy", "3_...npy", "4_.npy"]
        );
    }
}
