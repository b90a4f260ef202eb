//! Moving the producers of a route (DESIGN section 7). [`machine`] decides and is pure; `run` performs its commands.

pub mod machine;

mod run;

pub(super) use run::{move_producers, resume};
