//! Guests in the text format, made components with the worlds of `sdk/wit`.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What the guest of [`cutover`] does at which generation.
pub(super) const WAITS: u64 = 1;
pub(super) const TRAPS: u64 = 2;
pub(super) const SPINS: u64 = 3;
pub(super) const GROWS: u64 = 4;
pub(super) const TELLS_TOO_MUCH: u64 = 5;
pub(super) const MOVES_A_STRANGER: u64 = 6;
pub(super) const MOVES_PRODUCERS: u64 = 7;
pub(super) const COUNTS: u64 = 8;
pub(super) const LOGS_AND_TRAPS: u64 = 9;

/// An allocator that never frees, which is enough for a few calls.
const MEMORY: &str = r#"
    (memory (export "memory") 8)
    (global $next (mut i32) (i32.const 8192))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
        (global.set $next (i32.add (local.get $at) (local.get 3)))
        (local.get $at))
"#;

/// The generation of a route is the `u64` at offset 8 of the status. A proposal is a case (one byte, padded to
/// four) and two words.
const CUTOVER: &str = r#"
    (global $asked (mut i32) (i32.const 0))
    (func (export "lockgate:policy/steps@0.1.0#configure") (param i32 i32) (result i32) CONFIGURE)
    (func $next (export "lockgate:policy/steps@0.1.0#next-step") (param $status i32) (result i32)
        (local $generation i64)
        (local.set $generation (i64.load offset=8 (local.get $status)))
        (if (i64.eq (local.get $generation) (i64.const 2)) (then unreachable))
        (if (i64.eq (local.get $generation) (i64.const 3)) (then (loop $again (br $again))))
        (if (i64.eq (local.get $generation) (i64.const 4))
            (then (loop $again (drop (memory.grow (i32.const 100))) (br $again))))
        (if (i64.eq (local.get $generation) (i64.const 5)) (then (return (i32.const 80))))
        (if (i64.eq (local.get $generation) (i64.const 6)) (then (return (i32.const 96))))
        (if (i64.eq (local.get $generation) (i64.const 7)) (then (return (i32.const 128))))
        ;; The second question of an instance gets another answer: instances do not outlive a fault.
        (if (i64.eq (local.get $generation) (i64.const 8)) (then
            (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
            (if (i32.gt_u (global.get $asked) (i32.const 1)) (then (return (i32.const 128))))))
        LOGS
        (i32.const 64))
    (data (i32.const 16) "wait a moment")
    (data (i32.const 32) "stranger")
    (data (i32.const 64) "\00\00\00\00\10\00\00\00\0d\00\00\00")
    (data (i32.const 80) "\00\00\00\00\00\00\00\00\00\00\04\00")
    (data (i32.const 96) "\01\00\00\00\70\00\00\00\01\00\00\00")
    (data (i32.const 112) "\20\00\00\00\08\00\00\00")
    (data (i32.const 128) "\02\00\00\00")
    ;; One problem, with path `bound` and message `too small`.
    (data (i32.const 256) "\08\01\00\00\01\00\00\00")
    (data (i32.const 264) "\20\01\00\00\05\00\00\00\30\01\00\00\09\00\00\00")
    (data (i32.const 288) "bound")
    (data (i32.const 304) "too small")
"#;

/// Answers every request with the one offset 7.
const TRANSLATION: &str = r#"
    (func (export "lockgate:policy/offsets@0.1.0#configure") (param i32 i32) (result i32) (i32.const 4096))
    (func (export "lockgate:policy/offsets@0.1.0#translate")
        (param i32 i32 i64 i64 i32 i32 i32 i32) (result i32) (i32.const 16))
    (data (i32.const 16) "\00\00\00\00\20\00\00\00\01\00\00\00")
    (data (i32.const 32) "\00\00\00\00\00\00\00\00\07\00\00\00\00\00\00\00")
"#;

/// Serves everything from the destination.
const PLACEMENT: &str = r#"
    (func (export "lockgate:policy/places@0.1.0#configure") (param i32 i32) (result i32) (i32.const 4096))
    (func (export "lockgate:policy/places@0.1.0#place")
        (param i32 i32 i32 i32 i32 i64 i32 i32 i32 i32 i32 i64 i32 i32) (result i32) (i32.const 16))
    (data (i32.const 16) "\01\00\00\00\01\00\00\00")
"#;

const LOG_IMPORT: &str =
    r#"(import "lockgate:policy/log@0.1.0" "log" (func $log (param i32 i32 i32 i32 i32)))"#;

/// A cutover policy that behaves by the generation it is asked about.
pub(super) fn cutover() -> Vec<u8> {
    build("lockgate:policy/cutover", &cutover_text("", ""))
}

/// The same, with the log: it says `stranger` at level error, forty times, and traps.
pub(super) fn cutover_with_log() -> Vec<u8> {
    let logs = r#"(if (i64.eq (local.get $generation) (i64.const 9)) (then
        (loop $again
            (call $log (i32.const 4) (i32.const 32) (i32.const 8) (i32.const 0) (i32.const 0))
            (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
            (br_if $again (i32.lt_u (global.get $asked) (i32.const 40))))
        unreachable))"#;
    build("lockgate:policy/cutover", &cutover_text(LOG_IMPORT, logs))
}

/// A cutover policy that finds a problem in every configuration.
pub(super) fn cutover_with_problem() -> Vec<u8> {
    let text = format!("(module {MEMORY} {CUTOVER})");
    build(
        "lockgate:policy/cutover",
        &text
            .replace("CONFIGURE", "(i32.const 256)")
            .replace("LOGS", ""),
    )
}

/// A cutover policy for the next version of the package.
pub(super) fn cutover_of_next_version() -> Vec<u8> {
    let read = |file: &str| {
        std::fs::read_to_string(format!(
            "{}/../sdk/wit/{file}.wit",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap()
    };
    // One package in one text: only the first file may declare it.
    let worlds = read("types") + &read("cutover").replace("package lockgate:policy@0.1.0;", "");
    let mut resolve = Resolve::default();
    resolve
        .push_str("next.wit", &worlds.replace("@0.1.0", "@0.2.0"))
        .unwrap();
    encode(
        &resolve,
        "lockgate:policy/cutover",
        &cutover_text("", "").replace("@0.1.0", "@0.2.0"),
    )
}

/// A cutover policy that also wants `import` of the package in `wit`.
pub(super) fn cutover_that_wants(wit: &str, interface: &str, function: &str) -> Vec<u8> {
    let mut resolve = policy_package();
    resolve.push_str("wanted.wit", wit).unwrap();
    let world = format!(
        "package test:guest; world wants {{ include lockgate:policy/cutover@0.1.0; import {interface}; }}"
    );
    resolve.push_str("guest.wit", &world).unwrap();
    let import = format!(r#"(import "{interface}" "{function}" (func $wanted (result i64)))"#);
    encode(&resolve, "test:guest/wants", &cutover_text(&import, ""))
}

/// A cutover policy that wants the facts.
pub(super) fn cutover_with_facts() -> Vec<u8> {
    let import =
        r#"(import "lockgate:policy/facts@0.1.0" "lag" (func $lag (param i32 i32 i32 i32)))"#;
    // The lag of partition 5 of topic `stranger`: option (one byte), then two numbers.
    let asks = r#"(call $lag (i32.const 32) (i32.const 8) (i32.const 5) (i32.const 512))
        (if (i32.load8_u (i32.const 512)) (then
            (if (i64.eq (i64.load (i32.const 520)) (i64.const 77)) (then (return (i32.const 128))))))"#;
    build("lockgate:policy/cutover", &cutover_text(import, asks))
}

pub(super) fn translation() -> Vec<u8> {
    build(
        "lockgate:policy/translation",
        &format!("(module {MEMORY} {TRANSLATION})"),
    )
}

pub(super) fn placement() -> Vec<u8> {
    build(
        "lockgate:policy/placement",
        &format!("(module {MEMORY} {PLACEMENT})"),
    )
}

/// A core module, which is not a component.
pub(super) fn core_module() -> Vec<u8> {
    wat::parse_str("(module)").unwrap()
}

/// A component that has nothing to do with Lockgate.
pub(super) fn foreign_component() -> Vec<u8> {
    wat::parse_str("(component)").unwrap()
}

fn cutover_text(imports: &str, logs: &str) -> String {
    let text = format!("(module {imports} {MEMORY} {CUTOVER})");
    text.replace("CONFIGURE", "(i32.const 4096)")
        .replace("LOGS", logs)
}

fn policy_package() -> Resolve {
    let mut resolve = Resolve::default();
    resolve
        .push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk/wit"))
        .unwrap();
    resolve
}

fn build(world: &str, text: &str) -> Vec<u8> {
    encode(&policy_package(), world, text)
}

fn encode(resolve: &Resolve, world: &str, text: &str) -> Vec<u8> {
    let mut module = wat::parse_str(text).unwrap();
    let packages: Vec<_> = resolve.package_names.values().copied().collect();
    let world = resolve.select_world(&packages, Some(world)).unwrap();
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8, false).unwrap();
    let mut encoder = ComponentEncoder::default();
    encoder
        .validate(true)
        .module(&module)
        .unwrap()
        .encode()
        .unwrap()
}
