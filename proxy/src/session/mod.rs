//! One client connection.

mod clients;
mod own;

pub use clients::{ClientKey, Clients, Writer};
pub use own::{OwnBroker, OwnCall};
