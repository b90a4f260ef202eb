//! Host bindings of the three worlds, generated from `sdk/wit`.
//!
//! The shared interfaces are generated once, with `cutover`; the other two worlds point there, so one
//! implementation of each capability serves all three.

#![allow(missing_docs, unreachable_pub, reason = "generated code")]

pub(super) mod cutover {
    wasmtime::component::bindgen!({
        path: "../sdk/wit",
        world: "lockgate:policy/cutover",
        exports: { default: async },
    });
}

pub(super) mod translation {
    wasmtime::component::bindgen!({
        path: "../sdk/wit",
        world: "lockgate:policy/translation",
        exports: { default: async },
        with: {
            "lockgate:policy/types@0.1.0": super::cutover::lockgate::policy::types,
            "lockgate:policy/log@0.1.0": super::cutover::lockgate::policy::log,
            "lockgate:policy/metrics@0.1.0": super::cutover::lockgate::policy::metrics,
            "lockgate:policy/facts@0.1.0": super::cutover::lockgate::policy::facts,
        },
    });
}

pub(super) mod placement {
    wasmtime::component::bindgen!({
        path: "../sdk/wit",
        world: "lockgate:policy/placement",
        exports: { default: async },
        with: {
            "lockgate:policy/types@0.1.0": super::cutover::lockgate::policy::types,
            "lockgate:policy/log@0.1.0": super::cutover::lockgate::policy::log,
            "lockgate:policy/metrics@0.1.0": super::cutover::lockgate::policy::metrics,
            "lockgate:policy/facts@0.1.0": super::cutover::lockgate::policy::facts,
        },
    });
}
