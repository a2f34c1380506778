//! The arguments of `lockstep model`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(in crate::cli) struct ModelArguments {
    #[command(subcommand)]
    pub(in crate::cli) action: ModelSubcommand,
    /// End standard output with one JSON object.
    #[arg(long, global = true)]
    pub(in crate::cli) json: bool,
}

/// A change of a model. It takes effect two ticks after the run has accepted it.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ModelSubcommand {
    /// Replace the model with another version, and load it if it was unloaded.
    Replace {
        #[command(flatten)]
        target: ModelTarget,
        /// The ONNX file, or the folder of a language model.
        file: PathBuf,
        /// The name of the version.
        #[arg(long = "version", value_name = "NAME")]
        version: String,
    },
    /// Unload the model: later requests are answered with an error that says so.
    Unload(ModelTarget),
    /// Load the version that was unloaded.
    Load(ModelTarget),
}

impl ModelSubcommand {
    pub(in crate::cli) fn target(&self) -> &ModelTarget {
        match self {
            ModelSubcommand::Replace { target, .. }
            | ModelSubcommand::Unload(target)
            | ModelSubcommand::Load(target) => target,
        }
    }
}

/// A model of a run.
#[derive(Debug, Args)]
pub(in crate::cli) struct ModelTarget {
    /// The run directory.
    #[arg(value_name = "RUN")]
    pub(in crate::cli) dir: PathBuf,
    /// The name of the model in the fleet.
    pub(in crate::cli) model: String,
}

/// Whatever stood behind `lockstep change`.
#[derive(Debug, Args)]
pub(in crate::cli) struct FormerChangeArguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _words: Vec<std::ffi::OsString>,
}
