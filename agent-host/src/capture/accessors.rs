//! The module with the two functions that give a component's variables.

use super::survey::Survey;
use std::iter;
use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, GlobalType,
    ImportSection, Instruction, Module, TypeSection, ValType,
};
use wasmparser::ValType as Declared;

/// Under these names the module exports the functions that read and write.
pub(super) const READ: &str = "get";
/// As [`READ`].
pub(super) const WRITE: &str = "set";

const GET_TYPE: u32 = 0;
const SET_TYPE: u32 = 1;

/// The name under which the module imports from this instance.
pub(super) fn import_name(instance: usize) -> String {
    instance.to_string()
}

/// The module. It imports each variable from the instance that has it.
pub(super) fn module(survey: &Survey) -> Vec<u8> {
    let mut imports = ImportSection::new();
    let mut numbers = Vec::new();
    for (instance, module, position) in survey.variables() {
        let number = encoded(module.variables[position].number);
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
    exports.export(READ, ExportKind::Func, 0);
    exports.export(WRITE, ExportKind::Func, 1);
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

/// A function that does what its first argument chooses, and traps if there is no such case.
fn select<'a>(
    numbers: &[ValType],
    case: impl Fn(u32, ValType) -> Vec<Instruction<'a>>,
) -> Function {
    let count = u32::try_from(numbers.len()).expect("the survey has counted them");
    let mut function = Function::new([]);
    // One block for each case and one for none of them: a branch out of the n-th, from the inside, lands before the
    // n-th case.
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

/// A number on the stack becomes its bits.
fn to_bits<'a>(number: ValType) -> Vec<Instruction<'a>> {
    match number {
        ValType::I32 => vec![Instruction::I64ExtendI32U],
        ValType::F32 => vec![Instruction::I32ReinterpretF32, Instruction::I64ExtendI32U],
        ValType::F64 => vec![Instruction::I64ReinterpretF64],
        _ => Vec::new(),
    }
}

/// Bits on the stack become the number.
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
        Declared::V128 | Declared::Ref(_) => unreachable!("the survey takes numbers only"),
    }
}
