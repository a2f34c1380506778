//! An agent with as much state as is wanted, and steps that take as long as is wanted.

use crate::Trouble;
use std::fs;
use std::path::{Path, PathBuf};
use supervisor::fleet::Fleet;
use test_support::handwritten_agents;

/// Fills its memory in its first step, and changes four pages in each. Then it turns for a while.
const TEXT: &str = r#"
    (global $count (mut i32) (i32.const 0))
    (func (export "step") (param i32 i32)
        (local $turns i32)
        (if (i32.eqz (global.get $count)) (then
            (memory.fill (i32.const 4096) (i32.const 1)
                (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4096)))))
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (i32.store (i32.const 4096) (global.get $count))
        (i32.store (i32.const 16384) (global.get $count))
        (i32.store (i32.const 32768) (global.get $count))
        (i32.store (i32.const 49152) (global.get $count))
        (local.set $turns (i32.const {turns}))
        (loop $again
            (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
            (br_if $again (i32.gt_s (local.get $turns) (i32.const 0)))))
"#;

/// A component with so many KiB of state, a multiple of 64, whose steps take so many turns of a loop, a nanosecond or so
/// each.
///
/// # Errors
/// When it cannot be written.
pub fn component(folder: &Path, kib: u64, turns: u64) -> Result<PathBuf, Trouble> {
    let module = TEXT.replace("{turns}", &turns.to_string());
    let path = folder.join(format!("state-{kib}-{turns}.wasm"));
    fs::write(
        &path,
        handwritten_agents::simple(&(kib / 64).to_string(), &module),
    )?;
    Ok(path)
}

/// A fleet of one such agent.
///
/// # Errors
/// When it cannot be written.
pub fn fleet(folder: &Path, kib: u64, turns: u64) -> Result<Fleet, Trouble> {
    let component = component(folder, kib, turns)?;
    let name = format!("state-{kib}-{turns}");
    let path = folder.join(format!("{name}.toml"));
    let text = format!(
        "[fleet]\nname = \"{name}\"\n\n[[agents]]\nname = \"state\"\ncomponent = {component:?}\n\
         fuel = 100_000_000_000\nmemory = \"1 GiB\"\n"
    );
    fs::write(&path, text)?;
    Ok(Fleet::read(&path)?)
}
