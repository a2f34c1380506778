//! `lockstep infer`.

mod convert;

use super::arguments::InferArguments;
use super::engine_config;
use super::error::{CliError, ExitStatus};
use super::output::line;
use super::read_file::{NamedFile, read_file};
use super::stop_signals;
use serde_json::json;
use shm_protocol::tensor::{Port, Signature, Tensor};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use supervisor::analysis::TensorText;
use supervisor::launch::{StandaloneModel, StandaloneModelRequest};
use supervisor::models::npy::{self, Array};
use supervisor::models::read_model;
use supervisor::record::ModelDefinition;

/// Runs a model once in an inference host, or shows its inputs and outputs.
pub(super) fn infer(command: &InferArguments) -> Result<ExitStatus, CliError> {
    let name = command.model.display().to_string();
    let file = read_model(&command.model)?;
    let arrays = read_inputs(command)?;
    if let Some(out) = &command.out {
        fs::create_dir_all(out).map_err(|error| cannot_write(out, &error))?;
    }
    let engines = engine_config::engines()?;
    let stop = stop_signals::install()?;
    let request = StandaloneModelRequest {
        model: ModelDefinition {
            // There is only one request.
            may_batch: false,
            providers: command.engine.providers.clone(),
            ..ModelDefinition::new(&name, file.as_slice())
        },
        strict_providers: command.engine.strict_providers,
        intra_op_threads: command.engine.intra_op_threads,
        tensor_bytes: (command.tensor_mib as usize) << 20,
        timeout: Duration::from_millis(command.deadline_ms),
    };
    let mut model = StandaloneModel::load(&engines, &request, stop)?;
    if command.inputs.is_empty() && !model.info.signature.inputs.is_empty() {
        show_signature(command, &name, &model)?;
        model.end()?;
        return Ok(ExitStatus::Success);
    }
    let inputs = ordered_inputs(&name, &model.info.signature, arrays)?;
    let (outputs, wall) = model.run(&inputs)?;
    let files = write_outputs(command, &model.info.signature.outputs, &outputs)?;
    show_results(command, &model, &outputs, &files, wall)?;
    model.end()?;
    Ok(ExitStatus::Success)
}

fn read_inputs(command: &InferArguments) -> Result<BTreeMap<String, Array>, CliError> {
    let mut arrays = BTreeMap::new();
    for (name, path) in command.inputs.iter().map(NamedFile::split) {
        let array = read_file(path, npy::MAX_BYTES)
            .map_err(npy::NpyError::from)
            .and_then(|file| npy::parse(&file))
            .map_err(|error| {
                let file = format!("input {name}, file {}", path.display());
                match error {
                    npy::NpyError::Io(error) => CliError::io(file, &error),
                    error => CliError::input(format!("{file}: {error}")),
                }
            })?;
        if arrays.insert(name.to_owned(), array).is_some() {
            return Err(CliError::input(format!("input {name} is given twice")));
        }
    }
    Ok(arrays)
}

/// The arrays as tensors, in the order of the model's inputs.
fn ordered_inputs(
    model: &str,
    signature: &Signature,
    mut arrays: BTreeMap<String, Array>,
) -> Result<Vec<Tensor>, CliError> {
    let signature_text = || {
        let ports: Vec<String> = signature.inputs.iter().map(Port::to_string).collect();
        ports.join(", ")
    };
    let inputs = signature
        .inputs
        .iter()
        .map(|port| {
            let array = arrays.remove(&port.name).ok_or_else(|| {
                CliError::input(format!(
                    "input {} of model {model} is missing (its inputs are {}); add --input {}=FILE.npy",
                    port.name,
                    signature_text(),
                    port.name
                ))
            })?;
            convert::to_tensor(array, port)
                .map_err(|error| CliError::input(format!("model {model}: {error}")))
        })
        .collect::<Result<Vec<Tensor>, CliError>>()?;
    match arrays.keys().next() {
        None => Ok(inputs),
        Some(name) => Err(CliError::input(format!(
            "model {model} has no input {name}; its inputs are {}",
            signature_text()
        ))),
    }
}

/// Writes each output to its file below `--out`, if that is given.
fn write_outputs(
    command: &InferArguments,
    ports: &[Port],
    outputs: &[Tensor],
) -> Result<Vec<Option<PathBuf>>, CliError> {
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

/// File names for the outputs: characters that file names cannot hold become `_`, and names that are not unique get the
/// position of the output in front.
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

fn cannot_write(path: &Path, error: &std::io::Error) -> CliError {
    CliError::io(format!("cannot write {}", path.display()), error)
}

/// Shows the inputs and outputs of the model.
fn show_signature(
    command: &InferArguments,
    name: &str,
    model: &StandaloneModel,
) -> Result<(), CliError> {
    let signature = &model.info.signature;
    line(format!("model       {name} on {}", model.info.provider))?;
    show_refused(model)?;
    for port in &signature.inputs {
        line(format!("input       {port}"))?;
    }
    for port in &signature.outputs {
        line(format!("output      {port}"))?;
    }
    if command.json {
        line(json!({
            "inputs": ports(&signature.inputs),
            "outputs": ports(&signature.outputs),
            "engine": model.engine.engine,
            "provider": model.info.provider,
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

fn show_refused(model: &StandaloneModel) -> Result<(), CliError> {
    model.info.refused.iter().try_for_each(|refused| {
        let (provider, detail) = (&refused.provider, &refused.detail);
        line(format!("refused     {provider}: {detail}"))
    })
}

fn show_results(
    command: &InferArguments,
    model: &StandaloneModel,
    outputs: &[Tensor],
    files: &[Option<PathBuf>],
    wall: Duration,
) -> Result<(), CliError> {
    let ports = &model.info.signature.outputs;
    line(format!(
        "ran         in {:.3} ms by {} on {}",
        wall.as_secs_f64() * 1e3,
        model.engine.engine,
        model.info.provider
    ))?;
    show_refused(model)?;
    for ((port, output), file) in ports.iter().zip(outputs).zip(files) {
        let (dtype, shape) = (output.dtype, output.shape);
        let what = file.as_ref().map_or_else(
            || TensorText(output).to_string(),
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
            "provider": model.info.provider,
            "refused": model.info.refused.iter().map(|refused| json!({"provider": refused.provider, "reason": refused.detail})).collect::<Vec<_>>(),
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
