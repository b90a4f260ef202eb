//! The API table: the only list of what Lockgate supports, in which versions, and what is done to it.

mod exchange;

pub use exchange::Exchange;
