//! `cargo xtask bench proxy`: produce and consume direct, through HAProxy and through Lockgate, in turn.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use lockgate_benches::cpu;
use lockgate_benches::load::{self, ProduceLoad, Run};
use lockgate_benches::report::{Figures, Raw, Report, Way, machine};
use lockgate_benches::stats::percentile;
use lockgate_benches::targets::{PARTITIONS, TOPIC, Targets};

const LOADS: [ProduceLoad; 3] = [
    ProduceLoad {
        name: "produce acks=1 64 kB",
        acks: "1",
        batch_bytes: 65_536,
        codec: "none",
    },
    ProduceLoad {
        name: "produce acks=all 512 kB",
        acks: "all",
        batch_bytes: 524_288,
        codec: "none",
    },
    ProduceLoad {
        name: "produce acks=all lz4",
        acks: "all",
        batch_bytes: 524_288,
        codec: "lz4",
    },
];
/// The rate of the latency run, in bytes per second.
const RATE: f64 = 2e6;

/// Measures Lockgate beside HAProxy and the direct way.
#[derive(Debug, Parser)]
struct Arguments {
    /// Runs of each kind over each way, after one that is not counted.
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
    /// Payload of one run, in MB.
    #[arg(long, default_value_t = 600)]
    megabytes: u64,
    /// How long one latency run takes, in seconds.
    #[arg(long, default_value_t = 5)]
    rate_seconds: u64,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/proxy.json")]
    report: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let targets = runtime.block_on(Targets::start())?;
    if !targets.ways().contains(&Way::Haproxy) {
        say("HAProxy is not installed (`apt-get install -y haproxy`); its columns stay empty.");
    }
    let mut raw = Raw::new();
    for repetition in 0..=arguments.repetitions {
        say(&format!(
            "repetition {repetition} of {}{}",
            arguments.repetitions,
            if repetition == 0 { " (warm-up)" } else { "" }
        ));
        let mut ways = targets.ways();
        // Whoever goes first after a pause is at a disadvantage; so nobody always does.
        ways.rotate_left(repetition % 3 % targets.ways().len());
        for way in ways {
            let results = round(&targets, way, &arguments)?;
            runtime.block_on(trim(&targets))?;
            if repetition > 0 {
                for (work, figures) in results {
                    append(
                        raw.entry(work).or_default().entry(way).or_default(),
                        figures,
                    );
                }
            }
        }
    }
    let report = Report::new(raw, arguments.repetitions, machine());
    report.write(&arguments.report)?;
    say(&report.table());
    Ok(())
}

/// All kinds of work once over one way.
fn round(targets: &Targets, way: Way, arguments: &Arguments) -> Result<Vec<(String, Figures)>> {
    let bytes = arguments.megabytes * 1_000_000;
    let bootstrap = targets.bootstrap(way);
    let mut results = Vec::new();
    for load in &LOADS {
        let figures = measured(targets, way, || {
            load::produce(&bootstrap, TOPIC, load, bytes)
        })?;
        results.push((load.name.to_owned(), figures));
    }
    let figures = measured(targets, way, || {
        load::consume(&bootstrap, TOPIC, PARTITIONS, bytes)
    })?;
    results.push(("consume 1 MiB".to_owned(), figures));
    let latencies = load::produce_at_rate(
        &bootstrap,
        TOPIC,
        RATE,
        Duration::from_secs(arguments.rate_seconds),
    )?;
    let figures = Figures {
        p50_ms: percentile(&latencies, 50.0).into_iter().collect(),
        p99_ms: percentile(&latencies, 99.0).into_iter().collect(),
        ..Figures::default()
    };
    results.push(("rate 2 MB/s, linger 0".to_owned(), figures));
    Ok(results)
}

fn measured(targets: &Targets, way: Way, work: impl FnOnce() -> Result<Run>) -> Result<Figures> {
    let pid = targets.pid(way);
    let before = pid.map(cpu::seconds).transpose()?;
    let run = work()?;
    let after = pid.map(cpu::seconds).transpose()?;
    let used = before
        .zip(after)
        .map(|(before, after)| (after - before) / (run.bytes as f64 / 1e9));
    Ok(Figures {
        mb_per_s: vec![run.mb_per_s()],
        cpu_s_per_gb: used.into_iter().collect(),
        resident_mib: pid
            .map(cpu::resident_mib)
            .transpose()?
            .into_iter()
            .collect(),
        ..Figures::default()
    })
}

fn append(to: &mut Figures, from: Figures) {
    to.mb_per_s.extend(from.mb_per_s);
    to.cpu_s_per_gb.extend(from.cpu_s_per_gb);
    to.p50_ms.extend(from.p50_ms);
    to.p99_ms.extend(from.p99_ms);
    to.resident_mib.extend(from.resident_mib);
}

/// Deletes what a round wrote, so that every round finds the same broker; the log lies in memory.
async fn trim(targets: &Targets) -> Result<()> {
    let admin = targets.pair.destination.admin();
    for (partition, range) in (0..).zip(admin.log_ranges(TOPIC).await?) {
        admin.delete_records(TOPIC, partition, range.end).await?;
    }
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the table is what this program is for")]
fn say(text: &str) {
    println!("{text}");
}
