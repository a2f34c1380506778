//! What the state of a component's agents consists of, and where things are in
//! it.

use wasmparser::{
    BinaryReaderError, CanonicalFunction, ComponentAlias, ComponentExternalKind,
    ComponentOuterAliasKind, ComponentType, ComponentTypeRef, Encoding, ExternalKind, FunctionBody,
    GlobalType, Instance, Operator, Parser, Payload, TypeRef, ValType,
};

/// Most variables outside of the memory. All of them travel with every record of a state; the largest language
/// runtimes have five hundred.
const MOST_GLOBALS: usize = 4096;

/// Why there is nothing more to look at.
#[derive(Debug)]
pub(super) enum Stop {
    /// The state cannot be captured, and why.
    Opaque(String),
    /// The bytes are not a component.
    Malformed(BinaryReaderError),
}

impl From<BinaryReaderError> for Stop {
    fn from(error: BinaryReaderError) -> Self {
        Stop::Malformed(error)
    }
}

/// A mutable global that a module defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    /// Its number among all globals of the module.
    pub(super) index: u32,
    /// Its type: a number.
    pub(super) number: ValType,
}

/// A core module.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// The mutable globals that it defines. Those that it imports belong to another.
    pub(super) variables: Vec<Variable>,
    /// The beginning of the names under which it exports them for us; no export of its own begins so.
    pub(super) prefix: String,
    globals: u32,
    exports: Vec<String>,
}

/// What is in a component. Nested components in it hold no code.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Core modules, in their order.
    pub(super) modules: Vec<Module>,
    /// For each core instance the module that it is made of, if it is made of one.
    pub(super) instances: Vec<Option<usize>>,
    /// How many core functions, functions and types there are.
    pub(super) core_functions: u32,
    pub(super) functions: u32,
    pub(super) types: u32,
}

impl Survey {
    /// The variables of all instances, in order: the instance, its module, and the variable's position in it.
    pub(super) fn variables(&self) -> impl Iterator<Item = (usize, &Module, usize)> {
        let instances = self.instances.iter().enumerate();
        let made = instances.filter_map(|(instance, module)| Some((instance, (*module)?)));
        made.flat_map(|(instance, module)| {
            let module = &self.modules[module];
            (0..module.variables.len()).map(move |position| (instance, module, position))
        })
    }

    /// How many variables there are.
    pub(super) fn globals(&self) -> u32 {
        u32::try_from(self.variables().count()).expect("the survey has counted them")
    }
}

/// Looks through a component.
///
/// # Errors
/// When its state cannot be captured, or it is malformed.
pub(super) fn survey(component: &[u8]) -> Result<Survey, Stop> {
    let mut survey = Survey::default();
    // What is being parsed, from the outside in.
    let mut within = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        match (&payload, &within[..]) {
            (Payload::Version { encoding, .. }, outside) => {
                match (encoding, outside) {
                    (Encoding::Module, [Encoding::Component]) => {
                        survey.modules.push(Module::default());
                    }
                    (Encoding::Module, [_, ..]) => return nested(),
                    _ => {}
                }
                within.push(*encoding);
            }
            (Payload::End(_), _) => {
                within.pop();
            }
            (_, [Encoding::Component]) => survey.take_outermost(&payload)?,
            (_, [Encoding::Component, Encoding::Module]) => {
                let module = survey.modules.last_mut().expect("its version came first");
                module.take(&payload)?;
            }
            (Payload::InstanceSection(_) | Payload::ComponentCanonicalSection(_), _) => {
                return nested();
            }
            _ => {}
        }
    }
    for module in &mut survey.modules {
        module.choose_prefix();
    }
    if survey.variables().take(MOST_GLOBALS + 1).count() > MOST_GLOBALS {
        return opaque(format!("it has more than {MOST_GLOBALS} mutable globals"));
    }
    Ok(survey)
}

fn opaque<T>(reason: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Opaque(reason.into()))
}

fn nested<T>() -> Result<T, Stop> {
    opaque("a component within it has code of its own")
}

impl Survey {
    /// A part of the outermost component.
    fn take_outermost(&mut self, payload: &Payload<'_>) -> Result<(), Stop> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    self.take_instance(&instance?)?;
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    self.take_alias(&alias?)?;
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

    fn take_instance(&mut self, instance: &Instance<'_>) -> Result<(), Stop> {
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

    fn take_alias(&mut self, alias: &ComponentAlias<'_>) -> Result<(), Stop> {
        match alias {
            ComponentAlias::InstanceExport { kind, .. } => self.count(*kind)?,
            ComponentAlias::CoreInstanceExport { kind, .. } => {
                if matches!(kind, ExternalKind::Func | ExternalKind::FuncExact) {
                    self.core_functions += 1;
                }
            }
            ComponentAlias::Outer { kind, .. } => match kind {
                ComponentOuterAliasKind::Type => self.types += 1,
                ComponentOuterAliasKind::CoreModule => return passed_around(),
                ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Component => {}
            },
        }
        Ok(())
    }

    /// An item that has got one more number.
    fn count(&mut self, kind: ComponentExternalKind) -> Result<(), Stop> {
        match kind {
            ComponentExternalKind::Func => self.functions += 1,
            ComponentExternalKind::Type => self.types += 1,
            ComponentExternalKind::Module => return passed_around(),
            _ => {}
        }
        Ok(())
    }
}

fn passed_around<T>() -> Result<T, Stop> {
    opaque("it hands core modules around")
}

impl Module {
    fn take(&mut self, payload: &Payload<'_>) -> Result<(), Stop> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    if matches!(import?.ty, TypeRef::Global(_)) {
                        self.globals += 1;
                    }
                }
            }
            Payload::GlobalSection(section) => {
                for global in section.clone() {
                    self.take_global(global?.ty)?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section.clone() {
                    self.exports.push(export?.name.to_owned());
                }
            }
            Payload::CodeSectionEntry(body) => look_at_code(body)?,
            _ => {}
        }
        Ok(())
    }

    fn take_global(&mut self, ty: GlobalType) -> Result<(), Stop> {
        if ty.mutable {
            match ty.content_type {
                ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64 => {}
                ValType::V128 => return opaque("it has a mutable global of type v128"),
                ValType::Ref(_) => return opaque("it has a mutable global that is a reference"),
            }
            self.variables.push(Variable {
                index: self.globals,
                number: ty.content_type,
            });
        }
        self.globals += 1;
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

/// Looks for operations that change what nobody captures.
fn look_at_code(body: &FunctionBody<'_>) -> Result<(), Stop> {
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
