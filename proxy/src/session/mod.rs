//! One client connection.

mod clients;
mod forwards;
mod own;

pub use clients::{ClientKey, Clients, Writer};
pub use forwards::Forwards;
pub use own::{OwnBroker, OwnCall};
