//! The one WASM engine, and the thread that moves its clock.

use std::sync::Arc;

use wasmtime::{Config, Engine};

use super::limits::{EPOCH_TICK, FIBER_STACK_BYTES, WASM_STACK_BYTES};

/// Builds the engine and starts its ticker.
///
/// Compiled code looks at the epoch at every loop and call, so a policy that never returns is stopped. What
/// would make two runs of a decision differ is off: threads, relaxed SIMD, the bits of a NaN.
pub(super) fn start() -> wasmtime::Result<Arc<Engine>> {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES);
    let engine = Engine::new(&config)?;
    tick(&engine)?;
    Ok(Arc::new(engine))
}

/// Moves the epoch on from a thread of its own: a task of a runtime could be starved by the very policy it is to
/// stop. The thread ends with the engine.
fn tick(engine: &Engine) -> wasmtime::Result<()> {
    let weak = engine.weak();
    std::thread::Builder::new()
        .name("policy-epoch".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(EPOCH_TICK);
                // The strong handle lives for this statement only, so that it never keeps the engine alive.
                match weak.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })?;
    Ok(())
}
