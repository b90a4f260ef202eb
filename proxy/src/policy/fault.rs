//! What can go wrong with a policy, with the one sentence an operator reads.

use std::fmt;

use super::limits::FAULT_MESSAGE_CHARS_MAX;

/// The kind of a fault, and its label in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The policy stopped itself, or broke a rule of WASM.
    Trap,
    /// It did not answer in time.
    Deadline,
    /// It wanted more memory than it may have.
    Memory,
    /// It handed over more than it may.
    AnswerTooLarge,
    /// The answer does not fit the question, or the policy rests after too many faults.
    Refused,
    /// It could not be loaded.
    Load,
}

impl FaultKind {
    /// The label in metrics and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::AnswerTooLarge => "answer_too_large",
            Self::Refused => "refused",
            Self::Load => "load",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A policy did not answer. Nothing moves because of it, and the last answer stays.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct PolicyFault {
    /// What kind of fault.
    pub kind: FaultKind,
    /// One sentence that names the policy and, where there is one, the cure.
    pub message: String,
    /// The policy's name.
    pub policy: String,
    /// SHA-256 of the policy's file in hexadecimal; empty when it could not be read.
    pub digest: String,
}

impl PolicyFault {
    pub(super) fn new(kind: FaultKind, policy: &str, digest: &str, message: &str) -> Self {
        Self {
            kind,
            message: printable(message, FAULT_MESSAGE_CHARS_MAX),
            policy: policy.to_owned(),
            digest: digest.to_owned(),
        }
    }
}

/// Text from a guest, made fit for a log line: cut to `chars_max` characters, control characters escaped.
pub(super) fn printable(text: &str, chars_max: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(chars_max));
    for (seen, character) in text.chars().enumerate() {
        if seen == chars_max {
            shown.push('…');
            break;
        }
        if character.is_control() || is_bidi_control(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Characters that turn the direction of a line around, and so can make it say something else on a terminal.
fn is_bidi_control(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn control_characters_are_escaped_and_long_text_is_cut() {
        assert_eq!(printable("a\nb\u{1b}[31m", 100), "a\\u{a}b\\u{1b}[31m");
        assert_eq!(printable("a\u{202e}b", 100), "a\\u{202e}b");
        assert_eq!(printable("abcdef", 3), "abc…");
        assert_eq!(printable("abc", 3), "abc");
    }
}
