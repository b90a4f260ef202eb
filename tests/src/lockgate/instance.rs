//! The `lockgate` process of a test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::api::AdminApi;
use super::config::Config;
use crate::folders;
use crate::process::Process;

/// How long `/readyz` may take after a start; after a kill the old member of `lockgate-instances` must expire
/// first.
const READY_DEADLINE: Duration = Duration::from_secs(90);

/// Lockgate under test; dropping it kills it.
#[derive(Debug)]
pub struct Lockgate {
    config: Config,
    folder: PathBuf,
    process: Mutex<Option<Process>>,
    // Kept for its drop: the configuration and the log go with the test.
    _scratch: Option<tempfile::TempDir>,
}

impl Lockgate {
    /// Writes the configuration and starts the process, in a scratch folder. It is not yet ready.
    ///
    /// # Errors
    /// When the binary is missing.
    pub fn start(config: Config) -> Result<Self> {
        let scratch = folders::scratch()?;
        let folder = scratch.path().to_owned();
        Self::start_in(config, &folder, Some(scratch))
    }

    /// As [`Lockgate::start`], with configuration and log in `folder`, which stays.
    ///
    /// # Errors
    /// When the binary is missing.
    pub fn start_in_folder(config: Config, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Self::start_in(config, folder, None)
    }

    fn start_in(config: Config, folder: &Path, scratch: Option<tempfile::TempDir>) -> Result<Self> {
        let path = folder.join("lockgate.toml");
        std::fs::write(&path, config.to_toml())
            .with_context(|| format!("cannot write {}", path.display()))?;
        let lockgate = Self {
            config,
            folder: folder.to_owned(),
            process: Mutex::new(None),
            _scratch: scratch,
        };
        lockgate.launch(None)?;
        Ok(lockgate)
    }

    /// Starts Lockgate and waits until it is ready.
    ///
    /// # Errors
    /// When it ends first or is not ready in time; the error carries the end of its log.
    pub async fn ready(config: Config) -> Result<Self> {
        let lockgate = Self::start(config)?;
        lockgate.wait_ready().await?;
        Ok(lockgate)
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// `bootstrap.servers` for clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.config.bootstrap()
    }

    /// Its admin API.
    #[must_use]
    pub fn api(&self) -> AdminApi {
        AdminApi::new(self.config.admin())
    }

    /// Its configuration file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.folder.join("lockgate.toml")
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("lockgate.log")
    }

    /// Everything it logged so far, over all its starts.
    #[must_use]
    pub fn log_text(&self) -> String {
        crate::process::read_from(&self.log(), 0)
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(Process::pid)
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Errors
    /// When it ends first or is not ready in time; the error carries the end of its log.
    pub async fn wait_ready(&self) -> Result<()> {
        let end = tokio::time::Instant::now() + READY_DEADLINE;
        loop {
            let last = self.api().get("/readyz").await;
            if last.as_ref().is_ok_and(|answer| answer.status.is_success()) {
                return Ok(());
            }
            let tail = || {
                let log = self.log_text();
                log.get(log.len().saturating_sub(3000)..)
                    .unwrap_or(&log)
                    .to_owned()
            };
            if !self.is_running() {
                bail!(
                    "lockgate ended before it was ready; its log ends:\n{}",
                    tail()
                );
            }
            if tokio::time::Instant::now() >= end {
                bail!(
                    "lockgate is not ready after {READY_DEADLINE:?} ({last:?}); its log ends:\n{}",
                    tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Whether the process runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .is_some_and(Process::is_running)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&self) -> Result<()> {
        self.take()?.kill().await.map(drop)
    }

    /// SIGTERM: Lockgate drains and ends; returns its exit code.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn stop(&self) -> Result<Option<i32>> {
        Ok(self.take()?.stop().await?.code())
    }

    /// Starts it again with the same configuration, without waiting for it to be ready.
    ///
    /// # Errors
    /// When it still runs.
    pub fn restart(&self) -> Result<()> {
        if self.is_running() {
            bail!("lockgate still runs");
        }
        self.launch(None)
    }

    /// As [`Lockgate::restart`], and it will end by itself, as abruptly as by SIGKILL, right after it has written a
    /// record of this name to its journal, or with `first-copy` one of two copies of Open (debug builds, and those with the feature `faults`).
    ///
    /// # Errors
    /// When it still runs.
    pub fn restart_to_end_after(&self, record: &str) -> Result<()> {
        if self.is_running() {
            bail!("lockgate still runs");
        }
        self.launch(Some(record))
    }

    /// Waits until the process has ended by itself and returns its exit code.
    ///
    /// # Errors
    /// When it still runs at the deadline.
    pub async fn wait_for_end(&self, deadline: Duration) -> Result<Option<i32>> {
        let process = self.take()?;
        Ok(process.wait(deadline).await?.code())
    }

    /// Runs a command of the CLI (for instance `flip payments --move all`) against this instance, whose
    /// admin address it learns from `--config`.
    ///
    /// # Errors
    /// When the binary is missing.
    pub async fn cli(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary()?);
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config_path())
            .stdin(std::process::Stdio::null());
        let ran = tokio::task::spawn_blocking(move || command.output());
        ran.await?.context("cannot run the lockgate CLI")
    }

    fn launch(&self, end_after: Option<&str>) -> Result<()> {
        let mut command = Command::new(binary()?);
        command.arg("run").arg("--config").arg(self.config_path());
        if let Some(record) = end_after {
            command.env("LOCKGATE_FAULT_EXIT_AFTER", record);
        }
        let process = Process::start("lockgate", command, &self.log())?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        Ok(())
    }

    fn take(&self) -> Result<Process> {
        let process = self
            .process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        process.ok_or_else(|| anyhow!("lockgate does not run"))
    }
}

fn binary() -> Result<PathBuf> {
    folders::program("lockgate", "LOCKGATE_BIN")
}
