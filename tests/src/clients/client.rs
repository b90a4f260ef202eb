//! A running client: its events go into the history, its pauses and troubles are counted.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::complaints::complaints;
use super::event::Event;
use super::spec::{ConsumerSpec, ProducerSpec, Software};
use crate::folders;
use crate::history::History;
use crate::process::{LineSink, Process, read_from};

/// How often a wait looks again.
const POLL: Duration = Duration::from_millis(50);

/// What a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientKind {
    /// Its values begin with this prefix.
    Producer {
        /// The first part of its values.
        prefix: String,
    },
    /// A member of this group.
    Consumer {
        /// The group.
        group: String,
    },
}

/// What a client went through.
#[derive(Debug, Clone)]
pub struct ClientReport {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ClientKind,
    /// The topic it works on.
    pub topic: String,
    /// Records acknowledged to it or read by it.
    pub records: u64,
    /// 1 if it ended without being asked to.
    pub restarts: u64,
    /// Failed sends, failed commits, lost partitions, and log lines that count.
    pub errors: Vec<String>,
    /// How often partitions were assigned to it.
    pub assignments: u64,
    /// The longest time between two of its records, since [`Client::measure_pauses`].
    pub longest_pause: Duration,
}

#[derive(Debug, Default)]
struct Progress {
    records: u64,
    assignments: u64,
    assigned: usize,
    errors: Vec<String>,
    measured: bool,
    last: Option<Instant>,
    longest_pause: Duration,
}

/// A client process.
#[derive(Debug)]
pub struct Client {
    process: Process,
    kind: ClientKind,
    topic: String,
    progress: Arc<Mutex<Progress>>,
    asked_to_end: std::sync::atomic::AtomicBool,
}

impl Client {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.process.name()
    }

    /// Its process, to be stopped or killed by a test.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Records acknowledged to it or read by it so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.progress().records
    }

    /// How many partitions its group gave it last.
    #[must_use]
    pub fn assigned(&self) -> usize {
        self.progress().assigned
    }

    /// Starts (again) to measure pauses between its records.
    pub fn measure_pauses(&self) {
        let mut progress = self.progress();
        (progress.measured, progress.last, progress.longest_pause) = (true, None, Duration::ZERO);
    }

    /// Stops measuring pauses; the longest stays.
    pub fn stop_measuring(&self) {
        self.progress().measured = false;
    }

    /// Waits until it has worked on at least `count` records.
    ///
    /// # Errors
    /// When it ends before or takes longer than `deadline`.
    pub async fn wait_for_records(&self, count: u64, deadline: Duration) -> Result<()> {
        let end = Instant::now() + deadline;
        loop {
            let running = self.process.is_running();
            let records = self.records();
            if records >= count {
                return Ok(());
            }
            if !running || Instant::now() >= end {
                let why = if running { "is slow" } else { "ended" };
                bail!(
                    "{} {why} at {records} of {count} records; its log ends:\n{}",
                    self.name(),
                    self.process.log_tail()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks it to end and waits: a producer flushes, a consumer leaves its group.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&self) -> Result<()> {
        if self.process.is_running() {
            self.asked_to_end
                .store(true, std::sync::atomic::Ordering::Release);
        }
        self.process.stop().await.map(drop)
    }

    /// Waits until a client that ends by itself has ended.
    ///
    /// # Errors
    /// When it still runs at the deadline or failed.
    pub async fn wait_for_end(&self, deadline: Duration) -> Result<()> {
        let status = self.process.wait(deadline).await?;
        if !status.success() {
            bail!(
                "{} ended with {status}; its log ends:\n{}",
                self.name(),
                self.process.log_tail()
            );
        }
        self.asked_to_end
            .store(true, std::sync::atomic::Ordering::Release);
        Ok(())
    }

    /// What it went through so far.
    #[must_use]
    pub fn report(&self) -> ClientReport {
        let asked = self.asked_to_end.load(std::sync::atomic::Ordering::Acquire);
        let unexpected_end = !self.process.is_running() && !asked;
        let progress = self.progress();
        let mut errors = progress.errors.clone();
        errors.extend(complaints(&read_from(self.process.log(), 0)));
        ClientReport {
            name: self.name().to_owned(),
            kind: self.kind.clone(),
            topic: self.topic.clone(),
            records: progress.records,
            restarts: u64::from(unexpected_end),
            errors,
            assignments: progress.assignments,
            longest_pause: progress.longest_pause,
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts clients whose events go into one history and whose logs lie in one folder.
#[derive(Debug)]
pub struct Clients {
    history: History,
    folder: PathBuf,
    // Kept for its drop: the folder goes with the clients that write into it.
    _scratch: Option<tempfile::TempDir>,
}

impl Clients {
    /// Logs in a scratch folder.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn new(history: &History) -> Result<Self> {
        let scratch = folders::scratch()?;
        Ok(Self {
            history: history.clone(),
            folder: scratch.path().to_owned(),
            _scratch: Some(scratch),
        })
    }

    /// Logs in `folder`, which stays.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn in_folder(history: &History, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self {
            history: history.clone(),
            folder: folder.to_owned(),
            _scratch: None,
        })
    }

    /// Starts a producer.
    ///
    /// # Errors
    /// When its program is missing.
    pub fn producer(&self, software: &Software, spec: &ProducerSpec) -> Result<Client> {
        let command = spec.command(software, &self.folder)?;
        let kind = ClientKind::Producer {
            prefix: spec.value_prefix.to_string(),
        };
        self.start(&spec.name, kind, &spec.topic, command)
    }

    /// Starts a consumer.
    ///
    /// # Errors
    /// When its program is missing.
    pub fn consumer(&self, software: &Software, spec: &ConsumerSpec) -> Result<Client> {
        let command = spec.command(software, &self.folder)?;
        self.start(
            &spec.name,
            ClientKind::Consumer {
                group: spec.group.clone(),
            },
            &spec.topic,
            command,
        )
    }

    fn start(
        &self,
        name: &str,
        kind: ClientKind,
        topic: &str,
        command: std::process::Command,
    ) -> Result<Client> {
        let log = self.folder.join(format!("{name}.log"));
        let progress = Arc::new(Mutex::new(Progress::default()));
        let sink = sink(
            self.history.clone(),
            kind.clone(),
            Arc::clone(&progress),
            log.clone(),
        );
        let process = Process::start_with_lines(name, command, &log, sink)?;
        let asked_to_end = std::sync::atomic::AtomicBool::new(false);
        Ok(Client {
            process,
            kind,
            topic: topic.to_owned(),
            progress,
            asked_to_end,
        })
    }
}

fn sink(
    history: History,
    kind: ClientKind,
    progress: Arc<Mutex<Progress>>,
    log: PathBuf,
) -> LineSink {
    Box::new(move |line| {
        let Some(event) = Event::parse(line) else {
            // A line that is no event (a JVM's warning, say) belongs with the other log lines.
            crate::process::note(&log, line);
            return;
        };
        match (&event, &kind) {
            (Event::Acknowledged(at), _) => {
                history.acknowledged(&at.topic, at.partition, at.offset, &at.value, at.at_ms);
            }
            (Event::Read(at), ClientKind::Consumer { group }) => {
                history.read(
                    group,
                    &at.topic,
                    at.partition,
                    at.offset,
                    &at.value,
                    at.at_ms,
                );
            }
            _ => {}
        }
        progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(&event, line);
    })
}

impl Progress {
    fn take(&mut self, event: &Event, line: &str) {
        match event {
            Event::Acknowledged(_) | Event::Read(_) => self.count_record(),
            Event::SendFailed(_) | Event::Lost(_) | Event::CommitFailed(_) => {
                self.errors.push(line.to_owned())
            }
            Event::Assigned(count) => {
                (self.assignments, self.assigned) = (self.assignments + 1, *count)
            }
            Event::Revoked(_) => self.assigned = 0,
            Event::Committed | Event::ShutDown | Event::Other => {}
        }
    }

    fn count_record(&mut self) {
        self.records += 1;
        if self.measured {
            let now = Instant::now();
            if let Some(last) = self.last.replace(now) {
                self.longest_pause = self.longest_pause.max(now - last);
            }
        }
    }
}
