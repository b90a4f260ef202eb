//! `cargo xtask kafka up|down`: the two clusters alone, for playing by hand.
//!
//! `up` starts a keeper in a session of its own, which starts the clusters and holds them; `down` ends the
//! keeper, and the clusters end with it.

mod keeper;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The two clusters alone.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start them in the background.
    Up,
    /// Stop what `up` started.
    Down,
    /// Hold them until SIGTERM (what `up` starts).
    #[command(hide = true)]
    Keep,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done: Result<()> = match Arguments::parse().verb {
        Verb::Up => keeper::up().await,
        Verb::Down => keeper::down().await,
        Verb::Keep => Box::pin(keeper::keep()).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            keeper::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
