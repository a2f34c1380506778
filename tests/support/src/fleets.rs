//! Fleet files, written by hand.

use std::path::Path;

/// A file of the repository.
pub fn repository(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    format!("{}/{path}", root.expect("tests/support").display())
}

/// A fleet file: keys of `[fleet]`, then the other tables.
pub fn fleet(keys: &str, tables: &[String]) -> String {
    format!("[fleet]\nname = \"tested\"\n{keys}\n{}", tables.concat())
}

/// A table of an example agent, with more keys.
pub fn agent(name: &str, component: &str, keys: &str) -> String {
    let component = repository(&format!("agents/built/{component}.wasm"));
    format!("[[agents]]\nname = \"{name}\"\ncomponent = \"{component}\"\n{keys}\n")
}

/// A table of a model for tests, with more keys.
pub fn model(name: &str, file: &str, keys: &str) -> String {
    let file = repository(&format!("models/testdata/{file}.onnx"));
    format!("[[models]]\nname = \"{name}\"\nfile = \"{file}\"\n{keys}\n")
}

/// A table of a change of the model `mlp`.
pub fn change(tick: u64, keys: &str) -> String {
    format!("[[changes]]\ntick = {tick}\nmodel = \"mlp\"\n{keys}\n")
}

/// A table by which the model `mlp` becomes another version.
pub fn replace(tick: u64, version: &str, file: &str) -> String {
    let file = repository(&format!("models/testdata/{file}.onnx"));
    change(tick, &format!("file = \"{file}\"\nversion = \"{version}\""))
}

/// A fleet of one agent that feeds a model: settings of the agent and the model's table.
pub fn fed(settings: &str, table: String) -> String {
    fleet(
        "ticks = 10",
        &[
            agent("feeder", "mlp", &format!("settings = {{ {settings} }}")),
            table,
        ],
    )
}

/// The model that the agent feeds, with more keys.
pub fn sound_model(keys: &str) -> String {
    model("mlp", "mlp", keys)
}
