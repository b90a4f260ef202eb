//! `cargo xtask bench replicate`: the same topics through MirrorMaker 2 and through Lockgate, one after the other.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use lockgate_benches::replicate::report::{Raw, Report};
use lockgate_benches::replicate::{idle, run, works};
use lockgate_benches::report::machine;

/// How much smaller every work is with `--quick`.
const QUICK: u64 = 10;

/// Measures the replicator beside MirrorMaker 2.
#[derive(Debug, Parser)]
#[command(after_help = "Example: cargo xtask bench replicate --quick --only tiny")]
struct Arguments {
    /// Every work a tenth, for development: the figures say little.
    #[arg(long)]
    quick: bool,
    /// Runs of each work with each copier.
    #[arg(long, default_value_t = 1)]
    repetitions: usize,
    /// Only these works, by topic: plain, lz4, tiny, wide, idle. All by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How long the delay is measured at a steady rate, in seconds.
    #[arg(long, default_value_t = 20)]
    steady_seconds: u64,
    /// Partitions in which nothing happens.
    #[arg(long, default_value_t = 5_000)]
    idle_partitions: i32,
    /// How long they are watched, in seconds.
    #[arg(long, default_value_t = 30)]
    idle_seconds: u64,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/replicate.json")]
    report: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(bench(&arguments))
}

async fn bench(arguments: &Arguments) -> Result<()> {
    let wanted =
        |topic: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == topic);
    let works = works(if arguments.quick { QUICK } else { 1 });
    let mut raw = Raw::new();
    for repetition in 1..=arguments.repetitions {
        for work in works.iter().filter(|work| wanted(work.topic)) {
            say(&format!("{} ({repetition})", work.name));
            let steady_for = Duration::from_secs(arguments.steady_seconds);
            for (copier, figures) in Box::pin(run::work(*work, steady_for)).await? {
                let copiers = raw.entry(work.topic.to_owned()).or_default();
                copiers.entry(copier).or_default().add(figures);
            }
        }
    }
    let idle = if wanted("idle") && arguments.idle_partitions > 0 {
        say(&format!("{} idle partitions", arguments.idle_partitions));
        let lasting = Duration::from_secs(arguments.idle_seconds);
        Some(Box::pin(idle::measure(arguments.idle_partitions, lasting)).await?)
    } else {
        None
    };
    let report = Report::new(raw, idle, machine());
    report.write(&arguments.report)?;
    let name = |topic: &str| {
        let work = works.iter().find(|work| work.topic == topic);
        work.map_or(topic, |work| work.name).to_owned()
    };
    say(&report.table(name));
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the table is what this program is for")]
fn say(text: &str) {
    println!("{text}");
}
