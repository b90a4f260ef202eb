//! CPU time of another process, from the kernel's own accounting.

use anyhow::{Context, Result};

/// User and system CPU seconds that a process has used so far, all threads together (`/proc/<pid>/stat`, fields 14
/// and 15, in clock ticks).
pub fn seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    ticks(&stat)
        .map(|ticks| ticks as f64 / ticks_per_second())
        .context("an unreadable /proc stat line")
}

/// Resident memory in MiB (`VmRSS`).
pub fn resident_mib(pid: u32) -> Result<f64> {
    status_mib(pid, "VmRSS:")
}

/// The most that was ever resident, in MiB (`VmHWM`).
pub fn peak_mib(pid: u32) -> Result<f64> {
    status_mib(pid, "VmHWM:")
}

fn status_mib(pid: u32, field: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .with_context(|| format!("no {field} line"))?;
    let kib: f64 = line
        .trim()
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .with_context(|| format!("an unreadable {field}"))?;
    Ok(kib / 1024.0)
}

fn ticks(stat: &str) -> Option<u64> {
    // The command's name is in parentheses and may hold spaces; the fields after it are counted from 3.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(14 - 3);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn ticks_per_second() -> f64 {
    // SAFETY: sysconf reads a constant and has no preconditions.
    #[allow(unsafe_code, reason = "the tick length is only told by sysconf")]
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_an_odd_name_is_read() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 1 0 100 0 0";
        assert_eq!(ticks(line), Some(42));
    }

    #[test]
    fn this_process_has_used_some() {
        assert!(seconds(std::process::id()).unwrap() >= 0.0);
        assert!(resident_mib(std::process::id()).unwrap() > 1.0);
    }
}
