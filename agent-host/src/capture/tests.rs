//! The promise: a component whose state can be captured keeps its code and its exports and gets two functions; one that
//! could change other state is opaque, for a stated reason.

use super::*;
use crate::compile::compile;
use test_support::handwritten_agents::{agent, named, simple, with_code};
use wasmparser::{Parser, Payload};

fn built(name: &str) -> Vec<u8> {
    let path = format!("{}/../agents/built/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The capture that the compiler finds for a component.
fn captured(component: &[u8]) -> StateCapture {
    let artifact = compile(component, true).expect("it is an agent");
    decode_artifact(&artifact).expect("ours").capture
}

fn reason(component: &[u8]) -> String {
    match captured(component) {
        StateCapture::Opaque { reason } => reason,
        StateCapture::Complete { .. } => panic!("its state can be captured"),
    }
}

#[test]
fn the_example_agents_have_one_global() {
    for name in [
        "counter", "pingpong", "trouble", "mlp", "cartpole", "referee",
    ] {
        assert_eq!(
            captured(&built(name)),
            StateCapture::Complete { globals: 1 },
            "{name}"
        );
    }
}

#[test]
fn globals_of_every_instance_are_counted() {
    let numbers = named("numbers").expect("known");
    // Two for each instance of the first module, three of the other.
    assert_eq!(captured(&numbers), StateCapture::Complete { globals: 7 });
}

#[test]
fn a_component_without_globals_stays_as_it_is() {
    let prepared = prepare(&named("memory-only").expect("known")).expect("a component");
    assert_eq!(prepared.capture, StateCapture::Complete { globals: 0 });
    assert_eq!(prepared.rewritten, None);
}

/// Every section of every module, but for the exports.
fn module_sections(component: &[u8]) -> Vec<Vec<(u8, Vec<u8>)>> {
    let mut modules = Vec::new();
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.expect("valid");
        match &payload {
            Payload::Version { .. } => {
                depth += 1;
                if depth == 2 {
                    modules.push(Vec::new());
                }
            }
            Payload::End(_) => depth -= 1,
            Payload::ExportSection(_) => {}
            _ => {
                if let (2, Some((id, range))) = (depth, payload.as_section()) {
                    let sections = modules.last_mut().expect("a module has begun");
                    sections.push((id, component[range].to_vec()));
                }
            }
        }
    }
    modules
}

#[test]
fn the_rewrite_changes_no_existing_section() {
    for component in [
        built("counter"),
        built("cartpole"),
        named("numbers").expect("known"),
    ] {
        let prepared = prepare(&component).expect("a component");
        let rewritten = prepared.rewritten.expect("it has globals");
        let (before, after) = (module_sections(&component), module_sections(&rewritten));
        assert_eq!(after.len(), before.len() + 1);
        assert!(before == after[..before.len()], "a module has changed");
    }
}

#[test]
fn operations_on_tables_and_segments_make_opaque() {
    let table = "(table $t 1 8 funcref) (elem $e func) (data $d \"\")";
    for (operation, code) in [
        ("table.set", "(table.set $t (i32.const 0) (ref.null func))"),
        (
            "table.grow",
            "(drop (table.grow $t (ref.null func) (i32.const 1)))",
        ),
        (
            "table.fill",
            "(table.fill $t (i32.const 0) (ref.null func) (i32.const 1))",
        ),
        (
            "table.copy",
            "(table.copy $t $t (i32.const 0) (i32.const 0) (i32.const 0))",
        ),
        (
            "table.init",
            "(table.init $t $e (i32.const 0) (i32.const 0) (i32.const 0))",
        ),
        ("elem.drop", "(elem.drop $e)"),
        ("data.drop", "(data.drop $d)"),
    ] {
        assert_eq!(
            reason(&with_code(table, code)),
            format!("its code contains {operation}, and tables and segments are not captured")
        );
    }
    // What only looks at them changes nothing.
    let code = "(drop (table.get $t (i32.const 0))) (memory.init $d (i32.const 0) (i32.const 0) (i32.const 0))";
    assert_eq!(
        captured(&with_code(table, code)),
        StateCapture::Complete { globals: 0 }
    );
}

#[test]
fn globals_that_are_no_numbers_make_opaque() {
    let vector = named("vector").expect("known");
    assert_eq!(reason(&vector), "it has a mutable global of type v128");
    let reference = with_code("(global (mut funcref) (ref.null func))", "");
    assert_eq!(
        reason(&reference),
        "it has a mutable global that is a reference"
    );
    let constant = with_code("(global v128 (v128.const i64x2 1 2))", "");
    assert_eq!(captured(&constant), StateCapture::Complete { globals: 0 });
}

#[test]
fn too_many_globals_make_opaque() {
    let many = |count| with_code(&"(global (mut i32) (i32.const 0))".repeat(count), "");
    assert_eq!(
        captured(&many(4096)),
        StateCapture::Complete { globals: 4096 }
    );
    assert_eq!(reason(&many(4097)), "it has more than 4096 mutable globals");
}

/// An agent that does nothing, in a component with more definitions.
fn agent_with(more: &str) -> Vec<u8> {
    agent(
        "1",
        &format!(
            r#"(core module $code
                (func (export "init") (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)
                (func (export "step") (param i32 i32)))
            (core instance $main (instantiate $code))
            {more}"#
        ),
    )
}

#[test]
fn resources_make_opaque() {
    assert_eq!(
        reason(&agent_with("(type (resource (rep i32)))")),
        "it has resources"
    );
}

#[test]
fn components_within_may_have_no_code() {
    let inner = "(component $inner (core module $m (global (mut i32) (i32.const 1)))
        (core instance (instantiate $m))) (instance (instantiate $inner))";
    assert_eq!(
        reason(&agent_with(inner)),
        "a component within it has code of its own"
    );
    let handing = "(core module $handed (global (mut i32) (i32.const 1)))
        (component $inner (alias outer 1 $handed (core module $m)) (core instance (instantiate $m)))
        (instance (instantiate $inner))";
    assert_eq!(
        reason(&agent_with(handing)),
        "a component within it has code of its own"
    );
    let harmless = r#"(component $inner (import "f" (func $f)) (export "g" (func $f)))"#;
    assert_eq!(
        captured(&agent_with(harmless)),
        StateCapture::Complete { globals: 0 }
    );
}

#[test]
fn modules_that_are_passed_around_make_opaque() {
    let handing = r#"(component $inner (core module $m (global (mut i32) (i32.const 1))) (export "m" (core module $m)))
        (instance $i (instantiate $inner))
        (alias export $i "m" (core module $n))
        (core instance (instantiate $n))"#;
    let reason = reason(&agent_with(handing));
    assert!(
        [
            "a component within it has code of its own",
            "it passes core modules around"
        ]
        .contains(&reason.as_str()),
        "{reason}"
    );
}

#[test]
fn an_agent_with_an_export_of_a_reserved_name_is_opaque() {
    let taken = format!(
        r#"(core module $more (global (mut i32) (i32.const 1)) (func (export "f")))
        (core instance $m (instantiate $more))
        (func $f (canon lift (core func $m "f")))
        (export "{GET_GLOBAL}" (func $f))"#
    );
    let reason = reason(&agent_with(&taken));
    assert!(
        reason.starts_with("functions that access its globals cannot be added: "),
        "{reason}"
    );
    assert!(reason.contains(GET_GLOBAL), "{reason}");
}

#[test]
fn a_module_without_exports_gets_some() {
    let silent = agent_with(
        "(core module $more (global $g (mut i32) (i32.const 1)) (func $f (global.set $g (i32.const 2))) (start $f))
        (core instance (instantiate $more))
        (core module $bare (global (mut i64) (i64.const 1)))
        (core instance (instantiate $bare))",
    );
    assert_eq!(captured(&silent), StateCapture::Complete { globals: 2 });
}

#[test]
fn a_module_without_an_instance_has_no_globals() {
    let spare = agent_with("(core module (global (mut i32) (i32.const 1)))");
    assert_eq!(captured(&spare), StateCapture::Complete { globals: 0 });
}

#[test]
fn the_template_of_test_components_is_an_agent() {
    // The template itself, in its smallest form, so that a failure elsewhere is not one of the template.
    compile(
        &simple("1", r#"(func (export "step") (param i32 i32))"#),
        true,
    )
    .expect("an agent");
}
