//! Rewriting of a component: adds the functions that read and write its globals.
//!
//! Bytes are copied section by section. Modules with mutable globals get more exports, and the accessor module is
//! appended at the end of the component.

use super::accessors::{self, GET_GLOBAL, MODULE_GET, MODULE_SET, SET_GLOBAL};
use super::state_analysis::{ComponentLayout, CoreModule};
use std::borrow::Cow;
use wasm_encoder::{
    Alias, CanonicalFunctionSection, ComponentAliasSection, ComponentExportKind,
    ComponentExportSection, ComponentSection, ComponentTypeSection, Encode, ExportKind,
    InstanceSection, ModuleArg, PrimitiveValType, RawSection, Section,
};
use wasmparser::{BinaryReader, BinaryReaderError};

/// Bytes of the header of a module or a component.
const HEADER_BYTES: usize = 8;
/// Number of a component's sections that hold a module.
const MODULE_SECTION: u8 = 1;
/// Number of a module's section with the exports.
const EXPORT_SECTION: u8 = 7;
/// Numbers of a module's sections that come after the exports.
const AFTER_EXPORTS: std::ops::RangeInclusive<u8> = 8..=12;

/// Adds the functions that read and write a component's globals.
///
/// # Errors
/// When the bytes are not the component of this layout.
pub(super) fn rewrite(
    component: &[u8],
    layout: &ComponentLayout,
) -> Result<Vec<u8>, BinaryReaderError> {
    let (header, sections) = sections(component)?;
    let mut out = header.to_vec();
    let mut modules = layout.modules.iter();
    for (id, data) in sections {
        let data = match id {
            MODULE_SECTION => match modules.next() {
                Some(module) if !module.globals.is_empty() => {
                    Cow::Owned(with_exports(data, module)?)
                }
                _ => Cow::Borrowed(data),
            },
            _ => Cow::Borrowed(data),
        };
        ComponentSection::append_to_component(&RawSection { id, data: &data }, &mut out);
    }
    append_accessors(layout, &mut out);
    Ok(out)
}

/// The number of a section and its content.
type SectionData<'bytes> = (u8, &'bytes [u8]);

/// The header and the sections of a module or a component.
fn sections(bytes: &[u8]) -> Result<(&[u8], Vec<SectionData<'_>>), BinaryReaderError> {
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

/// A module that also exports its mutable globals.
fn with_exports(bytes: &[u8], module: &CoreModule) -> Result<Vec<u8>, BinaryReaderError> {
    let (header, sections) = sections(bytes)?;
    let mut out = header.to_vec();
    let mut is_done = false;
    for (id, data) in sections {
        if id == EXPORT_SECTION {
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

/// Appends a section with the exports in `data` and one for each mutable global.
fn append_exports(
    data: &[u8],
    module: &CoreModule,
    out: &mut Vec<u8>,
) -> Result<(), BinaryReaderError> {
    let mut reader = BinaryReader::new(data, 0);
    let own = reader.read_var_u32()?;
    let added = u32::try_from(module.globals.len()).expect("the analysis limits their number");
    let mut data_with = Vec::new();
    own.saturating_add(added).encode(&mut data_with);
    data_with.extend_from_slice(&data[reader.current_position()..]);
    for (position, global) in module.globals.iter().enumerate() {
        format!("{}{position}", module.prefix)
            .as_str()
            .encode(&mut data_with);
        ExportKind::Global.encode(&mut data_with);
        global.index.encode(&mut data_with);
    }
    let section = RawSection {
        id: EXPORT_SECTION,
        data: &data_with,
    };
    Section::append_to(&section, out);
    Ok(())
}

/// Appends the accessor module, an instance of it, and its functions as exports of the component.
fn append_accessors(layout: &ComponentLayout, out: &mut Vec<u8>) {
    let number = |count: usize| u32::try_from(count).expect("the analysis limits their number");
    let module = accessors::module(layout);
    let section = RawSection {
        id: MODULE_SECTION,
        data: &module,
    };
    ComponentSection::append_to_component(&section, out);

    let with_globals = |(instance, module): (usize, &Option<usize>)| {
        let has_globals = module.is_some_and(|module| !layout.modules[module].globals.is_empty());
        has_globals.then(|| {
            let argument = ModuleArg::Instance(number(instance));
            (accessors::import_name(instance), argument)
        })
    };
    let arguments: Vec<_> = layout
        .instances
        .iter()
        .enumerate()
        .filter_map(with_globals)
        .collect();
    let mut instances = InstanceSection::new();
    instances.instantiate(
        number(layout.modules.len()),
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
    for (own, name, offset) in [(MODULE_GET, GET_GLOBAL, 0), (MODULE_SET, SET_GLOBAL, 1)] {
        aliases.alias(Alias::CoreInstanceExport {
            instance: number(layout.instances.len()),
            kind: ExportKind::Func,
            name: own,
        });
        lifts.lift(layout.core_functions + offset, layout.types + offset, []);
        exports.export(
            name,
            ComponentExportKind::Func,
            layout.functions + offset,
            None,
        );
    }
    aliases.append_to_component(out);
    lifts.append_to_component(out);
    exports.append_to_component(out);
}
