//! What the person sees: one line per finished step, and a live line for the step under way.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The screen.
#[derive(Debug)]
pub(crate) struct Display {
    bars: MultiProgress,
    began: Instant,
}

/// A step under way.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    display: &'a Display,
    bar: ProgressBar,
    title: String,
    began: Instant,
}

impl Display {
    /// A screen; without a terminal only finished steps are printed.
    pub(crate) fn new() -> Self {
        Self {
            bars: MultiProgress::new(),
            began: Instant::now(),
        }
    }

    /// Begins a step.
    pub(crate) fn step(&self, title: &str) -> Step<'_> {
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.set_message(title.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Step {
            display: self,
            bar,
            title: title.to_owned(),
            began: Instant::now(),
        }
    }

    /// Prints a line above the live one.
    #[expect(
        clippy::print_stdout,
        reason = "what a program for people says goes to stdout"
    )]
    pub(crate) fn say(&self, line: &str) {
        let line = format!("[{:6.1} s] {line}", self.began.elapsed().as_secs_f64());
        // Hidden bars swallow lines, so without a terminal they are printed past them.
        if self.bars.is_hidden() || self.bars.println(&line).is_err() {
            println!("{line}");
        }
    }

    /// Prints the final table.
    #[expect(
        clippy::print_stdout,
        reason = "what a program for people says goes to stdout"
    )]
    pub(crate) fn table(&self, table: &str) {
        let _ = self.bars.clear();
        println!("\n{table}");
    }
}

impl Step<'_> {
    /// Shows how far the step is.
    pub(crate) fn progress(&self, what: &str) {
        self.bar.set_message(format!("{}: {what}", self.title));
    }

    /// Ends the step.
    pub(crate) fn done(self, what: &str) {
        self.bar.finish_and_clear();
        self.display.say(&format!(
            "{}: {what} ({:.1} s)",
            self.title,
            self.began.elapsed().as_secs_f64()
        ));
    }
}
