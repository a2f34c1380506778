//! A component with the functions that give its variables.
//!
//! Bytes are copied section by section. What changes is the list of exports
//! of modules with variables, which becomes longer, and the end of the
//! component, where the rest is added.

use super::accessors::{self, READ, WRITE};
use super::survey::{Module, Survey};
use super::{GET, SET};
use std::borrow::Cow;
use wasm_encoder::{
    Alias, CanonicalFunctionSection, ComponentAliasSection, ComponentExportKind,
    ComponentExportSection, ComponentSection, ComponentTypeSection, Encode, ExportKind,
    InstanceSection, ModuleArg, PrimitiveValType, RawSection, Section,
};
use wasmparser::{BinaryReader, BinaryReaderError};

/// Bytes of the header of a module and of a component.
const HEADER_BYTES: usize = 8;
/// Number of the sections with a module, in a component.
const CORE_MODULE: u8 = 1;
/// Number of the section with the exports, in a module.
const EXPORTS: u8 = 7;
/// Numbers of the sections that come after the exports, in a module.
const AFTER_EXPORTS: std::ops::RangeInclusive<u8> = 8..=12;

/// Adds to a component the functions that give its variables.
///
/// # Errors
/// When the bytes are not the component of this survey.
pub(super) fn rewrite(component: &[u8], survey: &Survey) -> Result<Vec<u8>, BinaryReaderError> {
    let (header, sections) = sections(component)?;
    let mut out = header.to_vec();
    let mut modules = survey.modules.iter();
    for (id, data) in sections {
        let data = match id {
            CORE_MODULE => match modules.next() {
                Some(module) if !module.variables.is_empty() => {
                    Cow::Owned(with_exports(data, module)?)
                }
                _ => Cow::Borrowed(data),
            },
            _ => Cow::Borrowed(data),
        };
        ComponentSection::append_to_component(&RawSection { id, data: &data }, &mut out);
    }
    append(survey, &mut out);
    Ok(out)
}

/// The number of a section and what is in it.
type Part<'bytes> = (u8, &'bytes [u8]);

/// The header and the sections of a module or a component.
fn sections(bytes: &[u8]) -> Result<(&[u8], Vec<Part<'_>>), BinaryReaderError> {
    let mut reader = BinaryReader::new(bytes, 0);
    let header = reader.read_bytes(HEADER_BYTES)?;
    let mut sections = Vec::new();
    while !reader.eof() {
        let id = reader.read_u8()?;
        let bytes = usize::try_from(reader.read_var_u32()?).unwrap_or(usize::MAX);
        sections.push((id, reader.read_bytes(bytes)?));
    }
    Ok((header, sections))
}

/// A module that exports its variables too.
fn with_exports(bytes: &[u8], module: &Module) -> Result<Vec<u8>, BinaryReaderError> {
    let (header, sections) = sections(bytes)?;
    let mut out = header.to_vec();
    let mut is_done = false;
    for (id, data) in sections {
        if id == EXPORTS {
            append_exports(data, module, &mut out)?;
            is_done = true;
        } else {
            if AFTER_EXPORTS.contains(&id) && !is_done {
                append_exports(&[0], module, &mut out)?;
                is_done = true;
            }
            Section::append_to(&RawSection { id, data }, &mut out);
        }
    }
    if !is_done {
        append_exports(&[0], module, &mut out)?;
    }
    Ok(out)
}

/// A section with the exports in `data`, and one for each variable.
fn append_exports(
    data: &[u8],
    module: &Module,
    out: &mut Vec<u8>,
) -> Result<(), BinaryReaderError> {
    let mut reader = BinaryReader::new(data, 0);
    let own = reader.read_var_u32()?;
    let added = u32::try_from(module.variables.len()).expect("the survey has counted them");
    let mut data_with = Vec::new();
    own.saturating_add(added).encode(&mut data_with);
    data_with.extend_from_slice(&data[reader.current_position()..]);
    for (position, variable) in module.variables.iter().enumerate() {
        format!("{}{position}", module.prefix)
            .as_str()
            .encode(&mut data_with);
        ExportKind::Global.encode(&mut data_with);
        variable.index.encode(&mut data_with);
    }
    let section = RawSection {
        id: EXPORTS,
        data: &data_with,
    };
    Section::append_to(&section, out);
    Ok(())
}

/// The module with the functions, an instance of it, and its functions as exports of the component.
fn append(survey: &Survey, out: &mut Vec<u8>) {
    let number = |count: usize| u32::try_from(count).expect("the survey has counted them");
    let module = accessors::module(survey);
    let section = RawSection {
        id: CORE_MODULE,
        data: &module,
    };
    ComponentSection::append_to_component(&section, out);

    let with_variables = |(instance, module): (usize, &Option<usize>)| {
        let has_variables =
            module.is_some_and(|module| !survey.modules[module].variables.is_empty());
        has_variables.then(|| {
            let argument = ModuleArg::Instance(number(instance));
            (accessors::import_name(instance), argument)
        })
    };
    let arguments: Vec<_> = survey
        .instances
        .iter()
        .enumerate()
        .filter_map(with_variables)
        .collect();
    let mut instances = InstanceSection::new();
    instances.instantiate(
        number(survey.modules.len()),
        arguments
            .iter()
            .map(|(name, argument)| (name.as_str(), *argument)),
    );
    instances.append_to_component(out);

    let mut types = ComponentTypeSection::new();
    types
        .function()
        .params([("index", PrimitiveValType::U32)])
        .result(Some(PrimitiveValType::U64.into()));
    types
        .function()
        .params([
            ("index", PrimitiveValType::U32),
            ("bits", PrimitiveValType::U64),
        ])
        .result(None);
    types.append_to_component(out);

    let mut aliases = ComponentAliasSection::new();
    let mut lifts = CanonicalFunctionSection::new();
    let mut exports = ComponentExportSection::new();
    for (own, name, offset) in [(READ, GET, 0), (WRITE, SET, 1)] {
        aliases.alias(Alias::CoreInstanceExport {
            instance: number(survey.instances.len()),
            kind: ExportKind::Func,
            name: own,
        });
        lifts.lift(survey.core_functions + offset, survey.types + offset, []);
        exports.export(
            name,
            ComponentExportKind::Func,
            survey.functions + offset,
            None,
        );
    }
    aliases.append_to_component(out);
    lifts.append_to_component(out);
    exports.append_to_component(out);
}
