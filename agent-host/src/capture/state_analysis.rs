//! The analysis of a component: which mutable globals are part of its state, and whether it could change state that
//! cannot be captured.

use wasmparser::{
    BinaryReaderError, CanonicalFunction, ComponentAlias, ComponentExternalKind,
    ComponentOuterAliasKind, ComponentType, ComponentTypeRef, Encoding, ExternalKind, FunctionBody,
    GlobalType, Instance, Operator, Parser, Payload, TypeRef, ValType,
};

/// Maximum number of mutable globals. Every record of a state carries all of them; the largest language runtimes have
/// five hundred.
const MAX_GLOBALS: usize = 4096;

/// The end of an analysis without a layout.
#[derive(Debug)]
pub(super) enum AnalysisError {
    /// The state cannot be captured, for this reason.
    Opaque(String),
    /// The bytes are not a component.
    Malformed(BinaryReaderError),
}

impl From<BinaryReaderError> for AnalysisError {
    fn from(error: BinaryReaderError) -> Self {
        AnalysisError::Malformed(error)
    }
}

/// A mutable global that a module defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MutableGlobal {
    /// Its index among all globals of the module.
    pub(super) index: u32,
    /// Its type, which is a number type.
    pub(super) ty: ValType,
}

/// A core module.
#[derive(Debug, Default)]
pub(super) struct CoreModule {
    /// The mutable globals that it defines. Imported ones belong to another module.
    pub(super) globals: Vec<MutableGlobal>,
    /// The prefix of the names under which the rewritten module exports them; no other export has it.
    pub(super) prefix: String,
    /// Number of globals so far, imported and constant ones included.
    global_count: u32,
    exports: Vec<String>,
}

/// The layout of a component. Nested components hold no code.
#[derive(Debug, Default)]
pub(super) struct ComponentLayout {
    /// Core modules, in order.
    pub(super) modules: Vec<CoreModule>,
    /// For each core instance, the module that it instantiates, if any.
    pub(super) instances: Vec<Option<usize>>,
    /// Number of core functions.
    pub(super) core_functions: u32,
    /// Number of component functions.
    pub(super) functions: u32,
    /// Number of component types.
    pub(super) types: u32,
}

impl ComponentLayout {
    /// The mutable globals of all core instances, in order: the instance, its module, and the position in the module.
    pub(super) fn mutable_globals(&self) -> impl Iterator<Item = (usize, &CoreModule, usize)> {
        let instances = self.instances.iter().enumerate();
        let made = instances.filter_map(|(instance, module)| Some((instance, (*module)?)));
        made.flat_map(|(instance, module)| {
            let module = &self.modules[module];
            (0..module.globals.len()).map(move |position| (instance, module, position))
        })
    }

    /// Number of mutable globals of all core instances.
    pub(super) fn globals(&self) -> u32 {
        u32::try_from(self.mutable_globals().count()).expect("the analysis limits their number")
    }
}

/// Analyses a component.
///
/// # Errors
/// When its state cannot be captured, or it is malformed.
pub(super) fn analyse(component: &[u8]) -> Result<ComponentLayout, AnalysisError> {
    let mut layout = ComponentLayout::default();
    // The encodings being parsed, from the outside in.
    let mut nesting = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        match (&payload, &nesting[..]) {
            (Payload::Version { encoding, .. }, outside) => {
                match (encoding, outside) {
                    (Encoding::Module, [Encoding::Component]) => {
                        layout.modules.push(CoreModule::default());
                    }
                    (Encoding::Module, [_, ..]) => return nested(),
                    _ => {}
                }
                nesting.push(*encoding);
            }
            (Payload::End(_), _) => {
                nesting.pop();
            }
            (_, [Encoding::Component]) => layout.add_section(&payload)?,
            (_, [Encoding::Component, Encoding::Module]) => {
                let module = layout.modules.last_mut().expect("its version came first");
                module.add_section(&payload)?;
            }
            (Payload::InstanceSection(_) | Payload::ComponentCanonicalSection(_), _) => {
                return nested();
            }
            _ => {}
        }
    }
    for module in &mut layout.modules {
        module.choose_prefix();
    }
    if layout.mutable_globals().take(MAX_GLOBALS + 1).count() > MAX_GLOBALS {
        return opaque(format!("it has more than {MAX_GLOBALS} mutable globals"));
    }
    Ok(layout)
}

fn opaque<T>(reason: impl Into<String>) -> Result<T, AnalysisError> {
    Err(AnalysisError::Opaque(reason.into()))
}

fn nested<T>() -> Result<T, AnalysisError> {
    opaque("a component within it has code of its own")
}

impl ComponentLayout {
    /// Adds a section of the outermost component.
    fn add_section(&mut self, payload: &Payload<'_>) -> Result<(), AnalysisError> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    self.add_instance(&instance?)?;
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    self.add_alias(&alias?)?;
                }
            }
            Payload::ComponentTypeSection(section) => {
                for declared in section.clone() {
                    if matches!(declared?, ComponentType::Resource { .. }) {
                        return opaque("it has resources");
                    }
                    self.types += 1;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section.clone() {
                    match function? {
                        CanonicalFunction::Lift { .. } => self.functions += 1,
                        CanonicalFunction::Lower { .. } => self.core_functions += 1,
                        _ => return opaque("it has resources, or functions that wait"),
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    match import?.ty {
                        ComponentTypeRef::Func(_) => self.functions += 1,
                        ComponentTypeRef::Type(_) => self.types += 1,
                        ComponentTypeRef::Module(_) => return opaque("it imports a core module"),
                        _ => {}
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    self.count(export?.kind)?;
                }
            }
            Payload::ComponentStartSection { .. } => {
                return opaque("it has a start function of its own");
            }
            _ => {}
        }
        Ok(())
    }

    fn add_instance(&mut self, instance: &Instance<'_>) -> Result<(), AnalysisError> {
        let module = match instance {
            Instance::Instantiate { module_index, .. } => {
                let position = usize::try_from(*module_index).unwrap_or(usize::MAX);
                if position >= self.modules.len() {
                    return opaque("it makes an instance of a module that it does not have");
                }
                Some(position)
            }
            Instance::FromExports(_) => None,
        };
        self.instances.push(module);
        Ok(())
    }

    fn add_alias(&mut self, alias: &ComponentAlias<'_>) -> Result<(), AnalysisError> {
        match alias {
            ComponentAlias::InstanceExport { kind, .. } => self.count(*kind)?,
            ComponentAlias::CoreInstanceExport { kind, .. } => {
                if matches!(kind, ExternalKind::Func | ExternalKind::FuncExact) {
                    self.core_functions += 1;
                }
            }
            ComponentAlias::Outer { kind, .. } => match kind {
                ComponentOuterAliasKind::Type => self.types += 1,
                ComponentOuterAliasKind::CoreModule => return passes_modules(),
                ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Component => {}
            },
        }
        Ok(())
    }

    /// Counts an item that gets an index of its kind.
    fn count(&mut self, kind: ComponentExternalKind) -> Result<(), AnalysisError> {
        match kind {
            ComponentExternalKind::Func => self.functions += 1,
            ComponentExternalKind::Type => self.types += 1,
            ComponentExternalKind::Module => return passes_modules(),
            _ => {}
        }
        Ok(())
    }
}

fn passes_modules<T>() -> Result<T, AnalysisError> {
    opaque("it passes core modules around")
}

impl CoreModule {
    fn add_section(&mut self, payload: &Payload<'_>) -> Result<(), AnalysisError> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    if matches!(import?.ty, TypeRef::Global(_)) {
                        self.global_count += 1;
                    }
                }
            }
            Payload::GlobalSection(section) => {
                for global in section.clone() {
                    self.add_global(global?.ty)?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section.clone() {
                    self.exports.push(export?.name.to_owned());
                }
            }
            Payload::CodeSectionEntry(body) => check_code(body)?,
            _ => {}
        }
        Ok(())
    }

    fn add_global(&mut self, ty: GlobalType) -> Result<(), AnalysisError> {
        if ty.mutable {
            match ty.content_type {
                ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64 => {}
                ValType::V128 => return opaque("it has a mutable global of type v128"),
                ValType::Ref(_) => return opaque("it has a mutable global that is a reference"),
            }
            self.globals.push(MutableGlobal {
                index: self.global_count,
                ty: ty.content_type,
            });
        }
        self.global_count += 1;
        Ok(())
    }

    fn choose_prefix(&mut self) {
        "lockstep-global-".clone_into(&mut self.prefix);
        while self
            .exports
            .iter()
            .any(|export| export.starts_with(&self.prefix))
        {
            self.prefix.insert(0, '_');
        }
    }
}

/// Refuses instructions that change tables or segments.
fn check_code(body: &FunctionBody<'_>) -> Result<(), AnalysisError> {
    for operator in body.get_operators_reader()? {
        let name = match operator? {
            Operator::TableSet { .. } => "table.set",
            Operator::TableGrow { .. } => "table.grow",
            Operator::TableFill { .. } => "table.fill",
            Operator::TableCopy { .. } => "table.copy",
            Operator::TableInit { .. } => "table.init",
            Operator::ElemDrop { .. } => "elem.drop",
            Operator::DataDrop { .. } => "data.drop",
            _ => continue,
        };
        return opaque(format!(
            "its code contains {name}, and tables and segments are not captured"
        ));
    }
    Ok(())
}
