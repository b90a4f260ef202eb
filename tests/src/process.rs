//! Child processes that never outlive the run.
//!
//! Each child has its own process group and is killed by the kernel when the thread that started it ends
//! (`PR_SET_PDEATHSIG`). That thread is a dedicated one which lives as long as this process, because a test's
//! own thread ends long before the fixtures that the tests share. Output goes to a log file and, line by line,
//! to whoever wants to parse it; both are read by plain threads, so a child is not bound to one async runtime.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a child may take to end after SIGTERM before it is killed.
pub const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// How often a log file is looked at while waiting for a line.
const LOG_POLL: Duration = Duration::from_millis(25);

/// A signal for a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: please end.
    Terminate,
    /// SIGKILL: end now, without any say in it.
    Kill,
    /// SIGSTOP: stand still.
    Stop,
    /// SIGCONT: go on.
    Continue,
}

impl Signal {
    fn number(self) -> libc::c_int {
        match self {
            Self::Terminate => libc::SIGTERM,
            Self::Kill => libc::SIGKILL,
            Self::Stop => libc::SIGSTOP,
            Self::Continue => libc::SIGCONT,
        }
    }
}

/// Receives each line of a child's standard output.
pub type LineSink = Box<dyn FnMut(&str) + Send>;

/// A running (or ended) child process; dropping it kills the process and waits for its end.
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

impl Process {
    /// Starts `command`; standard error and standard output go to `log`.
    ///
    /// # Errors
    /// When the log cannot be written or the program cannot be started.
    pub fn start(name: &str, command: Command, log: &Path) -> Result<Self> {
        Self::spawn(name, command, log, None)
    }

    /// Starts `command`; standard error goes to `log`, each line of standard output to `sink`.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start_with_lines(
        name: &str,
        command: Command,
        log: &Path,
        sink: LineSink,
    ) -> Result<Self> {
        Self::spawn(name, command, log, Some(sink))
    }

    fn spawn(name: &str, mut command: Command, log: &Path, sink: Option<LineSink>) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stderr(file.try_clone()?);
        match &sink {
            Some(_) => command.stdout(Stdio::piped()),
            None => command.stdout(file),
        };
        let mut child =
            spawn_on_lasting_thread(command).with_context(|| format!("cannot start {name}"))?;
        let pid = child.id();
        let reader = match (child.stdout.take(), sink) {
            (Some(stdout), Some(sink)) => {
                Some(std::thread::spawn(move || read_lines(stdout, sink)))
            }
            _ => None,
        };
        let (exited, exit) = watch::channel(None);
        std::thread::spawn(move || {
            let status = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(-1));
            // The last lines are in the pipe after the end: an exit is reported when they are read.
            if let Some(reader) = reader {
                let _ = reader.join();
            }
            let _ = exited.send(Some(status));
        });
        Ok(Self {
            name: name.to_owned(),
            pid,
            log: log.to_owned(),
            exit,
        })
    }

    /// The name it was started under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where its log is.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// Sends `signal` to the process group.
    pub fn signal(&self, signal: Signal) {
        if self.is_running() {
            signal_group(self.pid, signal);
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When it still runs after `deadline`.
    pub async fn wait(&self, deadline: Duration) -> Result<ExitStatus> {
        let mut exit = self.exit.clone();
        let ended = tokio::time::timeout(deadline, exit.wait_for(Option::is_some)).await;
        match ended {
            Ok(Ok(status)) => status.ok_or_else(|| anyhow!("{} has no exit status", self.name)),
            Ok(Err(_)) => bail!("nobody waits for {}", self.name),
            Err(_) => bail!("{} still runs after {deadline:?}", self.name),
        }
    }

    /// SIGKILL, then waits until it is gone.
    ///
    /// # Errors
    /// When the kernel does not end it.
    pub async fn kill(&self) -> Result<ExitStatus> {
        self.signal(Signal::Kill);
        self.wait(STOP_DEADLINE).await
    }

    /// SIGTERM, then SIGKILL after [`STOP_DEADLINE`].
    ///
    /// # Errors
    /// When the kernel does not end it.
    pub async fn stop(&self) -> Result<ExitStatus> {
        self.signal(Signal::Terminate);
        match self.wait(STOP_DEADLINE).await {
            Ok(status) => Ok(status),
            Err(_) => self.kill().await,
        }
    }

    /// Waits until the log holds `text`, looking from byte `from` on.
    ///
    /// # Errors
    /// When it does not appear in time or the process ends first; the error carries the end of the log.
    pub async fn wait_for_log(&self, text: &str, from: u64, deadline: Duration) -> Result<()> {
        let end = Instant::now() + deadline;
        loop {
            let ended = !self.is_running();
            if read_from(&self.log, from).contains(text) {
                return Ok(());
            }
            if ended {
                bail!(
                    "{} ended before it said {text:?}; its log ends:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            if Instant::now() >= end {
                bail!(
                    "{} did not say {text:?} in {deadline:?}; its log ends:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            tokio::time::sleep(LOG_POLL).await;
        }
    }

    /// The length of the log now, to be handed to [`Process::wait_for_log`].
    #[must_use]
    pub fn log_length(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |meta| meta.len())
    }

    /// The last lines of the log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        const TAIL_BYTES: u64 = 3_000;
        read_from(&self.log, self.log_length().saturating_sub(TAIL_BYTES))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::Kill);
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while self.is_running() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Sends `signal` to the process group of `pid`, which this module made its leader.
#[expect(
    unsafe_code,
    reason = "a system call that the standard library does not offer"
)]
pub fn signal_group(pid: u32, signal: Signal) {
    // SAFETY: kill(2) takes two integers and touches no memory of ours.
    unsafe { libc::kill(-(pid as libc::pid_t), signal.number()) };
}

/// The bytes of `log` from `from` on, as text; empty when it cannot be read.
pub(crate) fn read_from(log: &Path, from: u64) -> String {
    use std::io::{Seek, SeekFrom};
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(log)
        && file.seek(SeekFrom::Start(from)).is_ok()
    {
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read_lines(stdout: impl Read, mut sink: LineSink) {
    let mut reader = BufReader::with_capacity(1 << 16, stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => sink(String::from_utf8_lossy(&line).trim_end()),
        }
    }
}

type Spawned = std::io::Result<std::process::Child>;
type SpawnRequest = (Command, mpsc::Sender<Spawned>);

/// Starts a child from the one thread whose end is the end of this process.
fn spawn_on_lasting_thread(mut command: Command) -> Result<std::process::Child> {
    // One per process by nature: the parent-death signal is tied to a thread, and the process has one life.
    static SPAWNER: OnceLock<std::sync::Mutex<mpsc::Sender<SpawnRequest>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, receiver) = mpsc::channel::<SpawnRequest>();
        std::thread::spawn(move || {
            for (mut command, answer) in receiver {
                let _ = answer.send(command.spawn());
            }
        });
        std::sync::Mutex::new(requests)
    });
    die_with_parent(&mut command);
    command.process_group(0);
    let (answer, child) = mpsc::channel();
    let requests = spawner
        .lock()
        .map_err(|_| anyhow!("the spawning thread is gone"))?
        .clone();
    requests
        .send((command, answer))
        .map_err(|_| anyhow!("the spawning thread is gone"))?;
    Ok(child.recv().context("the spawning thread is gone")??)
}

/// Asks the kernel to kill the child when the spawning thread ends.
#[expect(
    unsafe_code,
    reason = "a system call that the standard library does not offer"
)]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only prctl, getppid and _exit are called; all are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // The parent may have died before the request above took effect.
            if libc::getppid() as u32 != parent {
                libc::_exit(1);
            }
            Ok(())
        });
    }
}

/// Gives a command a session of its own, so that it outlives this process and its terminal.
#[expect(
    unsafe_code,
    reason = "a system call that the standard library does not offer"
)]
pub fn detach(command: &mut Command) {
    // SAFETY: between fork and exec only setsid is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
}

/// Writes one line to a log file that a process also writes to.
pub(crate) fn note(log: &Path, line: &str) {
    if let Ok(mut file) = File::options().create(true).append(true).open(log) {
        let _ = writeln!(file, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn lines_reach_the_sink_before_the_exit_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two; echo log >&2; exit 3"]);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let sink: LineSink = Box::new(move |line| sink.lock().unwrap().push(line.to_owned()));
        let process =
            Process::start_with_lines("sh", command, &folder.path().join("log"), sink).unwrap();
        assert_eq!(
            process.wait(Duration::from_secs(5)).await.unwrap().code(),
            Some(3)
        );
        assert_eq!(*lines.lock().unwrap(), ["one", "two"]);
        assert_eq!(process.log_tail(), "log\n");
    }

    #[tokio::test]
    async fn a_stopped_process_can_be_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("60");
        let process = Process::start("sleep", command, &folder.path().join("log")).unwrap();
        process.signal(Signal::Stop);
        assert!(process.is_running());
        assert_eq!(process.kill().await.unwrap().signal(), Some(libc::SIGKILL));
    }
}
