//! Moving one consumer group (DESIGN section 6). [`machine`] decides and is pure; `run` performs its commands;
//! `prepare` checks that the group may move and puts the placeholder member in its new home.

pub mod answers;
pub mod eligible;
pub mod machine;

mod abort;
mod after;
mod barrier;

mod call_as;
mod handoff;
mod offsets;
mod placeholder;
mod prepare;
mod run;

pub(super) use prepare::judge;
pub(super) use run::{MoveFailure, move_group, resume, strike_unfinished};
