//! Moves: of groups ([`desk`]) and of producers. Pure state machines decide; loops here perform their commands.

pub mod desk;

pub use desk::{
    GroupCall, GroupDesk, GroupRequest, GroupResponse, PendingVerdict, Ticket, Verdict,
};
