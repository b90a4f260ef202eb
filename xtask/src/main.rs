//! `cargo xtask`: what a person would otherwise do by hand.
//!
//! This crate compiles in seconds: whatever needs Kafka or an async runtime is a program of `tests/` or
//! `benches/`, which is built and then started from here.

mod cargo;
mod needs;
mod policies;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use cargo::{Profile, Workspace};
use needs::Need;

/// Tasks of the Lockgate workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Move a live workload between two real Kafka clusters and check every record.
    Demo {
        /// Handed to the demo as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Everything CI runs: format, clippy, policies, unit, simulated and end-to-end tests.
    Test,
    /// Measure Lockgate against a direct connection and other relays.
    Bench {
        /// What to measure.
        #[command(subcommand)]
        what: Bench,
    },
    /// Start or stop the two clusters alone, for playing by hand.
    Kafka {
        /// What to do with them.
        #[command(subcommand)]
        what: KafkaTask,
    },
    /// Format every file.
    Fmt,
    /// Build the policy components.
    Policies,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// The data path: direct, through HAProxy, through Lockgate.
    Proxy {
        /// Handed to the bench as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The replicator: the same work through MirrorMaker 2 and through Lockgate.
    Replicate {
        /// Handed to the bench as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum KafkaTask {
    /// Start both clusters in the background.
    Up,
    /// Stop what `up` started.
    Down,
}

fn main() -> ExitCode {
    let run = || -> Result<bool> { perform(&Arguments::parse().task, &Workspace::locate()?) };
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether the task succeeded; an error is a task that could not be done.
fn perform(task: &Task, workspace: &Workspace) -> Result<bool> {
    match task {
        Task::Fmt => workspace.run("fmt", &["--all"]),
        Task::Policies => {
            build_policies(workspace)?;
            Ok(true)
        }
        Task::Test => test::run(workspace),
        Task::Demo { arguments } => {
            needs::check(&[Need::Compiler, Need::Jdk, Need::Maven])?;
            build_policies(workspace)?;
            start(workspace, Profile::Debug, "demo", arguments)
        }
        Task::Bench { what } => {
            needs::check(&[Need::Compiler, Need::Jdk, Need::Maven])?;
            let (program, arguments) = match what {
                Bench::Proxy { arguments } => ("bench-proxy", arguments),
                Bench::Replicate { arguments } => ("bench-replicate", arguments),
            };
            start(workspace, Profile::Release, program, arguments)
        }
        Task::Kafka { what } => {
            needs::check(&[Need::Compiler, Need::Jdk, Need::Maven])?;
            let verb = match what {
                KafkaTask::Up => "up",
                KafkaTask::Down => "down",
            };
            start(workspace, Profile::Debug, "kafka", &[verb.to_owned()])
        }
    }
}

/// Builds every program of the workspace and becomes one of them. All of them at once, because a build of one
/// package selects other features of its dependencies, and everything would be compiled twice.
fn start(
    workspace: &Workspace,
    profile: Profile,
    program: &str,
    arguments: &[String],
) -> Result<bool> {
    let built = match profile {
        Profile::Debug => workspace.run("build", &["--workspace", "--bins"])?,
        Profile::Release => workspace.run("build", &["--workspace", "--bins", "--release"])?,
    };
    if built {
        Err(workspace.replace_with(profile, program, arguments))
    } else {
        Ok(false)
    }
}

/// Builds the shipped policies as components.
fn build_policies(workspace: &Workspace) -> Result<()> {
    policies::build_policies(workspace.root(), workspace.target()).map(drop)
}

/// The one place that prints: this is a program for people.
#[expect(
    clippy::print_stdout,
    reason = "what a program for people says goes to stdout"
)]
fn say(line: &str) {
    println!("{line}");
}
