//! A model in this process, called as the `ort` crate is called by everybody.

use crate::captured::Captured;
use crate::clock::timed;
use crate::{Trouble, fleets};
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel};
use ort::value::TensorRef;
use std::hint::black_box;
use std::io::Write;

/// The engine of the binary, in this process. There can be one.
pub struct BareEngine {
    environment: Environment,
    _library: tempfile::NamedTempFile,
}

impl BareEngine {
    /// Loads the library that the binary has in it.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn new() -> Result<BareEngine, Trouble> {
        let mut library = tempfile::Builder::new().suffix(".so").tempfile()?;
        library.write_all(inference_host::embedded_library().bytes)?;
        let environment = ort::init_from(library.path())?
            .with_name("bare")
            .with_telemetry(false)
            .build()?;
        environment.set_log_level(LogLevel::Fatal);
        Ok(BareEngine {
            environment,
            _library: library,
        })
    }

    /// The network of the measurements, with the settings of the inference host: one thread, sequential.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn model(&self) -> Result<BareModel, Trouble> {
        let session = self.session(&std::fs::read(fleets::model())?)?;
        let input = session.inputs()[0].name().to_owned();
        Ok(BareModel { session, input })
    }
}

impl BareEngine {
    /// Any model, with the settings of the inference host.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn session(&self, file: &[u8]) -> Result<Session, Trouble> {
        let failed = |error: ort::Error<_>| Trouble::from(error.to_string());
        let session = Session::builder(&self.environment)?
            .with_auto_device(AutoDevicePolicy::PreferCPU)
            .map_err(failed)?
            .with_intra_threads(1)
            .map_err(failed)?
            .with_inter_threads(1)
            .map_err(failed)?
            .with_parallel_execution(false)
            .map_err(failed)?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(failed)?
            .with_deterministic_compute(true)
            .map_err(failed)?
            .with_prepacking(true)
            .map_err(failed)?
            .commit_from_memory(file)?;
        Ok(session)
    }
}

/// The network of the measurements.
pub struct BareModel {
    session: Session,
    input: String,
}

/// Columns of the network's input.
pub const WIDTH: usize = 64;

impl BareModel {
    /// One call. `take` sees the output in the engine's memory.
    ///
    /// # Errors
    /// What the engine says.
    pub fn call(&mut self, rows: &[f32], take: impl FnOnce(&[f32])) -> Result<(), Trouble> {
        let input = TensorRef::from_array_view(([rows.len() / WIDTH, WIDTH], rows))?;
        let outputs = self
            .session
            .run(ort::inputs![self.input.as_str() => input])?;
        take(outputs[0].try_extract_tensor::<f32>()?.1);
        Ok(())
    }

    /// Runs every batch of a captured run once. Mean seconds of one tick, which is one call unless a tick has more rows
    /// than the model's largest batch.
    ///
    /// # Errors
    /// What the engine says.
    pub fn pass(&mut self, captured: &Captured) -> Result<f64, Trouble> {
        let mut seconds = 0.0;
        for position in 0..captured.records.len() {
            let rows = floats(captured.rows(position));
            for batch in rows.chunks(batch_values(captured)) {
                let (took, result) = timed(|| {
                    self.call(batch, |output| {
                        black_box(output);
                    })
                });
                result?;
                seconds += took;
            }
        }
        Ok(seconds / captured.records.len() as f64)
    }

    /// Runs the batches of a captured run: every bit must be that of the run.
    ///
    /// # Errors
    /// When one is not.
    pub fn compare(&mut self, captured: &Captured) -> Result<(), Trouble> {
        for position in 1..captured.records.len() {
            let mut given = Vec::new();
            let rows = floats(captured.rows(position - 1));
            for batch in rows.chunks(batch_values(captured)) {
                self.call(batch, |output| {
                    given.extend(output.iter().flat_map(|value| value.to_le_bytes()))
                })?;
            }
            if given != captured.output(position) {
                return Err(format!(
                    "the bare call gives other bits than the run in tick {position}"
                )
                .into());
            }
        }
        Ok(())
    }
}

/// Most numbers of one batch in a captured run.
fn batch_values(captured: &Captured) -> usize {
    let most = captured
        .header
        .models
        .first()
        .map_or(1, |model| model.settings.max_batch);
    WIDTH * usize::try_from(most).unwrap_or(usize::MAX / WIDTH)
}

/// Rows as the engine takes them.
pub fn floats<'a>(rows: impl Iterator<Item = &'a [u8]>) -> Vec<f32> {
    let words = rows.flat_map(|row| row.chunks_exact(4));
    words
        .map(|word| f32::from_le_bytes(word.try_into().expect("four bytes")))
        .collect()
}
