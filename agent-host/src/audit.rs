//! Whether bytes are a component that may be an agent, and if not, why, for
//! its author.
//!
//! This looks at the shape only, before anything is compiled. Whether types
//! fit the interface is asked of wasmtime afterwards.

use thiserror::Error;
use wasmparser::{
    BinaryReaderError, ComponentExternalKind, ComponentTypeRef, Encoding, Parser, Payload,
    TypeBounds,
};

/// Why a component cannot be an agent.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The bytes are not WebAssembly, or damaged.
    #[error("it is not a WebAssembly component: {0}")]
    NotWebAssembly(String),
    /// The bytes are a plain module.
    #[error(
        "it is a core WebAssembly module, not a component; make one of it with `wasm-tools component new`, or link with \
         wasm-component-ld"
    )]
    CoreModule,
    /// It imports what agents do not have.
    #[error("it imports {}", .0.join(", and "))]
    Imports(Vec<String>),
    /// It does not have what is called.
    #[error("it does not export {}; an agent implements the world `agent` of wit/lockstep.wit", .0.join(" and "))]
    Exports(Vec<&'static str>),
    /// Its state is in more than one memory.
    #[error("it has {0} linear memories; an agent has one, which is its whole state")]
    Memories(usize),
    /// Its memory is made for threads.
    #[error("its memory is shared; agents have no threads, so build it without atomics")]
    SharedMemory,
    /// The bytes are a component, but not a valid one, or its types do not fit.
    #[error("it does not fit the world `agent` of wit/lockstep.wit: {0}")]
    Types(String),
}

/// The first bytes of WebAssembly of any kind.
const MAGIC: &[u8] = b"\0asm";
const PACKAGE: &str = "lockstep:agent/";
const OFFERED: [&str; 2] = ["lockstep:agent/host@0.1.0", "lockstep:agent/types@0.1.0"];
const CALLED: [&str; 2] = ["init", "step"];

/// What agents use in the place of what they cannot import. The longest beginning comes first.
const INSTEAD: [(&str, &str); 8] = [
    (
        "wasi:clocks/",
        "agents have no clock; use `tick` of lockstep:agent/host",
    ),
    (
        "wasi:random/",
        "agents have no randomness of the machine; use `random` of lockstep:agent/host",
    ),
    (
        "wasi:filesystem/",
        "agents have no files; use the settings of the fleet file, and `emit` for output",
    ),
    (
        "wasi:sockets/",
        "agents have no network; use `emit`, and messages from other agents",
    ),
    (
        "wasi:http/",
        "agents have no network; use `emit`, and messages from other agents",
    ),
    (
        "wasi:nn/",
        "agents ask models by `submit` of lockstep:agent/host",
    ),
    (
        "wasi:cli/",
        "agents have no command line; use the settings of the fleet file, and `log`",
    ),
    (
        "wasi:",
        "agents have no WASI; build for wasm32-unknown-unknown, or stub it out when linking",
    ),
];

/// Checks that the bytes have the shape of an agent.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn audit(component: &[u8]) -> Result<(), Refused> {
    if !component.starts_with(MAGIC) {
        return Err(Refused::NotWebAssembly(
            "the file does not begin as WebAssembly does".to_owned(),
        ));
    }
    let malformed =
        |error: BinaryReaderError| Refused::NotWebAssembly(one_line(&error.to_string()));
    let mut found = Found::default();
    for payload in Parser::new(0).parse_all(component) {
        found
            .take(&payload.map_err(malformed)?)
            .map_err(malformed)?;
    }
    found.verdict()
}

/// A text of wasmtime's on one line.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What was seen so far. Sections of nested modules and components come in between those of the outermost.
#[derive(Default)]
struct Found {
    /// What is being parsed, from the outside in.
    within: Vec<Encoding>,
    is_module: bool,
    imports: Vec<String>,
    exports: Vec<String>,
    memories: usize,
    has_shared_memory: bool,
}

impl Found {
    fn take(&mut self, payload: &Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::Version { encoding, .. } => {
                self.is_module |= self.within.is_empty() && *encoding == Encoding::Module;
                self.within.push(*encoding);
            }
            Payload::End(_) => {
                self.within.pop();
            }
            Payload::ComponentImportSection(section) if self.within.len() == 1 => {
                for import in section.clone() {
                    let import = import?;
                    // A name for a type that is known already gives nothing to call.
                    if !matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_))) {
                        self.imports.push(import.name.name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(section) if self.within.len() == 1 => {
                for export in section.clone() {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Func {
                        self.exports.push(export.name.name.to_owned());
                    }
                }
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    self.memories += 1;
                    self.has_shared_memory |= memory?.shared;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn verdict(self) -> Result<(), Refused> {
        if self.is_module {
            return Err(Refused::CoreModule);
        }
        let foreign = |name: &&String| !OFFERED.contains(&name.as_str());
        let foreign: Vec<String> = self
            .imports
            .iter()
            .filter(foreign)
            .map(|name| explain(name))
            .collect();
        if !foreign.is_empty() {
            return Err(Refused::Imports(foreign));
        }
        let missing = |name: &&str| !self.exports.iter().any(|export| export == name);
        let missing: Vec<&str> = CALLED.into_iter().filter(missing).collect();
        if !missing.is_empty() {
            return Err(Refused::Exports(missing));
        }
        if self.has_shared_memory {
            return Err(Refused::SharedMemory);
        }
        if self.memories > 1 {
            return Err(Refused::Memories(self.memories));
        }
        Ok(())
    }
}

/// An import that agents do not have, and what to use instead.
fn explain(name: &str) -> String {
    if name.starts_with(PACKAGE) {
        return format!(
            "{name}: this version offers {}; build it against wit/lockstep.wit",
            OFFERED[0]
        );
    }
    let instead = INSTEAD
        .iter()
        .find(|(beginning, _)| name.starts_with(beginning));
    let instead = instead.map_or(
        "agents import nothing but lockstep:agent",
        |(_, instead)| instead,
    );
    format!("{name}: {instead}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(name: &str) -> Vec<u8> {
        let path = format!("{}/../agents/built/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    #[test]
    fn the_example_agents_may_be_agents() {
        for name in [
            "counter", "pingpong", "trouble", "mlp", "cartpole", "referee",
        ] {
            assert_eq!(audit(&built(name)), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_clock_is_refused_by_name() {
        let refused = audit(&built("clock"))
            .expect_err("it imports a clock")
            .to_string();
        assert_eq!(
            refused,
            "it imports wasi:clocks/monotonic-clock@0.2.0: agents have no clock; use `tick` of lockstep:agent/host"
        );
    }

    #[test]
    fn what_is_no_component_is_said_to_be_none() {
        assert_eq!(audit(b"\0asm\x01\0\0\0"), Err(Refused::CoreModule));
        for garbage in [&b""[..], b"\x7fELF", b"\0asm", &built("counter")[..2000]] {
            assert!(
                matches!(audit(garbage), Err(Refused::NotWebAssembly(_))),
                "{garbage:?}"
            );
        }
    }

    #[test]
    fn an_empty_component_lacks_its_exports() {
        let empty = b"\0asm\x0d\0\x01\0";
        assert_eq!(audit(empty), Err(Refused::Exports(vec!["init", "step"])));
    }

    #[test]
    fn several_memories_are_refused() {
        // Two nested modules with a memory of one page each.
        let module = b"\0asm\x01\0\0\0\x05\x03\x01\x00\x01";
        let mut found = Found {
            exports: vec!["init".into(), "step".into()],
            ..Found::default()
        };
        found.within.push(Encoding::Component);
        for _ in 0..2 {
            for payload in Parser::new(0).parse_all(module) {
                found.take(&payload.expect("valid")).expect("valid");
            }
        }
        assert_eq!(found.verdict(), Err(Refused::Memories(2)));
    }

    #[test]
    fn another_version_of_the_interface_is_named() {
        assert!(
            explain("lockstep:agent/host@9.0.0")
                .contains("this version offers lockstep:agent/host@0.1.0")
        );
        assert!(explain("wasi:io/streams@0.2.0").contains("agents have no WASI"));
        assert!(explain("env").contains("nothing but lockstep:agent"));
    }
}
