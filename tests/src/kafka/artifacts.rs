//! Kafka's jars in the user's cache folder, and the JVM command lines that use them.
//!
//! A version is resolved with Maven once; the marker file is written last, so a folder with a marker is whole.
//! Next to the jars lie a formatted bootstrap checkpoint (formatting runs a JVM, copying does not) and a class
//! data archive that makes every later JVM start faster.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::folders;

/// Raised when what a cache folder holds changes, so that old folders are not taken for new ones.
const LAYOUT: u32 = 1;
/// The logging backend; without one Kafka's loggers say nothing.
pub(super) const RELOAD4J: &str = "1.7.36";

/// A Kafka release the harness runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// 3.9.1, the last line that still speaks the old protocol versions.
    V3_9,
    /// 4.1.1.
    V4_1,
}

impl Version {
    /// The number of the release.
    #[must_use]
    pub fn number(self) -> &'static str {
        match self {
            Self::V3_9 => "3.9.1",
            Self::V4_1 => "4.1.1",
        }
    }
}

/// What a JVM is for: decides its heap and its class data archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JvmKind {
    /// A broker or controller.
    Server,
    /// A client or a tool.
    Client,
}

/// One resolved release.
#[derive(Debug, Clone)]
pub struct Kafka {
    version: Version,
    folder: PathBuf,
    classpath: String,
}

impl Kafka {
    /// Finds the release in the cache, or fetches it with Maven.
    ///
    /// # Errors
    /// When there is no JDK or Maven, or Maven cannot fetch; the error says which command helps.
    pub fn resolve(version: Version) -> Result<Self> {
        let folder = folders::cache()?
            .join("kafka")
            .join(format!("{}-v{LAYOUT}", version.number()));
        let libs = folder.join("libs");
        fs::create_dir_all(&libs).with_context(|| format!("cannot create {}", libs.display()))?;
        // Two test processes on a fresh machine must not both fetch.
        let lock = File::create(folder.join("lock")).context("cannot create the cache lock")?;
        lock.lock().context("cannot lock the cache")?;
        let complete = folder.join("complete");
        if !complete.is_file() {
            fetch(
                &pom(version),
                &format!("Kafka {}", version.number()),
                &folder,
            )?;
        }
        let kafka = Self {
            version,
            classpath: classpath(&libs)?,
            folder,
        };
        if !complete.is_file() {
            super::node::prepare(&kafka)?;
            fs::write(&complete, version.number()).context("cannot mark the cache as complete")?;
        }
        Ok(kafka)
    }

    /// Which release this is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where the release lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The class data archive of a kind of JVM.
    #[must_use]
    pub fn archive(&self, kind: JvmKind) -> PathBuf {
        self.folder.join(match kind {
            JvmKind::Server => "server.jsa",
            JvmKind::Client => "client.jsa",
        })
    }

    /// A JVM that will run `main` of this release; its log lines go to standard error.
    #[must_use]
    pub fn java(&self, kind: JvmKind, main: &str) -> Command {
        let archive = self.archive(kind);
        let share = archive
            .is_file()
            .then(|| format!("-XX:SharedArchiveFile={}", archive.display()));
        let mut command = self.plain_java(kind);
        command.args(share).arg(main);
        command
    }

    /// As [`Kafka::java`], and writes the class data archive of `kind` when the JVM ends.
    pub(super) fn archiving_java(&self, kind: JvmKind, main: &str) -> Command {
        let mut command = self.plain_java(kind);
        command
            .arg(format!(
                "-XX:ArchiveClassesAtExit={}",
                self.archive(kind).display()
            ))
            .arg(main);
        command
    }

    fn plain_java(&self, kind: JvmKind) -> Command {
        let heap = match kind {
            JvmKind::Server => ["-Xms96m", "-Xmx384m"],
            JvmKind::Client => ["-Xms32m", "-Xmx192m"],
        };
        let mut command = Command::new("java");
        command
            .args(heap)
            // Short runs on few cores: the second compiler and parallel collectors cost more than they give.
            .args([
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-Xlog:cds=off",
                "-Xlog:cds+dynamic=off",
            ])
            .args([
                "-XX:-UsePerfData",
                "-Djava.awt.headless=true",
                "-Djava.net.preferIPv4Stack=true",
            ])
            .arg(format!(
                "-Dlog4j.configuration=file:{}",
                self.folder.join("log4j.properties").display()
            ))
            .args(["-cp", &self.classpath])
            .env_remove("JAVA_TOOL_OPTIONS");
        command
    }
}

/// Writes the pom and lets Maven copy what it names into `libs`.
pub(super) fn fetch(pom: &str, what: &str, folder: &Path) -> Result<()> {
    fs::write(folder.join("pom.xml"), pom).context("cannot write the pom")?;
    fs::write(folder.join("log4j.properties"), LOG4J).context("cannot write the log settings")?;
    let output = Command::new("mvn")
        .args(["--batch-mode", "--quiet", "dependency:copy-dependencies"])
        .args(["-DoutputDirectory=libs", "-DincludeScope=runtime"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .context(
            "cannot run `mvn`: install it with `apt-get install -y maven openjdk-17-jdk-headless`",
        )?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        bail!("Maven could not fetch {what}:\n{said}");
    }
    Ok(())
}

fn pom(version: Version) -> String {
    let kafka = version.number();
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>lockgate</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{kafka}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{kafka}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId><version>{RELOAD4J}</version></dependency>
  </dependencies>
</project>
"#
    )
}

/// Standard error carries the log, so that standard output holds nothing but a client's events.
const LOG4J: &str = "log4j.rootLogger=INFO, stderr
log4j.appender.stderr=org.apache.log4j.ConsoleAppender
log4j.appender.stderr.Target=System.err
log4j.appender.stderr.layout=org.apache.log4j.PatternLayout
log4j.appender.stderr.layout.ConversionPattern=[%d{ISO8601}] %p %m (%c)%n
log4j.logger.org.apache.kafka.clients.consumer.ConsumerConfig=WARN
log4j.logger.org.apache.kafka.clients.producer.ProducerConfig=WARN
log4j.logger.kafka.server.KafkaConfig=WARN
log4j.logger.org.apache.kafka.common.config.AbstractConfig=ERROR
";

/// The jars in a fixed order: a class data archive is only valid for the class path it was made with.
pub(super) fn classpath(libs: &Path) -> Result<String> {
    let mut jars: Vec<String> = fs::read_dir(libs)
        .with_context(|| format!("cannot list {}", libs.display()))?
        .filter_map(|entry| Some(entry.ok()?.path().to_str()?.to_owned()))
        .filter(|path| path.ends_with(".jar"))
        .collect();
    if jars.is_empty() {
        bail!("Maven left no jars in {}", libs.display());
    }
    jars.sort();
    Ok(jars.join(":"))
}
