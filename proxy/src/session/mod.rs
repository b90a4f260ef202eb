//! One client connection: one upstream connection to its node's broker, requests decided in order, answers given in
//! that order.
//!
//! In the order of a frame's life: `inbound` (what the client sends), `requests` (the loop that decides), then by
//! treatment `produce` with `forward`, `fetch` with `fetch_split`, `handled`; `slots` (one per request), `responses`
//! (the loop that answers, and what a frame costs), `retire` (how a session is ended). What connections of one client
//! share is in `clients` and `connection`.

mod inbound;
mod intake;
mod requests;

mod fetch;
mod fetch_split;
mod forward;
mod handled;
mod produce;
mod topics;

mod responses;
mod slots;

mod retire;

mod clients;
mod connection;
mod forwards;
mod link;
mod own;

mod buffers;
mod ended;
mod metrics;

mod run;
#[cfg(test)]
mod tests;

pub use clients::{ClientKey, Clients, Writer};
pub use forwards::Forwards;
pub use own::{OwnBroker, OwnCall};
pub use run::DataPath;
