//! The policy's own counters, seen as `lockgate_policy_guest_total{policy,name}`.

/// Adds to a counter. A name is `[a-z][a-z0-9_]*`; how many there may be is bounded by the host.
pub fn add(name: &str, value: u64) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::cutover::lockgate::policy::metrics::add(name, value);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (name, value);
}
