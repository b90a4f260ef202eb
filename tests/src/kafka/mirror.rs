//! MirrorMaker 2, to be measured beside: its jars and one process that copies one topic.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::artifacts::{RELOAD4J, Version, classpath, fetch};
use crate::folders;
use crate::process::Process;

/// Raised when what the cache folder holds changes.
const LAYOUT: u32 = 1;
/// As `connect-mirror-maker.sh` starts it: heap and collector of `kafka-run-class.sh`, both compilers.
const JVM: [&str; 8] = [
    "-Xms256M",
    "-Xmx2G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];

/// A resolved MirrorMaker 2.
#[derive(Debug, Clone)]
pub struct MirrorMaker {
    folder: PathBuf,
    classpath: String,
}

impl MirrorMaker {
    /// Finds its jars in the cache, or fetches them with Maven.
    ///
    /// # Errors
    /// When there is no JDK or Maven, or Maven cannot fetch.
    pub fn resolve(version: Version) -> Result<Self> {
        let folder = folders::cache()?
            .join("kafka")
            .join(format!("mirror-{}-v{LAYOUT}", version.number()));
        let libs = folder.join("libs");
        fs::create_dir_all(&libs).with_context(|| format!("cannot create {}", libs.display()))?;
        let lock = File::create(folder.join("lock")).context("cannot create the cache lock")?;
        lock.lock().context("cannot lock the cache")?;
        let complete = folder.join("complete");
        if !complete.is_file() {
            let what = format!("MirrorMaker {}", version.number());
            fetch(&pom(version), &what, &folder)?;
            fs::write(&complete, version.number()).context("cannot mark the cache as complete")?;
        }
        Ok(Self {
            classpath: classpath(&libs)?,
            folder,
        })
    }

    /// Starts it with these properties; properties and log lie in `folder`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, properties: &str, folder: &Path) -> Result<Process> {
        let path = folder.join("mm2.properties");
        fs::write(&path, properties).with_context(|| format!("cannot write {}", path.display()))?;
        let mut command = Command::new("java");
        command
            .args(JVM)
            .arg(format!(
                "-Dlog4j.configuration=file:{}",
                self.folder.join("log4j.properties").display()
            ))
            .args(["-cp", &self.classpath])
            .arg("org.apache.kafka.connect.mirror.MirrorMaker")
            .arg(path)
            .env_remove("JAVA_TOOL_OPTIONS");
        Process::start("mirror-maker", command, &folder.join("mm2.log"))
    }
}

fn pom(version: Version) -> String {
    let kafka = version.number();
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>lockgate</groupId>
  <artifactId>mirror-jars</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>connect-mirror</artifactId><version>{kafka}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId><version>{RELOAD4J}</version></dependency>
  </dependencies>
</project>
"#
    )
}
