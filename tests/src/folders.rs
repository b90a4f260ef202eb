//! Folders: the scratch space of a run, the cache that outlives it, and where built programs lie.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

/// The scratch folder's name starts with this, followed by the owner's process id.
const PREFIX: &str = "lockgate-run-";
/// Memory-backed scratch space is used when it has at least this much room.
const ROOMY_BYTES: u64 = 8 << 30;

/// A new scratch folder, removed when dropped; in memory where there is room, since logs are written and
/// thrown away. Folders of runs that were killed are removed on the way.
///
/// # Errors
/// When it cannot be created.
pub fn scratch() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let base = if free_bytes(memory) >= ROOMY_BYTES {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    sweep(&base);
    remove_at_exit();
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir_in(&base)
        .with_context(|| format!("cannot create a scratch folder in {}", base.display()))
}

/// The user's cache folder for Lockgate: `$XDG_CACHE_HOME/lockgate` or `~/.cache/lockgate`.
///
/// # Errors
/// When neither variable is set.
pub fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .ok_or_else(|| anyhow!("neither HOME nor XDG_CACHE_HOME is set"))?;
    Ok(base.join("lockgate"))
}

/// The root of the workspace this crate was built from.
#[must_use]
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Where reports of `kind` go: `<root>/target/<kind>`, created.
///
/// # Errors
/// When it cannot be created.
pub fn reports(kind: &str) -> Result<PathBuf> {
    let folder = workspace().join("target").join(kind);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// The program `name` of this workspace: the variable `variable`, or beside the running program.
///
/// # Errors
/// When it has not been built.
pub fn program(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(PathBuf::from(path));
    }
    let own = std::env::current_exe().context("the path of this program is unknown")?;
    // A test runs from `<target>/<profile>/deps`, a program from `<target>/<profile>`.
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            anyhow!(
                "`{name}` is not built beside {}: build it, or set {variable}",
                own.display()
            )
        })
}

/// Fixtures that live in statics are never dropped; their folders are removed when the process exits.
#[expect(
    unsafe_code,
    reason = "a system call that the standard library does not offer"
)]
fn remove_at_exit() {
    extern "C" fn remove_own() {
        let own = format!("{PREFIX}{}-", std::process::id());
        for base in [PathBuf::from("/dev/shm"), std::env::temp_dir()] {
            let Ok(entries) = std::fs::read_dir(base) else {
                continue;
            };
            for entry in entries
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(&own))
            {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
    static ONCE: std::sync::Once = std::sync::Once::new();
    // SAFETY: the handler is a plain function that neither unwinds nor touches thread-locals of ended threads.
    ONCE.call_once(|| unsafe {
        libc::atexit(remove_own);
    });
}

/// Removes scratch folders whose owner no longer runs.
fn sweep(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split('-').next());
        if let Some(owner) = owner
            && !Path::new("/proc").join(owner).exists()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[expect(
    unsafe_code,
    reason = "a system call that the standard library does not offer"
)]
fn free_bytes(path: &Path) -> u64 {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else {
        return 0;
    };
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `path` ends in a zero byte and `stat` is large enough for what statvfs(3) writes.
    let stat = unsafe {
        if libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return 0;
        }
        stat.assume_init()
    };
    stat.f_bavail * stat.f_frsize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_owners_folder_is_swept() {
        let base = tempfile::tempdir().unwrap();
        let dead = base.path().join(format!("{PREFIX}4194305-x"));
        let live = base
            .path()
            .join(format!("{PREFIX}{}-x", std::process::id()));
        std::fs::create_dir(&dead).unwrap();
        std::fs::create_dir(&live).unwrap();
        sweep(base.path());
        assert!(!dead.exists() && live.exists());
    }
}
