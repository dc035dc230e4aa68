//! `cargo xtask bench`: the criterion groups as one table, beside the last committed one.
//!
//! Criterion measures and keeps its estimates; this reads them. The comparison with the Python library is `peer`. Not here: what is
//! measured (`benches/`), and what each phase needs (docs/benchmarks.md).

use crate::{bootstrap, shell};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The table that is committed.
const COMMITTED: &str = "benches/committed.json";

/// Seconds of each bench by its name, `group/function`.
type Seconds = BTreeMap<String, f64>;

/// Runs the benches and prints the table; `--save` makes it the committed one.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let (save, rest) = match args {
        ["--save", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if save && !rest.is_empty() {
        bail!("--save keeps the whole table: no further arguments go with it");
    }
    bootstrap::run(bootstrap::Options::default())?;
    // The everyday profile: what is measured is what demo, tests and users run, and LibTorch's glue is built once.
    let mut bench = shell::cargo();
    bench.args(["bench", "--profile", "dev", "--package", "circuit-benches", "--"]).args(rest);
    shell::run(&mut bench)?;
    let measured = estimates(&shell::target().join("criterion"))?;
    let path = shell::root().join(COMMITTED);
    let committed = read(&path)?;
    let machine = machine();
    println!("\n{}", table(&measured, committed.as_ref(), &machine));
    if save {
        let value = json!({ "machine": machine, "seconds": measured });
        std::fs::write(&path, format!("{value:#}\n")).with_context(|| format!("cannot write {COMMITTED}"))?;
        println!("written to {COMMITTED}");
    }
    Ok(())
}

/// A table as it is committed: the machine it was measured on, and its figures.
struct Committed {
    machine: String,
    seconds: Seconds,
}

fn read(path: &Path) -> Result<Option<Committed>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {COMMITTED}"))?;
    let value: Value = serde_json::from_str(&text).with_context(|| format!("{COMMITTED} is no JSON"))?;
    let seconds = value["seconds"].as_object().with_context(|| format!("{COMMITTED} has no `seconds`"))?;
    let seconds = seconds.iter().filter_map(|(name, s)| Some((name.clone(), s.as_f64()?))).collect();
    Ok(Some(Committed { machine: value["machine"].as_str().unwrap_or_default().into(), seconds }))
}

/// The medians that criterion kept of its last run: each folder with a file `new/estimates.json` is a bench.
fn estimates(criterion: &Path) -> Result<Seconds> {
    let mut found = Seconds::new();
    for file in files(criterion)? {
        let Some(folder) = file.parent().filter(|f| f.ends_with("new")) else { continue };
        let parse = |name: &str| -> Result<Value> {
            let path = folder.join(name);
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
        };
        let name = parse("benchmark.json")?["full_id"].as_str().map(str::to_owned);
        let median = parse("estimates.json")?["median"]["point_estimate"].as_f64();
        let (Some(name), Some(nanoseconds)) = (name, median) else {
            bail!("{}: criterion's files are not as expected", folder.display())
        };
        found.insert(name, nanoseconds / 1e9);
    }
    Ok(found)
}

/// All files `estimates.json` below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else if entry.file_name() == "estimates.json" {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Processor and number of cores.
pub(crate) fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1))
        .unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}, {cores} cores")
}

fn table(measured: &Seconds, committed: Option<&Committed>, machine: &str) -> String {
    let width = measured.keys().map(String::len).max().unwrap_or(0);
    let mut text = format!("{:width$}   {:>10}   {:>10}   now / then\n", "", "now", "committed");
    for (name, now) in measured {
        let _ = write!(text, "{name:width$}   {:>10}", duration(*now));
        if let Some(then) = committed.and_then(|c| c.seconds.get(name)) {
            let _ = write!(text, "   {:>10}   {:>9.2}", duration(*then), now / then);
        }
        text.push('\n');
    }
    let _ = writeln!(text, "now: {machine}");
    match committed {
        Some(committed) => {
            let _ = writeln!(text, "committed: {}", committed.machine);
            if committed.machine != machine {
                text += "another machine: the ratio compares machines, not changes\n";
            }
        }
        None => text += "nothing is committed yet: `cargo xtask bench --save` does\n",
    }
    text
}

/// Three digits and a unit.
fn duration(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s < 1e-3 => (s * 1e6, "us"),
        s if s < 1.0 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criterion_s_estimates_become_a_table_beside_the_committed_one() {
        let dir = tempfile::tempdir().unwrap();
        for (name, nanoseconds) in [("rows/1024 features", 5.5e8), ("prune/1024 features", 2.5e7)] {
            let folder = dir.path().join(name.replace(' ', "_")).join("new");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("benchmark.json"), json!({ "full_id": name }).to_string()).unwrap();
            let estimate = json!({ "median": { "point_estimate": nanoseconds } });
            std::fs::write(folder.join("estimates.json"), estimate.to_string()).unwrap();
        }
        // What criterion kept of the run before is not this run's.
        std::fs::create_dir_all(dir.path().join("rows/base")).unwrap();
        std::fs::write(dir.path().join("rows/base/estimates.json"), "{").unwrap();

        let measured = estimates(dir.path()).unwrap();
        let seconds = Seconds::from([("rows/1024 features".to_owned(), 1.1)]);
        let text = table(&measured, Some(&Committed { machine: "another".into(), seconds }), "this");
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["prune/1024", "features", "25.0", "ms"], "{text}");
        assert_eq!(lines[2], ["rows/1024", "features", "550", "ms", "1.10", "s", "0.50"], "{text}");
        assert!(text.contains("another machine"), "{text}");
        assert!(table(&measured, None, "this").contains("--save"));
    }
}
