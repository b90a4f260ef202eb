//! The command line, as Kafka's own tools have it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use rdkafka::config::ClientConfig;

/// librdkafka behind the command line of Kafka's verifiable clients.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// What to be.
    #[command(subcommand)]
    pub(crate) role: Role,
}

/// What to be.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Like `VerifiableProducer`.
    Producer(ProducerArguments),
    /// Like `VerifiableConsumer`.
    Consumer(ConsumerArguments),
}

/// Arguments of the producer.
#[derive(Debug, Args)]
pub(crate) struct ProducerArguments {
    #[arg(long)]
    pub(crate) bootstrap_server: String,
    #[arg(long)]
    pub(crate) topic: String,
    #[arg(long, allow_hyphen_values = true, default_value = "-1")]
    pub(crate) acks: String,
    #[arg(long)]
    pub(crate) value_prefix: u32,
    #[arg(long, allow_hyphen_values = true, default_value_t = -1)]
    pub(crate) throughput: i64,
    #[arg(long, allow_hyphen_values = true, default_value_t = -1)]
    pub(crate) max_messages: i64,
    #[arg(long)]
    pub(crate) repeating_keys: Option<u64>,
    #[arg(long = "producer.config")]
    pub(crate) config: Option<PathBuf>,
}

/// Arguments of the consumer.
#[derive(Debug, Args)]
pub(crate) struct ConsumerArguments {
    #[arg(long)]
    pub(crate) bootstrap_server: String,
    #[arg(long)]
    pub(crate) topic: String,
    #[arg(long)]
    pub(crate) group_id: String,
    #[arg(long)]
    pub(crate) group_instance_id: Option<String>,
    #[arg(long, default_value = "earliest")]
    pub(crate) reset_policy: String,
    /// Accepted for likeness; every record is printed anyway.
    #[arg(long)]
    pub(crate) verbose: bool,
    #[arg(long = "consumer.config")]
    pub(crate) config: Option<PathBuf>,
}

/// A configuration from the settings of a file of `key=value` lines.
pub(crate) fn settings(file: Option<&Path>) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            config.set(key.trim(), value.trim());
        }
    }
    Ok(config)
}
