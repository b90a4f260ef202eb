//! The `lockgate` binary: arguments, then whatever they ask for.

use std::process::ExitCode;

fn main() -> ExitCode {
    lockgate::cli::main()
}
