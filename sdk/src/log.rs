//! Lines in Lockgate's log. They carry the policy's name; long lines are cut and floods dropped by the host.

pub use crate::bindings::cutover::lockgate::policy::log::Level;

/// Whether a line of that level is written at all, to spare the formatting.
pub fn enabled(level: Level) -> bool {
    host::enabled(level)
}

/// Writes a line with fields.
pub fn with_fields(level: Level, message: impl AsRef<str>, fields: &[(&str, &str)]) {
    host::log(level, message.as_ref(), fields);
}

/// Writes a line at level debug.
pub fn debug(message: impl AsRef<str>) {
    host::log(Level::Debug, message.as_ref(), &[]);
}

/// Writes a line at level info.
pub fn info(message: impl AsRef<str>) {
    host::log(Level::Info, message.as_ref(), &[]);
}

/// Writes a line at level warn.
pub fn warn(message: impl AsRef<str>) {
    host::log(Level::Warn, message.as_ref(), &[]);
}

/// Writes a line at level error.
pub fn error(message: impl AsRef<str>) {
    host::log(Level::Error, message.as_ref(), &[]);
}

/// Natively: the lines of this thread since the last time, for unit tests.
#[cfg(not(target_arch = "wasm32"))]
pub fn taken() -> Vec<String> {
    host::LINES.take()
}

#[cfg(target_arch = "wasm32")]
mod host {
    use super::Level;
    use crate::bindings::cutover::lockgate::policy::log;

    pub(super) fn enabled(level: Level) -> bool {
        log::enabled(level)
    }

    pub(super) fn log(level: Level, message: &str, fields: &[(&str, &str)]) {
        let owned = fields
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        log::log(level, message, &owned.collect::<Vec<_>>());
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod host {
    use super::Level;
    use std::cell::RefCell;

    thread_local! {
        pub(super) static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn enabled(_: Level) -> bool {
        true
    }

    pub(super) fn log(level: Level, message: &str, fields: &[(&str, &str)]) {
        let fields: String = fields
            .iter()
            .map(|(key, value)| format!(" {key}={value}"))
            .collect();
        LINES.with_borrow_mut(|lines| lines.push(format!("{level:?}: {message}{fields}")));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn native_lines_are_kept_for_the_test() {
        super::with_fields(super::Level::Info, "moved", &[("group", "g")]);
        super::warn("late");
        assert_eq!(
            super::taken(),
            ["Level::Info: moved group=g", "Level::Warn: late"]
        );
        assert!(super::taken().is_empty());
    }
}
