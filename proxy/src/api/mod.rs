//! The API table: the only list of what Lockgate supports, in which versions, and what is done to it.

mod exchange;
mod table;

pub use exchange::Exchange;
pub use table::{Api, Outcome, Treatment, handle, lookup, unsupported};
