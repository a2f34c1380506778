//! The module with the two functions that read and write a component's mutable globals.

use super::state_analysis::ComponentLayout;
use std::iter;
use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, GlobalType,
    ImportSection, Instruction, Module, TypeSection, ValType,
};
use wasmparser::ValType as Declared;

/// Export of the component: takes the number of a global and returns its bits.
pub(crate) const GET_GLOBAL: &str = "lockstep-global-get";
/// Export of the component: takes the number of a global and its new bits.
pub(crate) const SET_GLOBAL: &str = "lockstep-global-set";

/// Export of the module behind [`GET_GLOBAL`].
pub(super) const MODULE_GET: &str = "get";
/// Export of the module behind [`SET_GLOBAL`].
pub(super) const MODULE_SET: &str = "set";

const GET_TYPE: u32 = 0;
const SET_TYPE: u32 = 1;

/// The name under which the module imports the globals of a core instance.
pub(super) fn import_name(instance: usize) -> String {
    instance.to_string()
}

/// The module. It imports each global from the core instance that has it.
pub(super) fn module(layout: &ComponentLayout) -> Vec<u8> {
    let mut imports = ImportSection::new();
    let mut numbers = Vec::new();
    for (instance, module, position) in layout.mutable_globals() {
        let number = encoded(module.globals[position].ty);
        let ty = GlobalType {
            val_type: number,
            mutable: true,
            shared: false,
        };
        let name = format!("{}{position}", module.prefix);
        imports.import(&import_name(instance), &name, ty);
        numbers.push(number);
    }
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I64]);
    types.ty().function([ValType::I32, ValType::I64], []);
    let mut functions = FunctionSection::new();
    functions.function(GET_TYPE).function(SET_TYPE);
    let mut exports = ExportSection::new();
    exports.export(MODULE_GET, ExportKind::Func, 0);
    exports.export(MODULE_SET, ExportKind::Func, 1);
    let mut code = CodeSection::new();
    code.function(&select(&numbers, |index, number| {
        let mut case = vec![Instruction::GlobalGet(index)];
        case.extend(to_bits(number));
        case
    }));
    code.function(&select(&numbers, |index, number| {
        let mut case = vec![Instruction::LocalGet(1)];
        case.extend(from_bits(number));
        case.push(Instruction::GlobalSet(index));
        case
    }));
    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&exports)
        .section(&code);
    module.finish()
}

/// A function that runs the case which its first argument selects, and traps if there is no such case.
fn select<'a>(
    numbers: &[ValType],
    case: impl Fn(u32, ValType) -> Vec<Instruction<'a>>,
) -> Function {
    let count = u32::try_from(numbers.len()).expect("the analysis limits their number");
    let mut function = Function::new([]);
    // One block for each case and one around all for the trap. A branch out of the n-th block, counted from the inside,
    // lands at the n-th case.
    for _ in 0..=count {
        function.instruction(&Instruction::Block(BlockType::Empty));
    }
    let targets: Vec<u32> = (0..count).collect();
    function.instruction(&Instruction::LocalGet(0));
    function.instruction(&Instruction::BrTable(targets.into(), count));
    for (number, index) in numbers.iter().zip(0..) {
        function.instruction(&Instruction::End);
        for instruction in case(index, *number)
            .into_iter()
            .chain(iter::once(Instruction::Return))
        {
            function.instruction(&instruction);
        }
    }
    function.instruction(&Instruction::End);
    function.instruction(&Instruction::Unreachable);
    function.instruction(&Instruction::End);
    function
}

/// Converts the number on the stack to its bits.
fn to_bits<'a>(number: ValType) -> Vec<Instruction<'a>> {
    match number {
        ValType::I32 => vec![Instruction::I64ExtendI32U],
        ValType::F32 => vec![Instruction::I32ReinterpretF32, Instruction::I64ExtendI32U],
        ValType::F64 => vec![Instruction::I64ReinterpretF64],
        _ => Vec::new(),
    }
}

/// Converts the bits on the stack to a number.
fn from_bits<'a>(number: ValType) -> Vec<Instruction<'a>> {
    match number {
        ValType::I32 => vec![Instruction::I32WrapI64],
        ValType::F32 => vec![Instruction::I32WrapI64, Instruction::F32ReinterpretI32],
        ValType::F64 => vec![Instruction::F64ReinterpretI64],
        _ => Vec::new(),
    }
}

fn encoded(number: Declared) -> ValType {
    match number {
        Declared::I32 => ValType::I32,
        Declared::I64 => ValType::I64,
        Declared::F32 => ValType::F32,
        Declared::F64 => ValType::F64,
        Declared::V128 | Declared::Ref(_) => unreachable!("the analysis admits numbers only"),
    }
}
