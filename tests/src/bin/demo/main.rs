//! `cargo xtask demo`: a live migration between two real clusters, watched record by record.
//!
//! The file reads like the story: history on the source, Lockgate, live clients, three routes that move, the
//! death of the source, a client that leaves Lockgate, and the comparison of everything with everything.

mod display;
mod estate;
mod report;
mod steps;

use std::process::ExitCode;

use anyhow::Result;
use display::Display;
use report::Report;
use steps::Migration;

#[tokio::main]
async fn main() -> ExitCode {
    let display = Display::new();
    match Box::pin(play(&display)).await {
        Ok(report) => {
            display.table(&report.table());
            if report.is_clean() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            display.say(&format!("the demo failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn play(display: &Display) -> Result<Report> {
    let mut migration = Migration::prepare(display).await?;
    migration.start_lockgate().await?;
    migration.replicate_history().await?;
    migration.start_clients().await?;
    migration.move_orders().await?;
    migration.move_payments().await?;
    migration.move_default().await?;
    migration.commit().await?;
    migration.kill_source().await?;
    migration.leave_lockgate().await?;
    migration.stop_clients().await?;
    migration.compare().await
}
