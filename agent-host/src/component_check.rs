//! The check that a component has the shape of an agent, with messages for its author.
//!
//! It runs before anything is compiled and looks at imports, exports and memories. Their types are checked afterwards,
//! by wasmtime.

use crate::interface_version::InterfaceVersion;
use thiserror::Error;
use wasmparser::{
    BinaryReaderError, ComponentExternalKind, ComponentTypeRef, Encoding, Parser, Payload,
    TypeBounds,
};

/// A component that cannot be an agent.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ComponentError {
    /// The bytes are not WebAssembly, or are damaged.
    #[error("it is not a WebAssembly component: {0}")]
    NotWebAssembly(String),
    /// The bytes are a core module.
    #[error(
        "it is a core WebAssembly module, not a component; convert it with `wasm-tools component new`, or link with \
         wasm-component-ld"
    )]
    CoreModule,
    /// It imports interfaces that agents do not have.
    #[error("it imports {}", .0.join(", and "))]
    Imports(Vec<String>),
    /// It imports two versions of the agent interface.
    #[error(
        "it imports two versions of lockstep:agent; build all parts of it against one wit/lockstep.wit"
    )]
    TwoVersions,
    /// It lacks functions that the host calls.
    #[error("it does not export {}; an agent implements the world `agent` of wit/lockstep.wit", .0.join(" and "))]
    Exports(Vec<&'static str>),
    /// It has more than one memory.
    #[error("it has {0} linear memories; an agent may have one")]
    Memories(usize),
    /// Its memory is shared between threads.
    #[error("its memory is shared; agents have no threads, so build it without atomics")]
    SharedMemory,
    /// The component is not valid, or the types of its imports and exports do not fit.
    #[error("it does not fit the world `agent` of wit/lockstep.wit: {0}")]
    Types(String),
}

/// The first bytes of every WebAssembly binary.
const MAGIC: &[u8] = b"\0asm";
const PACKAGE_PREFIX: &str = "lockstep:agent/";
const REQUIRED_EXPORTS: [&str; 2] = ["init", "step"];

/// The alternatives to imports that agents do not have, by the prefix of the import. Longer prefixes come first.
const ALTERNATIVES: [(&str, &str); 8] = [
    (
        "wasi:clocks/",
        "agents have no clock; use `tick` of lockstep:agent/host",
    ),
    (
        "wasi:random/",
        "agents have no random numbers of the machine; use `random` of lockstep:agent/host",
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
        "agents send requests to models with `submit` of lockstep:agent/host",
    ),
    (
        "wasi:cli/",
        "agents have no command line; use the settings of the fleet file, and `log`",
    ),
    (
        "wasi:",
        "agents have no WASI; build for wasm32-unknown-unknown, or stub WASI when linking",
    ),
];

/// Checks that a component has the shape of an agent.
///
/// # Errors
/// The first problem found.
pub(crate) fn check_component(component: &[u8]) -> Result<(), ComponentError> {
    if !component.starts_with(MAGIC) {
        return Err(ComponentError::NotWebAssembly(
            "the file does not begin with the magic bytes of WebAssembly".to_owned(),
        ));
    }
    let malformed =
        |error: BinaryReaderError| ComponentError::NotWebAssembly(one_line(&error.to_string()));
    let mut shape = ComponentShape::default();
    for payload in Parser::new(0).parse_all(component) {
        shape.add(&payload.map_err(malformed)?).map_err(malformed)?;
    }
    shape.check()
}

/// A message of wasmtime on one line.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The parts of a component that matter for the check, collected while it is parsed. The parser visits nested modules
/// and components between the sections of the outermost.
#[derive(Default)]
struct ComponentShape {
    /// The encodings being parsed, from the outside in.
    nesting: Vec<Encoding>,
    is_module: bool,
    imports: Vec<String>,
    exports: Vec<String>,
    memories: usize,
    has_shared_memory: bool,
}

impl ComponentShape {
    fn add(&mut self, payload: &Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::Version { encoding, .. } => {
                self.is_module |= self.nesting.is_empty() && *encoding == Encoding::Module;
                self.nesting.push(*encoding);
            }
            Payload::End(_) => {
                self.nesting.pop();
            }
            Payload::ComponentImportSection(section) if self.nesting.len() == 1 => {
                for import in section.clone() {
                    let import = import?;
                    // An alias for a known type imports no function.
                    if !matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_))) {
                        self.imports.push(import.name.name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(section) if self.nesting.len() == 1 => {
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

    fn check(self) -> Result<(), ComponentError> {
        if self.is_module {
            return Err(ComponentError::CoreModule);
        }
        let of_version =
            |version: InterfaceVersion, name: &str| version.interfaces().contains(&name);
        let foreign = |name: &&String| {
            let mut versions = InterfaceVersion::ALL.into_iter();
            !versions.any(|version| of_version(version, name))
        };
        let foreign: Vec<String> = self
            .imports
            .iter()
            .filter(foreign)
            .map(|name| describe_import(name))
            .collect();
        if !foreign.is_empty() {
            return Err(ComponentError::Imports(foreign));
        }
        let imports = |version| {
            let mut imports = self.imports.iter();
            imports.any(|name| of_version(version, name))
        };
        if InterfaceVersion::ALL.into_iter().all(imports) {
            return Err(ComponentError::TwoVersions);
        }
        let missing = |name: &&str| !self.exports.iter().any(|export| export == name);
        let missing: Vec<&str> = REQUIRED_EXPORTS.into_iter().filter(missing).collect();
        if !missing.is_empty() {
            return Err(ComponentError::Exports(missing));
        }
        if self.has_shared_memory {
            return Err(ComponentError::SharedMemory);
        }
        if self.memories > 1 {
            return Err(ComponentError::Memories(self.memories));
        }
        Ok(())
    }
}

/// The message for an import that agents do not have, with the alternative.
fn describe_import(name: &str) -> String {
    if name.starts_with(PACKAGE_PREFIX) {
        return format!(
            "{name}: this version offers {}; build it against wit/lockstep.wit",
            InterfaceVersion::V0_2.host_interface()
        );
    }
    let alternative = ALTERNATIVES
        .iter()
        .find(|(prefix, _)| name.starts_with(prefix));
    let alternative = alternative.map_or(
        "agents import nothing but lockstep:agent",
        |(_, alternative)| alternative,
    );
    format!("{name}: {alternative}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(name: &str) -> Vec<u8> {
        let path = format!("{}/../agents/built/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    #[test]
    fn the_example_agents_pass() {
        for name in [
            "counter", "pingpong", "trouble", "mlp", "cartpole", "referee",
        ] {
            assert_eq!(check_component(&built(name)), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_clock_is_refused_by_name() {
        let refused = check_component(&built("clock"))
            .expect_err("it imports a clock")
            .to_string();
        assert_eq!(
            refused,
            "it imports wasi:clocks/monotonic-clock@0.2.0: agents have no clock; use `tick` of lockstep:agent/host"
        );
    }

    #[test]
    fn bytes_that_are_no_component_are_refused() {
        assert_eq!(
            check_component(b"\0asm\x01\0\0\0"),
            Err(ComponentError::CoreModule)
        );
        for garbage in [&b""[..], b"\x7fELF", b"\0asm", &built("counter")[..2000]] {
            assert!(
                matches!(
                    check_component(garbage),
                    Err(ComponentError::NotWebAssembly(_))
                ),
                "{garbage:?}"
            );
        }
    }

    #[test]
    fn an_empty_component_lacks_its_exports() {
        let empty = b"\0asm\x0d\0\x01\0";
        assert_eq!(
            check_component(empty),
            Err(ComponentError::Exports(vec!["init", "step"]))
        );
    }

    #[test]
    fn several_memories_are_refused() {
        // Two nested modules with a memory of one page each.
        let module = b"\0asm\x01\0\0\0\x05\x03\x01\x00\x01";
        let mut shape = ComponentShape {
            exports: vec!["init".into(), "step".into()],
            ..ComponentShape::default()
        };
        shape.nesting.push(Encoding::Component);
        for _ in 0..2 {
            for payload in Parser::new(0).parse_all(module) {
                shape.add(&payload.expect("valid")).expect("valid");
            }
        }
        assert_eq!(shape.check(), Err(ComponentError::Memories(2)));
    }

    #[test]
    fn another_version_of_the_interface_is_named() {
        assert!(
            describe_import("lockstep:agent/host@9.0.0")
                .contains("this version offers lockstep:agent/host@0.2.0")
        );
        assert!(describe_import("wasi:io/streams@0.2.0").contains("agents have no WASI"));
        assert!(describe_import("env").contains("nothing but lockstep:agent"));
    }
}
