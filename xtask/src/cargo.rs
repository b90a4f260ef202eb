//! The workspace and how cargo is called in it.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow};

/// How programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As for tests.
    Debug,
    /// For measuring.
    Release,
}

/// The workspace this task works on.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The workspace this program was built from, or the one around the working folder when that has moved.
    pub(crate) fn locate() -> Result<Self> {
        let built_from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .map(Path::to_owned);
        let working = std::env::current_dir().context("the working folder is unknown")?;
        let is_root = |folder: &Path| {
            folder.join("xtask/Cargo.toml").is_file() && folder.join("Cargo.lock").is_file()
        };
        let root = working
            .ancestors()
            .find(|folder| is_root(folder))
            .map(Path::to_owned);
        let root = root.or(built_from.filter(|folder| is_root(folder)));
        let root = root.ok_or_else(|| anyhow!("run this inside the Lockgate workspace"))?;
        let target = build_folder(&root);
        Ok(Self { root, target })
    }

    /// Its root folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Its build folder.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// A cargo command in this workspace and its build folder.
    pub(crate) fn cargo(&self, verb: &str, arguments: &[&str]) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .arg(verb)
            .args(arguments)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// Runs cargo with its output going to the user; whether it succeeded.
    pub(crate) fn run(&self, verb: &str, arguments: &[&str]) -> Result<bool> {
        let status = self
            .cargo(verb, arguments)
            .status()
            .context("cannot run cargo")?;
        Ok(status.success())
    }

    /// As [`Workspace::run`], and hands every line of standard output to `line` too.
    pub(crate) fn run_with_lines(
        &self,
        verb: &str,
        arguments: &[&str],
        mut line: impl FnMut(&str),
    ) -> Result<bool> {
        let mut child = self
            .cargo(verb, arguments)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run cargo")?;
        if let Some(stdout) = child.stdout.take() {
            for said in BufReader::new(stdout).lines() {
                let said = said.context("reading cargo's output")?;
                crate::say(&said);
                line(&said);
            }
        }
        Ok(child.wait().context("waiting for cargo")?.success())
    }

    /// Becomes a built program of the workspace, so that signals reach it; returns only when that fails.
    pub(crate) fn replace_with(
        &self,
        profile: Profile,
        name: &str,
        arguments: &[String],
    ) -> anyhow::Error {
        let folder = match profile {
            Profile::Debug => "debug",
            Profile::Release => "release",
        };
        let program = self.target.join(folder).join(name);
        let error = Command::new(&program)
            .args(arguments)
            .current_dir(&self.root)
            .exec();
        anyhow!(error).context(format!("cannot run {}", program.display()))
    }
}

/// `CARGO_TARGET_DIR`, or a folder in the user's cache: the next clean checkout is then warm.
fn build_folder(root: &Path) -> PathBuf {
    if let Some(target) = std::env::var_os("CARGO_TARGET_DIR") {
        return root.join(target);
    }
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    match std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home)
    {
        Some(cache) => cache.join("lockgate/target"),
        None => root.join("target"),
    }
}
