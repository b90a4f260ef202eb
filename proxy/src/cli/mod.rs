//! The command line: `run`, what can be asked without a running instance (`check`, `state dump`), and what is asked of a
//! running one over its admin API. Every table has a `--json` twin; exit codes say what kind of failure it was.

mod ask;
mod check;
mod flip;
mod http;
mod show;
mod state;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config};
use crate::error::{Error, Kind};
use crate::telemetry::{self, LogFormat};
use crate::{app, flip as moves, words::Side};

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 failed, 2 wrong arguments or configuration, 3 refused (a gate is shut, \
                          another instance runs, the state says no), 4 unreachable.";

/// Moves a live Kafka estate between two clusters while its clients keep running.
#[derive(Debug, Parser)]
#[command(name = "lockgate", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy, the replicator and the admin API in one process.
    #[command(after_help = "Example: lockgate run --config lockgate.toml --log-format json")]
    Run {
        #[command(flatten)]
        file: ConfigFile,
        /// How log lines look (on stderr).
        #[arg(long, value_enum, default_value_t)]
        log_format: LogFormat,
        /// What is logged, as in RUST_LOG, for instance "info,lockgate::flip=debug".
        #[arg(long)]
        log: Option<String>,
    },
    /// Read the configuration, reach both clusters, load the policies, and say what would fail.
    #[command(after_help = "Example: lockgate check --config lockgate.toml")]
    Check {
        #[command(flatten)]
        file: ConfigFile,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the routes of a running instance.
    #[command(after_help = "Example: lockgate routes --admin http://127.0.0.1:8080")]
    Routes {
        #[command(flatten)]
        instance: Instance,
    },
    /// Move the groups or the producers of a route to the other cluster.
    #[command(after_help = "Example: lockgate flip orders --move all --wait")]
    Flip {
        /// The route.
        route: String,
        /// What is to move.
        #[arg(long = "move", value_enum)]
        what: What,
        /// Where to.
        #[arg(long, value_enum, default_value_t = To::Destination)]
        to: To,
        /// These groups only, separated by commas.
        #[arg(long, value_delimiter = ',')]
        groups: Vec<String>,
        /// Only say what would happen.
        #[arg(long)]
        dry_run: bool,
        /// Show the steps until the operation has ended; without success the exit code is 1.
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        instance: Instance,
    },
    /// Close the way back of a route and move its last clients off the source.
    #[command(after_help = "Example: lockgate commit orders --wait")]
    Commit {
        /// The route.
        route: String,
        /// Show the steps until the operation has ended.
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        instance: Instance,
    },
    /// List the replication links of a running instance.
    #[command(after_help = "Example: lockgate links --json")]
    Links {
        #[command(flatten)]
        instance: Instance,
    },
    /// Prove that both clusters hold the same, record by record, while traffic flows.
    #[command(
        after_help = "Examples:\n  lockgate verify --route orders --wait\n  lockgate verify --topic orders \
                            --partition 3 --from 1000 --rate-mb 20 --wait --resume-file left.json"
    )]
    Verify(verify::Arguments),
    /// Look at the state topics, also when nothing runs.
    State {
        #[command(subcommand)]
        what: StateCommand,
    },
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// Print both copies; nothing is written and a running instance is not disturbed.
    #[command(after_help = "Example: lockgate state dump --config lockgate.toml --json")]
    Dump {
        #[command(flatten)]
        file: ConfigFile,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Restore one copy from the other.
    Copy {
        #[command(flatten)]
        file: ConfigFile,
    },
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(long, default_value = "lockgate.toml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Instance {
    /// The admin API of the instance [default: http://127.0.0.1:8080].
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// Take the admin API's address from this configuration file.
    #[arg(long, conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum What {
    /// Consumer groups.
    Groups,
    /// The producers.
    Producers,
    /// All groups, then the producers.
    All,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum To {
    /// Back.
    Source,
    /// Across.
    Destination,
}

/// What a command ends with where it does not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Failed = 1,
    Usage = 2,
    Refused = 3,
    Unreachable = 4,
}

/// A sentence for stderr and the exit code.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    sentence: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind {
            Kind::Refused => Exit::Refused,
            Kind::Disconnected | Kind::TimedOut => Exit::Unreachable,
            _ => Exit::Failed,
        };
        Self {
            exit,
            sentence: error.to_string(),
        }
    }
}

impl Failure {
    fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self {
            exit,
            sentence: sentence.into(),
        }
    }
}

/// Reads the arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    match perform(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            show::complain(&failure.sentence);
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn perform(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run {
            file,
            log_format,
            log,
        } => run(&file, log_format, log.as_deref()),
        Command::Check { file, json } => block_on(check::check(&load(&file)?, json)),
        Command::Routes { instance } => block_on(ask::routes(&ask::Api::of(&instance)?)),
        Command::Links { instance } => block_on(ask::links(&ask::Api::of(&instance)?)),
        Command::Flip {
            route,
            what,
            to,
            groups,
            dry_run,
            wait,
            instance,
        } => {
            let body = serde_json::json!({
                "move": match what {
                    What::Groups => moves::Move::Groups,
                    What::Producers => moves::Move::Producers,
                    What::All => moves::Move::All,
                },
                "to": match to {
                    To::Source => Side::Source,
                    To::Destination => Side::Destination,
                },
                "groups": groups,
                "dry_run": dry_run,
            });
            block_on(flip::begin(
                &ask::Api::of(&instance)?,
                &route,
                "flip",
                &body,
                wait,
            ))
        }
        Command::Commit {
            route,
            wait,
            instance,
        } => block_on(flip::begin(
            &ask::Api::of(&instance)?,
            &route,
            "commit",
            &serde_json::json!({}),
            wait,
        )),
        Command::Verify(arguments) => {
            let api = ask::Api::of(&arguments.instance)?;
            block_on(verify::verify(&api, &arguments))
        }
        Command::State {
            what: StateCommand::Dump { file, json },
        } => block_on(state::dump(&load(&file)?, json)),
        Command::State {
            what: StateCommand::Copy { file },
        } => {
            load(&file)?;
            Err(Failure::new(
                Exit::Refused,
                "`lockgate state copy` is not built yet",
            ))
        }
    }
}

fn load(file: &ConfigFile) -> Result<Config, Failure> {
    config::load(&file.config).map_err(|error| Failure::new(Exit::Usage, error.to_string()))
}

fn run(file: &ConfigFile, format: LogFormat, filter: Option<&str>) -> Result<(), Failure> {
    let config = load(file)?;
    telemetry::log(format, filter).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let metrics = telemetry::metrics()?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(Box::pin(app::run(Arc::new(config), metrics)));
    // What has not ended by now had its bound; the process does not wait for it.
    runtime.shutdown_background();
    if let Err(error) = &outcome {
        tracing::error!(%error, "lockgate ends");
    }
    outcome.map_err(Failure::from)
}

fn block_on(
    command: impl std::future::Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    runtime()?.block_on(Box::pin(command))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name("data")
        .enable_all()
        .build()
        .map_err(|cause| Failure::new(Exit::Failed, format!("no threads can be started: {cause}")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Arguments::command().debug_assert();
    }
}
