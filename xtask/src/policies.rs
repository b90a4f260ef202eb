//! Builds the policies: every crate under `plugins/`, to WASM, to a component, into `target/policies`.
//!
//! The ordinary way is rustup's `wasm32-unknown-unknown`. Where rustup cannot get it, Debian's packages bring a
//! toolchain with the sources of std, which is then built along.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use wit_component::ComponentEncoder;

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "policy";

/// Debian's toolchain, from the packages of [`INSTALL`].
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

const INSTALL: &str = "the policies need the Rust target wasm32-unknown-unknown: run `rustup target add \
                       wasm32-unknown-unknown`, or on Debian `apt install rustc-web cargo-web rust-web-src lld`";

/// What builds for WASM on this machine.
enum Toolchain {
    /// The cargo and rustc in use have the target.
    Rustup,
    /// Debian's, which builds std itself, with a linker from elsewhere.
    Debian { linker: PathBuf },
}

/// Builds every policy under `<root>/plugins` and returns the components, `<root>/target/policies/<name>.wasm`.
pub(crate) fn build_policies(root: &Path, target_dir: &Path) -> Result<Vec<PathBuf>> {
    let names = policy_names(root)?;
    let toolchain = find_toolchain()?;
    compile(root, target_dir, &names, &toolchain)?;
    let modules = target_dir.join(TARGET).join(PROFILE);
    let components = root.join("target/policies");
    fs::create_dir_all(&components)
        .with_context(|| format!("cannot make {}", components.display()))?;
    names
        .iter()
        .map(|name| componentize(name, &modules, &components))
        .collect()
}

/// The crates under `plugins/`, which are named as their folders.
fn policy_names(root: &Path) -> Result<Vec<String>> {
    let plugins = root.join("plugins");
    let folders =
        fs::read_dir(&plugins).with_context(|| format!("cannot read {}", plugins.display()))?;
    let mut names = Vec::new();
    for folder in folders {
        let folder = folder?;
        if folder.path().join("Cargo.toml").is_file() {
            names.push(folder.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    ensure!(
        !names.is_empty(),
        "there is no policy under {}",
        plugins.display()
    );
    Ok(names)
}

fn find_toolchain() -> Result<Toolchain> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    if has_target(&rustc) || (rustup_adds_target() && has_target(&rustc)) {
        return Ok(Toolchain::Rustup);
    }
    let sources = "lib/rustlib/src/rust/library/std/Cargo.toml";
    let has_sources =
        sysroot(DEBIAN_RUSTC.as_ref()).is_some_and(|sysroot| sysroot.join(sources).is_file());
    if !Path::new(DEBIAN_CARGO).is_file() || !has_sources {
        bail!(INSTALL);
    }
    let linker = find_linker(&rustc).context(INSTALL)?;
    Ok(Toolchain::Debian { linker })
}

fn has_target(rustc: &OsString) -> bool {
    sysroot(rustc).is_some_and(|sysroot| {
        sysroot
            .join("lib/rustlib")
            .join(TARGET)
            .join("lib")
            .is_dir()
    })
}

fn sysroot(rustc: &std::ffi::OsStr) -> Option<PathBuf> {
    let output = Command::new(rustc)
        .args(["--print", "sysroot"])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let printed = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| PathBuf::from(printed.trim()))
}

/// Asks rustup once. That it fails, without a network or without rustup, is no error: there is a second way.
fn rustup_adds_target() -> bool {
    let status = Command::new("rustup")
        .args(["target", "add", TARGET])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// A WASM linker: the one that comes with rustup's toolchains, or the system's.
fn find_linker(rustc: &OsString) -> Option<PathBuf> {
    let host = "lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld";
    let host_arm = "lib/rustlib/aarch64-unknown-linux-gnu/bin/rust-lld";
    let of_rustup = sysroot(rustc)
        .into_iter()
        .flat_map(|sysroot| [sysroot.join(host), sysroot.join(host_arm)]);
    let of_system = ["/usr/bin/rust-lld", "/usr/bin/wasm-ld"].map(PathBuf::from);
    of_rustup.chain(of_system).find(|linker| linker.is_file())
}

fn compile(root: &Path, target_dir: &Path, names: &[String], toolchain: &Toolchain) -> Result<()> {
    let mut cargo = match toolchain {
        Toolchain::Rustup => {
            Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        }
        Toolchain::Debian { linker } => {
            let mut cargo = Command::new(DEBIAN_CARGO);
            cargo
                // `-Z build-std` is unstable; this is how a stable toolchain is told to accept it.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", DEBIAN_RUSTC)
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                .env_remove("RUSTUP_TOOLCHAIN");
            cargo
        }
    };
    cargo.current_dir(root).args([
        "build",
        "--locked",
        "--target",
        TARGET,
        "--profile",
        PROFILE,
    ]);
    if matches!(toolchain, Toolchain::Debian { .. }) {
        cargo.args(["-Z", "build-std=std,panic_abort"]);
    }
    cargo.arg("--target-dir").arg(target_dir);
    for name in names {
        cargo.args(["--package", name]);
    }
    // Flags meant for the host, such as a linker choice, do not fit WASM.
    cargo
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER");
    let status = cargo
        .stdin(Stdio::null())
        .status()
        .context("cargo does not start")?;
    ensure!(
        status.success(),
        "the policies do not build ({status}); cargo says why above"
    );
    Ok(())
}

/// Makes a module a component. The world is in the module, put there by the SDK's export macro.
fn componentize(name: &str, modules: &Path, components: &Path) -> Result<PathBuf> {
    let module = modules.join(format!("{}.wasm", name.replace('-', "_")));
    let bytes = fs::read(&module).with_context(|| {
        format!(
            "plugins/{name} gave no {}; its crate-type must be cdylib",
            module.display()
        )
    })?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|encoder| encoder.encode())
        .with_context(|| format!("plugins/{name} does not make a component"))?;
    // A running Lockgate may be reading the old file: replace it whole.
    let path = components.join(format!("{name}.wasm"));
    let fresh = components.join(format!(".{name}.wasm.{}", std::process::id()));
    fs::write(&fresh, component).with_context(|| format!("cannot write {}", fresh.display()))?;
    fs::rename(&fresh, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
