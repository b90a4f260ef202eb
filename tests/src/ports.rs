//! Loopback ports that no other test process takes.
//!
//! Ports lie below the range the kernel hands to outgoing connections, so that a client's own socket never
//! sits on a listener's port while a broker is down. A lock on a file per port keeps two test processes apart;
//! the kernel drops it with the process, however that ends.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// First port that is handed out.
const FIRST_PORT: u16 = 20_000;
/// One past the last port that is handed out; Linux starts its ephemeral range at 32768.
const END_PORT: u16 = 32_000;
/// How many random places are tried before giving up.
const ATTEMPTS: usize = 400;

/// A run of consecutive ports, held until this value is dropped.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    locks: Vec<File>,
}

impl Ports {
    /// Reserves `count` consecutive ports that nobody listens on.
    ///
    /// # Errors
    /// When no free run was found or the lock folder cannot be written.
    pub fn reserve(count: u16) -> Result<Self> {
        let folder = lock_folder()?;
        for _ in 0..ATTEMPTS {
            let first = rand::random_range(FIRST_PORT..END_PORT - count);
            if let Some(locks) = lock_run(&folder, first, count)? {
                return Ok(Self { first, locks });
            }
        }
        bail!("no {count} consecutive free loopback ports between {FIRST_PORT} and {END_PORT}")
    }

    /// The first port of the run.
    #[must_use]
    pub fn first(&self) -> u16 {
        self.first
    }

    /// The last port of the run.
    #[must_use]
    pub fn last(&self) -> u16 {
        self.first + (self.locks.len() as u16 - 1)
    }

    /// The port at `index`, counted from the first.
    #[must_use]
    pub fn at(&self, index: usize) -> u16 {
        assert!(
            index < self.locks.len(),
            "port {index} of {} was asked for",
            self.locks.len()
        );
        self.first + index as u16
    }

    /// `127.0.0.1` with the port at `index`.
    #[must_use]
    pub fn address(&self, index: usize) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.at(index)))
    }
}

fn lock_folder() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join("lockgate-ports");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Locks the whole run, or nothing when one of its ports is taken.
fn lock_run(folder: &std::path::Path, first: u16, count: u16) -> Result<Option<Vec<File>>> {
    let mut locks = Vec::with_capacity(usize::from(count));
    for port in first..first + count {
        let path = folder.join(port.to_string());
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        // Bound and released at once: a stranger's listener is seen here, ours by the lock.
        if file.try_lock().is_err() || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            return Ok(None);
        }
        locks.push(file);
    }
    Ok(Some(locks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_do_not_overlap() {
        let runs: Vec<Ports> = (0..20).map(|_| Ports::reserve(10).unwrap()).collect();
        let mut seen = std::collections::HashSet::new();
        for run in &runs {
            for index in 0..10 {
                assert!(seen.insert(run.at(index)));
            }
        }
    }
}
