//! What the export macros are made of: the place of the one policy of an instance, and its set-up.

use std::cell::RefCell;

use serde::de::DeserializeOwned;

use crate::{Problem, config, log};

/// The policy of an instance, once it is configured.
#[derive(Default)]
pub struct Slot<P>(RefCell<Option<P>>);

impl<P> Slot<P> {
    /// An empty slot.
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// Asks the policy.
    ///
    /// # Panics
    ///
    /// When nothing has been configured; the host configures each instance before it asks.
    pub fn ask<R>(&self, question: impl FnOnce(&P) -> R) -> R {
        match &*self.0.borrow() {
            Some(policy) => question(policy),
            None => panic!("asked before it was configured"),
        }
    }
}

/// Configures an instance: reads `json`, makes the policy, keeps it.
pub fn set_up<P, C: DeserializeOwned>(
    slot: &Slot<P>,
    json: &str,
    make: impl FnOnce(C) -> Result<P, Vec<Problem>>,
) -> Vec<Problem> {
    log_panics();
    match config::parse(json).and_then(make) {
        Ok(policy) => {
            slot.0.replace(Some(policy));
            Vec::new()
        }
        // An empty list would mean that all is well.
        Err(problems) if problems.is_empty() => {
            vec![Problem {
                path: ".".to_owned(),
                message: "refused without a reason".to_owned(),
            }]
        }
        Err(problems) => problems,
    }
}

/// A panic becomes a trap, which carries no text: so the text goes to the log first.
fn log_panics() {
    if cfg!(target_arch = "wasm32") {
        std::panic::set_hook(Box::new(|panic| log::error(panic.to_string())));
    }
}

#[cfg(test)]
mod tests {
    use super::{Slot, set_up};
    use crate::Problem;

    #[test]
    fn a_refusal_without_a_reason_is_still_a_refusal() {
        let slot = Slot::<u8>::new();
        let problems = set_up(&slot, "1", |_: u8| Err(Vec::new()));
        assert_eq!(
            problems,
            [Problem {
                path: ".".to_owned(),
                message: "refused without a reason".to_owned()
            }]
        );
        assert!(set_up(&slot, "7", Ok::<u8, _>).is_empty());
        assert_eq!(slot.ask(|policy| *policy), 7);
    }
}
