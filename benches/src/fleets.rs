//! The fleets that are measured, and running them.

use crate::Trouble;
use crate::binary::in_repository;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use supervisor::fleet::{Durability, Fleet};

/// What every agent does in every tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It counts; no inference.
    Counter,
    /// It asks a 64→256→256→16 network about one row.
    Mlp,
}

impl Work {
    /// Both.
    pub const ALL: [Work; 2] = [Work::Counter, Work::Mlp];

    /// For names of files and figures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Work::Counter => "counter",
            Work::Mlp => "mlp",
        }
    }

    /// The component that does it.
    #[must_use]
    pub fn component(self) -> PathBuf {
        in_repository(&format!("agents/built/{}.wasm", self.name()))
    }

    /// Writes the file of a fleet of so many agents, and says where it is.
    ///
    /// # Errors
    /// What the system says.
    pub fn fleet(self, folder: &Path, agents: usize) -> Result<PathBuf, Trouble> {
        let name = self.name();
        let component = self.component().canonicalize()?;
        let mut text = format!(
            "[fleet]\nname = \"{name}\"\n\n[[agents]]\nname = \"{name}\"\ncount = {agents}\ncomponent = {component:?}\n"
        );
        if self == Work::Mlp {
            let model = model().canonicalize()?;
            text += &format!("\n[[models]]\nname = \"mlp\"\nfile = {model:?}\n");
        }
        let path = folder.join(format!("{name}-{agents}.toml"));
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// The folder of the language model that the binary has in it.
#[must_use]
pub fn talk() -> PathBuf {
    in_repository("models/talk")
}

/// The 64→256→256→16 network.
#[must_use]
pub fn model() -> PathBuf {
    in_repository("models/testdata/mlp.onnx")
}

/// Name of the file of [`demo`].
pub const DEMO: &str = "demo.toml";

/// The fleet of the demo: 64 poles on carts and their referee, who ask one model. Its file stays in the folder.
///
/// # Errors
/// When it cannot be written.
pub fn demo(folder: &Path) -> Result<Fleet, Trouble> {
    let part = |path: &str| in_repository(path).canonicalize();
    let text = format!(
        "[fleet]\nname = \"demo\"\n\n\
         [[agents]]\nname = \"pole\"\ncount = 64\ncomponent = {:?}\n\n\
         [[agents]]\nname = \"referee\"\ncomponent = {:?}\nsettings = {{ every = 1 }}\npriority = -1\n\n\
         [[models]]\nname = \"policy\"\nfile = {:?}\n",
        part("agents/built/cartpole.wasm")?,
        part("agents/built/referee.wasm")?,
        part("models/policy.onnx")?,
    );
    let path = folder.join(DEMO);
    fs::write(&path, text)?;
    Ok(Fleet::read(&path)?)
}

/// The word of the command line for a level of durability.
#[must_use]
pub fn word(durability: Durability) -> &'static str {
    let named = Durability::NAMES
        .iter()
        .find(|(_, level)| *level == durability);
    named.expect("every level has a name").0
}

/// A command that runs a fleet on one agent host, so that it can be compared with one thread.
#[must_use]
pub fn command(
    binary: &Path,
    fleet: &Path,
    dir: &Path,
    ticks: u64,
    durability: Durability,
) -> Command {
    let mut command = Command::new(binary);
    command.arg("run").arg(fleet).arg("--dir").arg(dir);
    command.args([
        "--hosts",
        "1",
        "--json",
        "--ticks",
        &ticks.to_string(),
        "--durability",
        word(durability),
    ]);
    command.stdin(Stdio::null());
    command
}

/// Runs a fleet and removes what it wrote. What it said in JSON.
///
/// # Errors
/// When it did not end well.
pub fn run(
    binary: &Path,
    fleet: &Path,
    dir: &Path,
    ticks: u64,
    durability: Durability,
) -> Result<Value, Trouble> {
    let said = finish(command(binary, fleet, dir, ticks, durability))?;
    fs::remove_dir_all(dir)?;
    Ok(said)
}

/// Runs a command of ours to its end; gives what it said in JSON.
///
/// # Errors
/// When it did not end well.
pub fn finish(mut command: Command) -> Result<Value, Trouble> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!(
            "{command:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    let text = String::from_utf8(output.stdout)?;
    let last = text.lines().last().ok_or("nothing on standard output")?;
    Ok(serde_json::from_str(last)?)
}

/// A number in what a run said.
///
/// # Errors
/// When it is not there.
pub fn number(said: &Value, name: &str) -> Result<f64, Trouble> {
    said[name]
        .as_f64()
        .ok_or_else(|| format!("a run did not say {name}: {said}").into())
}
