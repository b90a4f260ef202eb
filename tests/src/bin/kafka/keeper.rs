//! The keeper: its start, its life, its end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lockgate_tests::folders;
use lockgate_tests::kafka::Pair;
use lockgate_tests::lockgate::{Config, Route};
use lockgate_tests::process::{Signal, detach, signal_group};

/// How long both clusters may take, the first fetch of the artifacts included.
const UP_DEADLINE: Duration = Duration::from_secs(600);
/// How long the keeper may take to end.
const DOWN_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

struct Files {
    pid: PathBuf,
    config: PathBuf,
    log: PathBuf,
}

fn files() -> Result<Files> {
    let folder = folders::reports("kafka")?;
    Ok(Files {
        pid: folder.join("keeper.pid"),
        config: folder.join("lockgate.toml"),
        log: folder.join("keeper.log"),
    })
}

/// Starts the keeper and waits until the clusters serve.
pub(crate) async fn up() -> Result<()> {
    let files = files()?;
    if let Some(pid) = running_keeper(&files.pid) {
        bail!("the clusters run already (keeper {pid}): `cargo xtask kafka down` stops them");
    }
    let _ = std::fs::remove_file(&files.config);
    let log = std::fs::File::create(&files.log).context("cannot write the keeper's log")?;
    let mut command =
        Command::new(std::env::current_exe().context("the path of this program is unknown")?);
    command
        .arg("keep")
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    detach(&mut command);
    let mut keeper = command.spawn().context("cannot start the keeper")?;
    std::fs::write(&files.pid, keeper.id().to_string()).context("cannot write the pid file")?;
    let end = Instant::now() + UP_DEADLINE;
    while !files.config.is_file() {
        if let Some(status) = keeper.try_wait()? {
            let said = std::fs::read_to_string(&files.log).unwrap_or_default();
            bail!("the keeper ended with {status}:\n{said}");
        }
        if Instant::now() >= end {
            bail!(
                "the clusters do not serve after {UP_DEADLINE:?}; see {}",
                files.log.display()
            );
        }
        tokio::time::sleep(POLL).await;
    }
    say(std::fs::read_to_string(&files.log)?.trim_end());
    say(&format!(
        "ready for `lockgate run --config {}`",
        files.config.display()
    ));
    Ok(())
}

/// Ends the keeper and with it the clusters.
pub(crate) async fn down() -> Result<()> {
    let files = files()?;
    let Some(pid) = running_keeper(&files.pid) else {
        say("no clusters run");
        return Ok(());
    };
    signal_group(pid, Signal::Terminate);
    let end = Instant::now() + DOWN_DEADLINE;
    while running_keeper(&files.pid).is_some() {
        if Instant::now() >= end {
            bail!("keeper {pid} does not end; see {}", files.log.display());
        }
        tokio::time::sleep(POLL).await;
    }
    let _ = std::fs::remove_file(&files.pid);
    say("both clusters are down");
    Ok(())
}

/// Starts the clusters, writes a configuration for them, and holds them until SIGTERM.
pub(crate) async fn keep() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let pair = tokio::select! {
        pair = Box::pin(Pair::start()) => pair?,
        _ = terminate.recv() => return Ok(()),
    };
    let route = Route {
        name: "orders".to_owned(),
        topics: vec!["orders".to_owned()],
        ..Route::default()
    };
    let config = Config::new(
        &pair.source.bootstrap(),
        &pair.destination.bootstrap(),
        vec![route],
    )?;
    say(&format!("source       {}", pair.source.bootstrap()));
    say(&format!("destination  {}", pair.destination.bootstrap()));
    let path = files()?.config;
    // Renamed into place: `up` takes its appearance as the sign that everything serves.
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, config.to_toml()).context("cannot write lockgate.toml")?;
    std::fs::rename(&fresh, &path).context("cannot write lockgate.toml")?;
    terminate.recv().await;
    Ok(())
}

/// The keeper of the pid file, if that process still is one.
fn running_keeper(pid_file: &Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(pid_file)
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments: Vec<&str> = command.split('\0').collect();
    (arguments.first()?.ends_with("kafka") && arguments.get(1) == Some(&"keep")).then_some(pid)
}

/// Prints a line.
#[expect(
    clippy::print_stdout,
    reason = "what a program for people says goes to stdout"
)]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
