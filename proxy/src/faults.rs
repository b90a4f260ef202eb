//! Where tests end the process: as abruptly as by `kill -9`, at a named point.
//!
//! Debug builds have the points, so that tests need no second build beside the one that everything else uses; a
//! release build has them with the feature `faults`.

/// A point that a test may name in `LOCKGATE_FAULT_EXIT_AFTER`.
#[cfg(any(debug_assertions, feature = "faults"))]
pub(crate) fn point(name: &str) {
    if std::env::var("LOCKGATE_FAULT_EXIT_AFTER").is_ok_and(|wanted| wanted == name) {
        // Nothing is flushed, nothing is dropped.
        std::process::abort();
    }
}

/// A point that only tests use.
#[cfg(not(any(debug_assertions, feature = "faults")))]
pub(crate) fn point(_: &str) {}
