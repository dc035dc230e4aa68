//! `cargo xtask test`: everything that must hold before a change is accepted, one section each, then a summary.
//!
//! A failing step does not stop the others: one run shows all that is wrong. Without LibTorch only the steps that need
//! none are run.

use crate::{bootstrap, shell, tidy, web};
use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The half of the workspace that needs no LibTorch, and this tool.
const WITHOUT_LIBTORCH: [&str; 12] = [
    "-p",
    "circuit-index",
    "-p",
    "circuit-graph",
    "-p",
    "circuit-format",
    "-p",
    "circuit-server",
    "-p",
    "circuit-hub",
    "-p",
    "xtask",
];

/// Sets up and runs all steps; fails if any did.
pub(crate) fn run() -> Result<ExitCode> {
    let mut report = Report::default();
    let libtorch = report.step("bootstrap", || bootstrap::run(bootstrap::Options::default()));
    report.step("format", || cargo(&["fmt", "--all", "--", "--check"]));
    report.step("tidy", ensure_tidy);
    // First, so that the binary which the browser tests run has the page in it.
    let page = match web::node() {
        Ok(()) => report.step("page: build", web::build),
        Err(why) => {
            report.skip(&format!("the page and its tests ({why:#})"));
            false
        }
    };
    if libtorch {
        report.step("lints", || {
            cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])
        });
        report.tests("tests", &["--workspace"]);
    } else {
        report.tests("tests without LibTorch", &WITHOUT_LIBTORCH);
        report.skip("lints, and tests with LibTorch");
    }
    if page {
        report.step("page: types", || web::script("check", &[]));
        report.step("page: lint", || web::script("lint", &[]));
        report.step("page: tests", || web::script("test", &[]));
        match (libtorch, web::chromium()) {
            (true, Some(chromium)) => {
                report.step("page: tests in a browser", || browser_tests(&chromium));
            }
            (true, None) => report.skip("page: tests in a browser (there is no Chromium)"),
            (false, _) => report.skip("page: tests in a browser (there is no LibTorch)"),
        }
    }
    println!("\n{}", report.summary());
    Ok(if report.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The page in the real binary.
fn browser_tests(chromium: &Path) -> Result<()> {
    cargo(&["build", "--quiet", "--package", "circuit-cli"])?;
    let binary = shell::target().join("debug/circuit-tracer");
    web::script("e2e", &[("CHROMIUM", chromium), ("CIRCUIT_TRACER_BIN", &binary)])
}

fn cargo(args: &[&str]) -> Result<()> {
    shell::run(shell::cargo().args(args))
}

fn ensure_tidy() -> Result<()> {
    ensure!(tidy::run()? == ExitCode::SUCCESS, "see the faults above");
    Ok(())
}

enum Outcome {
    Passed(Duration),
    Failed(Duration),
    Skipped,
}

#[derive(Default)]
struct Report {
    steps: Vec<(String, Outcome)>,
}

impl Report {
    /// Runs one step under its heading; whether it passed.
    fn step(&mut self, name: &str, body: impl FnOnce() -> Result<()>) -> bool {
        println!("\n== {name}");
        let start = Instant::now();
        let result = body();
        let took = start.elapsed();
        if let Err(error) = &result {
            eprintln!("{name}: {error:#}");
        }
        let outcome = if result.is_ok() { Outcome::Passed(took) } else { Outcome::Failed(took) };
        self.steps.push((name.into(), outcome));
        result.is_ok()
    }

    /// Runs tests. A test that prints a line `skipped …` is listed as skipped in the summary.
    fn tests(&mut self, name: &str, packages: &[&str]) {
        let mut command = shell::cargo();
        command.args(["test", "--no-fail-fast"]).args(packages);
        // Tests run at the same time: with several threads in each, they would wait for one another's.
        command.env("OMP_NUM_THREADS", "1");
        if std::io::stderr().is_terminal() && std::env::var_os("CARGO_TERM_COLOR").is_none() {
            command.env("CARGO_TERM_COLOR", "always");
        }
        let mut skipped = Vec::new();
        self.step(name, || {
            let (result, heard) = shell::run_listening(&mut command, "skipped ");
            skipped = heard;
            result
        });
        // Several cases may skip for one reason.
        let mut reported = BTreeSet::new();
        for line in skipped {
            if reported.insert(line.clone()) {
                self.skip(line.trim_start_matches("skipped "));
            }
        }
    }

    fn skip(&mut self, name: &str) {
        self.steps.push((name.into(), Outcome::Skipped));
    }

    fn failed(&self) -> bool {
        self.steps.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)))
    }

    fn summary(&self) -> String {
        let mut text = String::from("== summary");
        for (name, outcome) in &self.steps {
            text += &match outcome {
                Outcome::Passed(took) => format!("\n{:8.1} s  passed   {name}", took.as_secs_f64()),
                Outcome::Failed(took) => format!("\n{:8.1} s  FAILED   {name}", took.as_secs_f64()),
                Outcome::Skipped => format!("\n           skipped  {name}"),
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn one_failing_step_fails_the_whole_and_the_next_still_runs() {
        let mut report = Report::default();
        assert!(!report.step("first", || bail!("on purpose")));
        assert!(report.step("second", || Ok(())));
        report.skip("third");
        assert!(report.failed());
        let summary = report.summary();
        for part in ["FAILED   first", "passed   second", "skipped  third"] {
            assert!(summary.contains(part), "{summary}");
        }
    }
}
