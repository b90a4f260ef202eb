//! What a machine must have, and the command that installs what it lacks. The toolchain of the policies is
//! looked for where they are built.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// The oldest JDK that runs Kafka 4 brokers.
const MIN_JDK: u32 = 17;

/// Something a task needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A C compiler and make, for librdkafka.
    Compiler,
    /// A Java runtime.
    Jdk,
    /// Maven, which fetches Kafka.
    Maven,
}

impl Need {
    /// One sentence with the cure, or nothing when it is there.
    fn missing(self) -> Option<String> {
        match self {
            Self::Compiler
                if output("cc", &["--version"]).is_some()
                    && output("make", &["--version"]).is_some() =>
            {
                None
            }
            Self::Compiler => Some(
                "there is no C compiler or no make: `apt-get install -y gcc g++ make`".to_owned(),
            ),
            Self::Jdk => jdk_missing(output("java", &["-version"]).as_deref()),
            Self::Maven if output("mvn", &["--version"]).is_some() => None,
            Self::Maven => Some("there is no Maven: `apt-get install -y maven`".to_owned()),
        }
    }
}

/// Ends the task when something is missing, naming all of it at once.
pub(crate) fn check(needs: &[Need]) -> Result<()> {
    let missing: Vec<String> = needs.iter().filter_map(|need| need.missing()).collect();
    if !missing.is_empty() {
        bail!("{}", missing.join("; "));
    }
    Ok(())
}

fn jdk_missing(version: Option<&str>) -> Option<String> {
    const CURE: &str = "`apt-get install -y openjdk-17-jdk-headless`";
    match version.map(jdk_version) {
        Some(Some(found)) if found >= MIN_JDK => None,
        Some(Some(found)) => Some(format!(
            "Java {found} is too old, {MIN_JDK} is needed: {CURE}"
        )),
        _ => Some(format!("there is no JDK: {CURE}")),
    }
}

/// The feature release in the output of `java -version`; releases before 9 call themselves 1.x.
fn jdk_version(said: &str) -> Option<u32> {
    let quoted = said.split('"').nth(1)?;
    let mut numbers = quoted
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|part| part.parse().ok());
    match numbers.next()? {
        1 => numbers.next(),
        release => Some(release),
    }
}

/// What a program says, on either stream; `None` when it cannot run or fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let said = [output.stdout, output.stderr].concat();
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&said).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jdk_versions_are_read() {
        assert_eq!(
            jdk_version("openjdk version \"17.0.15\" 2025-04-15"),
            Some(17)
        );
        assert_eq!(jdk_version("java version \"1.8.0_391\""), Some(8));
        assert_eq!(jdk_version("openjdk version \"21-ea\""), Some(21));
        assert_eq!(jdk_version("nothing"), None);
    }

    #[test]
    fn an_old_jdk_is_named() {
        assert!(
            jdk_missing(Some("openjdk version \"11.0.2\""))
                .unwrap()
                .contains("Java 11 is too old")
        );
        assert!(jdk_missing(None).unwrap().contains("openjdk-17"));
    }
}
