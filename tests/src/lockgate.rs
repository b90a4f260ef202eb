//! A running Lockgate: its configuration, its process, its admin API.

mod api;
mod config;
mod instance;

pub use api::{AdminApi, Answer};
pub use config::{Config, Route};
pub use instance::Lockgate;
