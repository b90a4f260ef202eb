//! What a client is to do, and the command line that makes it do so.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::folders;
use crate::kafka::{JvmKind, Kafka};

/// How long a client trusts its metadata; Kafka's default is five minutes, tests have less time.
const METADATA_MAX_AGE_MS: &str = "10000";

/// Which client library.
#[derive(Debug, Clone)]
pub enum Software {
    /// Kafka's own Java client, of this release.
    Java(Kafka),
    /// librdkafka, through the program `rdkafka-client` of this crate.
    Librdkafka,
}

/// A producer.
#[derive(Debug, Clone)]
pub struct ProducerSpec {
    /// Its name, unique in a run.
    pub name: String,
    /// Whom it asks first.
    pub bootstrap: String,
    /// Where it writes.
    pub topic: String,
    /// Its values are `<value_prefix>.<counter>`; unique in a run.
    pub value_prefix: u32,
    /// Records per second; `None` is as fast as it can.
    pub per_second: Option<u32>,
    /// Ends by itself after so many records.
    pub max_records: Option<u64>,
    /// `enable.idempotence` with `acks=all`, or neither with `acks=1`.
    pub idempotent: bool,
    /// Uses so many different keys instead of none.
    pub repeating_keys: Option<u32>,
    /// Further settings of the client library; they win.
    pub settings: Vec<(String, String)>,
}

impl ProducerSpec {
    /// An idempotent producer of 500 records per second that does not end by itself.
    #[must_use]
    pub fn new(name: &str, bootstrap: &str, topic: &str, value_prefix: u32) -> Self {
        Self {
            name: name.to_owned(),
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            value_prefix,
            per_second: Some(500),
            max_records: None,
            idempotent: true,
            repeating_keys: None,
            settings: Vec::new(),
        }
    }

    /// The same, with `enable.idempotence=false` and `acks=1`.
    #[must_use]
    pub fn not_idempotent(mut self) -> Self {
        self.idempotent = false;
        self
    }

    /// The same, ending after so many records.
    #[must_use]
    pub fn ending_after(mut self, records: u64) -> Self {
        self.max_records = Some(records);
        self
    }

    pub(super) fn command(&self, software: &Software, folder: &Path) -> Result<Command> {
        let acks = if self.idempotent { "-1" } else { "1" };
        let mut settings = vec![
            // The tool sets `retries=0` by itself; users do not.
            ("retries", "2147483647"),
            (
                "enable.idempotence",
                if self.idempotent { "true" } else { "false" },
            ),
            ("max.in.flight.requests.per.connection", "5"),
            ("linger.ms", "5"),
        ];
        settings.push(match software {
            Software::Java(_) => ("metadata.max.age.ms", METADATA_MAX_AGE_MS),
            Software::Librdkafka => ("topic.metadata.refresh.interval.ms", METADATA_MAX_AGE_MS),
        });
        if matches!(software, Software::Java(_)) {
            settings.push(("client.id", &self.name));
        }
        let config = write_settings(folder, &self.name, &settings, &self.settings)?;
        let mut command = program(
            software,
            "producer",
            "org.apache.kafka.tools.VerifiableProducer",
        )?;
        command
            .args([
                "--bootstrap-server",
                &self.bootstrap,
                "--topic",
                &self.topic,
                "--acks",
                acks,
            ])
            .args(["--value-prefix", &self.value_prefix.to_string()])
            .args([
                "--throughput",
                &self.per_second.map_or(-1, i64::from).to_string(),
            ])
            .args([
                "--max-messages",
                &self.max_records.map_or(-1, u64::cast_signed).to_string(),
            ])
            .arg("--producer.config")
            .arg(config);
        if let Some(keys) = self.repeating_keys {
            command.args(["--repeating-keys", &keys.to_string()]);
        }
        Ok(command)
    }
}

/// A consumer: one member of a group, range assignor, reading from the earliest record.
#[derive(Debug, Clone)]
pub struct ConsumerSpec {
    /// Its name, unique in a run.
    pub name: String,
    /// Whom it asks first.
    pub bootstrap: String,
    /// What it reads.
    pub topic: String,
    /// Its group.
    pub group: String,
    /// Makes it a static member.
    pub instance_id: Option<String>,
    /// Further settings of the client library; they win.
    pub settings: Vec<(String, String)>,
}

impl ConsumerSpec {
    /// A dynamic member of `group`.
    #[must_use]
    pub fn new(name: &str, bootstrap: &str, topic: &str, group: &str) -> Self {
        Self {
            name: name.to_owned(),
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            group: group.to_owned(),
            instance_id: None,
            settings: Vec::new(),
        }
    }

    pub(super) fn command(&self, software: &Software, folder: &Path) -> Result<Command> {
        let refresh = match software {
            Software::Java(_) => ("metadata.max.age.ms", METADATA_MAX_AGE_MS),
            Software::Librdkafka => ("topic.metadata.refresh.interval.ms", METADATA_MAX_AGE_MS),
        };
        let config = write_settings(folder, &self.name, &[refresh], &self.settings)?;
        let mut command = program(
            software,
            "consumer",
            "org.apache.kafka.tools.VerifiableConsumer",
        )?;
        command
            .args([
                "--bootstrap-server",
                &self.bootstrap,
                "--topic",
                &self.topic,
            ])
            .args([
                "--group-id",
                &self.group,
                "--reset-policy",
                "earliest",
                "--verbose",
            ])
            .arg("--consumer.config")
            .arg(config);
        if let Some(id) = &self.instance_id {
            command.args(["--group-instance-id", id]);
        }
        Ok(command)
    }
}

fn program(software: &Software, role: &str, tool: &str) -> Result<Command> {
    match software {
        Software::Java(kafka) => Ok(kafka.java(JvmKind::Client, tool)),
        Software::Librdkafka => {
            let mut command =
                Command::new(folders::program("rdkafka-client", "RDKAFKA_CLIENT_BIN")?);
            command.arg(role);
            Ok(command)
        }
    }
}

fn write_settings(
    folder: &Path,
    name: &str,
    own: &[(&str, &str)],
    further: &[(String, String)],
) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.properties"));
    let own = own.iter().map(|(key, value)| format!("{key}={value}\n"));
    let further = further
        .iter()
        .map(|(key, value)| format!("{key}={value}\n"));
    std::fs::write(&path, own.chain(further).collect::<String>())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
