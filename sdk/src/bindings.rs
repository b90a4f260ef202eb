//! Guest bindings of the three worlds, generated from `wit/`.
//!
//! The shared interfaces are generated once, with `cutover`; the other two worlds point there. The section that
//! names a world is emitted by its `export!` macro, so a policy carries only the world that it exports.

#![allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::use_self,
    reason = "generated code"
)]

pub mod cutover {
    wit_bindgen::generate!({
        path: "wit",
        world: "lockgate:policy/cutover",
        pub_export_macro: true,
        default_bindings_module: "lockgate_sdk::bindings::cutover",
        additional_derives: [PartialEq, Eq],
        generate_unused_types: true,
    });
}

pub mod translation {
    wit_bindgen::generate!({
        path: "wit",
        world: "lockgate:policy/translation",
        pub_export_macro: true,
        default_bindings_module: "lockgate_sdk::bindings::translation",
        additional_derives: [PartialEq, Eq],
        with: {
            "lockgate:policy/types@0.1.0": super::cutover::lockgate::policy::types,
            "lockgate:policy/log@0.1.0": super::cutover::lockgate::policy::log,
            "lockgate:policy/metrics@0.1.0": super::cutover::lockgate::policy::metrics,
            "lockgate:policy/facts@0.1.0": super::cutover::lockgate::policy::facts,
        },
    });
}

pub mod placement {
    wit_bindgen::generate!({
        path: "wit",
        world: "lockgate:policy/placement",
        pub_export_macro: true,
        default_bindings_module: "lockgate_sdk::bindings::placement",
        additional_derives: [PartialEq, Eq],
        with: {
            "lockgate:policy/types@0.1.0": super::cutover::lockgate::policy::types,
            "lockgate:policy/log@0.1.0": super::cutover::lockgate::policy::log,
            "lockgate:policy/metrics@0.1.0": super::cutover::lockgate::policy::metrics,
            "lockgate:policy/facts@0.1.0": super::cutover::lockgate::policy::facts,
        },
    });
}
