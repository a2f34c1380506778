//! Components for tests, in the text format: shapes of agents that compilers do not produce.

/// An agent. `parts` define core instances, one of which is called `$main` and exports `init` and `step`. They can use
/// `$host` with `emit`, and `$memory` with `memory` and `realloc`. `memory` is the declaration of the memory.
pub fn agent(memory: &str, parts: &str) -> Vec<u8> {
    let text = TEMPLATE
        .replace("{memory}", memory)
        .replace("{parts}", parts);
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The beginning of a module: its imports, and an `init` that does nothing.
const MAIN: &str = r#"
    (import "memory" "memory" (memory 1))
    (import "host" "emit" (func $emit (param i32 i32 i32 i32 i32)))
    (func (export "init") (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)
"#;

/// An agent with one module.
pub fn simple(memory: &str, module: &str) -> Vec<u8> {
    agent(
        memory,
        &format!(
            r#"(core module $code {MAIN} {module})
            (core instance $main (instantiate $code
                (with "memory" (instance $memory)) (with "host" (instance $host))))"#
        ),
    )
}

/// An agent that does nothing, with these declarations and this code in its one module.
pub fn with_code(declarations: &str, code: &str) -> Vec<u8> {
    simple(
        "1",
        &format!(r#"{declarations} (func (export "step") (param i32 i32)) (func {code})"#),
    )
}

/// The agent of this name.
pub fn named(name: &str) -> Option<Vec<u8>> {
    Some(match name {
        "numbers" => agent("1", NUMBERS),
        "growing" => simple("2 40", GROWING),
        "fading" => simple("4", FADING),
        "memory-only" => simple("1", MEMORY_ONLY),
        "vector" => with_code("(global (mut v128) (v128.const i64x2 1 2))", ""),
        "touching" => simple("16", TOUCHING),
        "touching-much" => simple("256", TOUCHING),
        _ => return None,
    })
}

/// Mutable globals of every kind: two instances of one module, whose start function sets a global, and a global that
/// one module defines and another changes.
const NUMBERS: &str = r#"
(core module $counter
    (global $count (export "_lockstep-global-0") (mut i32) (i32.const 5))
    (global $fixed i32 (i32.const 3))
    (global $step (export "lockstep-global-") (mut i64) (i64.const 1))
    (func $begin (global.set $count (i32.const 77)))
    (func (export "next") (result i64)
        (global.set $count (i32.mul (global.get $count) (i32.const -1640531527)))
        (global.set $step (i64.add (global.get $step) (i64.const 0x100000001)))
        (i64.add (global.get $step) (i64.extend_i32_u (global.get $count))))
    (start $begin))
(core instance $first (instantiate $counter))
(core instance $second (instantiate $counter))
(core module $code
    (import "memory" "memory" (memory 1))
    (import "host" "emit" (func $emit (param i32 i32 i32 i32 i32)))
    (import "first" "next" (func $first (result i64)))
    (import "second" "next" (func $second (result i64)))
    (import "first" "lockstep-global-" (global $shared (mut i64)))
    (global $single (mut f32) (f32.const 1.5))
    (global $double (mut f64) (f64.const -2.25))
    (global $odd (mut f32) (f32.const nan:0x200001))
    (func (export "init") (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)
    (func (export "step") (param i32 i32)
        (global.set $shared (i64.mul (global.get $shared) (i64.const 3)))
        (global.set $single (f32.mul (global.get $single) (f32.const 1.25)))
        (global.set $double (f64.sub (global.get $double) (f64.const 0.1)))
        (global.set $odd (f32.reinterpret_i32
            (i32.add (i32.reinterpret_f32 (global.get $odd)) (i32.const 1))))
        (i64.store (i32.const 64) (call $first))
        (drop (call $second))
        (i64.store (i32.const 72) (call $second))
        (f32.store (i32.const 80) (global.get $single))
        (f64.store (i32.const 88) (global.get $double))
        (f32.store (i32.const 96) (global.get $odd))
        (call $emit (i32.const 64) (i32.const 0) (i32.const 64) (i32.const 64) (i32.const 16))))
(core instance $main (instantiate $code
    (with "memory" (instance $memory)) (with "host" (instance $host))
    (with "first" (instance $first)) (with "second" (instance $second))))
"#;

/// Grows by one page in each step, up to its declared maximum, and emits the result and the size.
const GROWING: &str = r#"
    (func (export "step") (param i32 i32)
        (i32.store (i32.const 64) (memory.grow (i32.const 1)))
        (i32.store (i32.const 68) (memory.size))
        ;; The last byte of the memory counts how often it was the last.
        (i32.store8 (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1))
            (i32.add (i32.const 1)
                (i32.load8_u (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1)))))
        (i32.store8 (i32.const 72)
            (i32.load8_u (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1))))
        (call $emit (i32.const 64) (i32.const 0) (i32.const 64) (i32.const 9) (i32.const 16)))
"#;

/// Fills eight pages, others in each step, and zeroes those of the step before. The first step zeroes its initial data.
const FADING: &str = r#"
    (data (i32.const 65536) "only in the beginning")
    (global $has_begun (mut i32) (i32.const 0))
    (global $at (mut i32) (i32.const 131072))
    (func (export "step") (param i32 i32)
        (if (i32.eqz (global.get $has_begun)) (then
            (memory.fill (i32.const 65536) (i32.const 0) (i32.const 21))))
        (global.set $has_begun (i32.const 1))
        (memory.fill (global.get $at) (i32.const 0) (i32.const 32768))
        (global.set $at (i32.add (i32.const 131072)
            (i32.rem_u (i32.add (i32.sub (global.get $at) (i32.const 131072)) (i32.const 20480))
                (i32.const 98304))))
        (memory.fill (global.get $at) (i32.const 9) (i32.const 32768))
        (call $emit (global.get $at) (i32.const 0) (global.get $at) (i32.const 64) (i32.const 16)))
"#;

/// Counts in its memory and has no mutable global.
const MEMORY_ONLY: &str = r#"
    (func (export "step") (param i32 i32)
        (i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (i32.const 1)))
        (call $emit (i32.const 64) (i32.const 0) (i32.const 64) (i32.const 4) (i32.const 16)))
"#;

/// Fills its memory in the first step, and changes four pages in each step. For measurements.
const TOUCHING: &str = r#"
    (global $count (mut i32) (i32.const 0))
    (func (export "step") (param i32 i32)
        (if (i32.eqz (global.get $count)) (then
            (memory.fill (i32.const 4096) (i32.const 1)
                (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4096)))))
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (i32.store (i32.const 131072) (global.get $count))
        (i32.store (i32.const 262144) (global.get $count))
        (i32.store (i32.const 393216) (global.get $count))
        (i32.store (i32.const 524288) (global.get $count)))
"#;

const TEMPLATE: &str = r#"
(component
    (type $types (instance
        (type $u32 u32)
        (export "agent-id" (type $agent-id (eq $u32)))
        (type $pair (tuple string string))
        (type $pairs (list $pair))
        (type $names (list string))
        (type $config (record (field "name" string) (field "id" $agent-id) (field "settings" $pairs)
            (field "agents" $names) (field "models" $names)))
        (export "config" (type (eq $config)))
        (type $bytes (list u8))
        (type $message (record (field "sender" $agent-id) (field "payload" $bytes)))
        (export "message" (type $exported-message (eq $message)))
        (type $u64 u64)
        (export "request-id" (type $request-id (eq $u64)))
        (type $dtype (enum "boolean" "uint8" "int8" "uint16" "int16" "uint32" "int32" "uint64" "int64"
            "float16" "bfloat16" "float32" "float64" "float8e4m3fn" "float8e4m3fnuz" "float8e5m2" "float8e5m2fnuz"
            "uint4" "int4" "float8e8m0" "float4e2m1" "uint2" "int2"))
        (export "dtype" (type $exported-dtype (eq $dtype)))
        (type $shape (list u64))
        (type $tensor (record (field "dtype" $exported-dtype) (field "shape" $shape) (field "data" $bytes)))
        (export "tensor" (type $exported-tensor (eq $tensor)))
        (type $named (record (field "name" string) (field "value" $exported-tensor)))
        (export "named-tensor" (type $exported-named (eq $named)))
        (type $outputs (list $exported-named))
        (type $outcome (result $outputs (error string)))
        (type $result (record (field "request" $request-id) (field "outcome" $outcome)))
        (export "inference-result" (type $exported-result (eq $result)))
        (type $event (variant (case "message" $exported-message) (case "inference" $exported-result)))
        (export "event" (type (eq $event)))))
    (import "lockstep:agent/types@0.1.0" (instance $types (type $types)))
    (import "lockstep:agent/host@0.1.0" (instance $agent-host
        (type $refusal (variant (case "no-such-agent") (case "no-such-model") (case "too-large")
            (case "too-many") (case "mismatch" string) (case "not-in-init")))
        (export "refusal" (type $exported-refusal (eq $refusal)))
        (type $bytes (list u8))
        (type $answer (result (error $exported-refusal)))
        (export "emit" (func (param "topic" string) (param "payload" $bytes) (result $answer)))))
    (alias export $types "config" (type $config-type))
    (import "config" (type $config (eq $config-type)))
    (alias export $types "event" (type $event-type))
    (import "event" (type $event (eq $event-type)))
    (core module $memory-module
        (memory (export "memory") {memory})
        ;; What comes in lies where it does not matter.
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 16384))
    (core instance $memory (instantiate $memory-module))
    (alias core export $memory "memory" (core memory $bytes))
    (alias core export $memory "realloc" (core func $realloc))
    (alias export $agent-host "emit" (func $emit))
    (core func $lowered-emit (canon lower (func $emit) (memory $bytes) (realloc $realloc)))
    (core instance $host (export "emit" (func $lowered-emit)))
    {parts}
    (alias core export $main "init" (core func $init))
    (alias core export $main "step" (core func $step))
    (type $refused (result (error string)))
    (type $init-type (func (param "config" $config) (result $refused)))
    (func $lifted-init (type $init-type) (canon lift (core func $init) (memory $bytes) (realloc $realloc)))
    (export "init" (func $lifted-init))
    (type $events (list $event))
    (type $step-type (func (param "events" $events)))
    (func $lifted-step (type $step-type) (canon lift (core func $step) (memory $bytes) (realloc $realloc)))
    (export "step" (func $lifted-step)))
"#;
