//! `cargo xtask test`: everything CI runs, and one closing line with what the test runners said.

use anyhow::Result;

use crate::cargo::Workspace;
use crate::needs::{self, Need};

/// Tests passed and failed, over all test programs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
}

/// Runs it all; whether all of it succeeded.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    needs::check(&[Need::Compiler, Need::Jdk, Need::Maven])?;
    if !step(workspace, "format", "fmt", &["--all", "--check"])? {
        crate::say("cargo xtask fmt formats every file");
        return Ok(false);
    }
    if !step(
        workspace,
        "clippy",
        "clippy",
        &["--workspace", "--all-targets", "--", "-D", "warnings"],
    )? {
        return Ok(false);
    }
    crate::say("== policies");
    crate::build_policies(workspace)?;
    // End-to-end tests start these programs; cargo by itself builds them only for tests of the same package.
    if !step(workspace, "programs", "build", &["--workspace", "--bins"])? {
        return Ok(false);
    }
    crate::say("== tests");
    let mut totals = Totals::default();
    let passed = workspace.run_with_lines("test", &["--workspace", "--no-fail-fast"], |line| {
        totals.take(line)
    })?;
    crate::say("");
    crate::say(&format!(
        "{} passed, {} failed",
        totals.passed, totals.failed
    ));
    Ok(passed && totals.failed == 0)
}

fn step(workspace: &Workspace, name: &str, verb: &str, arguments: &[&str]) -> Result<bool> {
    crate::say(&format!("== {name}"));
    workspace.run(verb, arguments)
}

impl Totals {
    /// Adds a line like `test result: ok. 24 passed; 0 failed; 0 ignored; ...`.
    fn take(&mut self, line: &str) {
        let Some(result) = line.trim_start().strip_prefix("test result:") else {
            return;
        };
        let words: Vec<&str> = result.split_whitespace().collect();
        for pair in words.windows(2) {
            let Ok(count) = pair[0].parse::<u64>() else {
                continue;
            };
            match pair[1].trim_end_matches(';') {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let mut totals = Totals::default();
        totals.take("test result: ok. 24 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.05s");
        totals
            .take("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        totals.take("test something ... ok");
        assert_eq!(
            totals,
            Totals {
                passed: 27,
                failed: 2
            }
        );
    }
}
