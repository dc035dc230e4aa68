//! `cargo xtask bench --peer`: this program and the Python library side by side on one random model.
//!
//! A throw-away virtual environment holds the library (`benches/peer/requirements.txt`); `benches/peer/make_model.py` makes the model.
//! Both programs run in turn, three times, as whole processes; graphs are compared, medians and their ratios printed. Not here: what
//! to think of the figures (docs/benchmarks.md).

use crate::{bench, bootstrap, shell};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Batches that the library is tried with; the fastest is compared.
const BATCHES: [usize; 3] = [64, 128, 256];
const REPEATS: usize = 3;
/// Rows of the trial of batches, and of the comparison without `--rows`.
const ROWS: [usize; 2] = [1024, 4096];
/// The largest difference between rows that counts as equal, of the row's largest number or 1.
const EQUAL: f64 = 1e-4;

struct Options {
    rows: Vec<usize>,
    threads: usize,
}

impl Options {
    fn parse(args: &[&str]) -> Result<Self> {
        let mut options = Self { rows: ROWS.into(), threads: 2 };
        let mut rest = args;
        while let [name, value, others @ ..] = rest {
            let number =
                |text: &str| text.parse().with_context(|| format!("{name} {text}: a number is expected"));
            match *name {
                "--rows" => options.rows = value.split(',').map(number).collect::<Result<_>>()?,
                "--threads" => options.threads = number(value)?,
                _ => bail!("`{name}` is not understood; --peer knows --rows N,N and --threads N"),
            }
            rest = others;
        }
        ensure!(rest.is_empty(), "`{}` is not understood, or lacks its value", rest.join(" "));
        Ok(options)
    }
}

/// What a run took.
#[derive(Clone, Copy)]
struct Took {
    /// The whole process, with loading.
    process: f64,
    /// From prompt to graph, with everything loaded.
    attribute: f64,
    /// The rows, and choosing them.
    rows: f64,
    /// The most resident memory, in bytes.
    peak: f64,
}

/// Sets up both and compares them.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let options = Options::parse(args)?;
    bootstrap::run(bootstrap::Options::default())?;
    println!("\n== build");
    shell::run(shell::cargo().args(["build", "--package", "circuit-cli"]))?;
    let home = shell::target().join("peer");
    println!("\n== the Python library");
    let python = environment(&home)?;
    let peer = Peer { python, folder: home.join("model"), threads: options.threads };
    if !peer.folder.join("prompt.txt").exists() {
        println!("making the model");
        shell::run(peer.script("make_model.py").arg(&peer.folder))?;
    }

    println!("\n== the library's best batch, at {} rows", ROWS[0]);
    let mut best = (BATCHES[0], f64::INFINITY);
    for batch in BATCHES {
        let took = peer.theirs(ROWS[0], batch, None)?;
        println!("batch {batch}: {:.1} s", took.attribute);
        if took.attribute < best.1 {
            best = (batch, took.attribute);
        }
    }
    let batch = best.0;
    for rows in options.rows {
        println!("\n== {rows} rows, in turn {REPEATS} times, batch {batch}, {} threads", options.threads);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..REPEATS {
            ours.push(peer.ours(rows, batch, &home.join("ours.safetensors"))?);
            theirs.push(peer.theirs(rows, batch, Some(&home.join("theirs.safetensors")))?);
        }
        println!("{}", table(&ours, &theirs));
        peer.agree(&home)?;
    }
    println!("\n{}", bench::machine());
    Ok(())
}

/// The virtual environment with the library, made where it is not there.
fn environment(home: &Path) -> Result<PathBuf> {
    let folder = home.join("venv");
    let python = folder.join("bin/python3");
    let wanted = scripts().join("requirements.txt");
    let stamp = folder.join("installed.txt");
    let text = std::fs::read_to_string(&wanted)?;
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == text) {
        return Ok(python);
    }
    println!("installing it into {} (some gigabytes)", folder.display());
    std::fs::create_dir_all(home)?;
    shell::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(&wanted);
    shell::run(&mut pip)?;
    std::fs::write(stamp, text)?;
    Ok(python)
}

fn scripts() -> PathBuf {
    shell::root().join("benches/peer")
}

/// Both programs on one model.
struct Peer {
    python: PathBuf,
    folder: PathBuf,
    threads: usize,
}

impl Peer {
    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(scripts().join(name));
        command
    }

    fn theirs(&self, rows: usize, batch: usize, out: Option<&Path>) -> Result<Took> {
        let mut command = self.script("trace.py");
        command.arg(&self.folder).args(["--rows", &rows.to_string(), "--batch", &batch.to_string()]);
        command.args(["--threads", &self.threads.to_string()]);
        if let Some(out) = out {
            command.arg("--out").arg(out);
        }
        let (process, told) = timed(&mut command)?;
        let number = |key: &str| told[key].as_f64().with_context(|| format!("trace.py tells no `{key}`"));
        Ok(Took {
            process,
            attribute: number("attribute")?,
            rows: number("rows")?,
            peak: number("peak_bytes")?,
        })
    }

    fn ours(&self, rows: usize, batch: usize, out: &Path) -> Result<Took> {
        let mut command = Command::new(shell::target().join("debug/circuit-tracer"));
        command.args(["attribute", "--json", "--max-n-logits", "3", "-m"]).arg(self.folder.join("model"));
        command.arg("-t").arg(self.folder.join("transcoders"));
        command.arg("--prompt-file").arg(self.folder.join("prompt.txt"));
        command.args(["--max-feature-nodes", &rows.to_string(), "--batch-size", &batch.to_string()]);
        command.args(["--threads", &self.threads.to_string(), "-o"]).arg(out);
        let (process, told) = timed(&mut command)?;
        let seconds = |lap: &str| {
            told["seconds"][lap]
                .as_f64()
                .with_context(|| format!("circuit-tracer tells no seconds of `{lap}`"))
        };
        let rows = seconds("rows")?;
        let peak = told["memory"]["measured"]["peak_resident_bytes"].as_f64().context("no peak of memory")?;
        let attribute = seconds("forward and encode")? + seconds("targets")? + rows;
        Ok(Took { process, attribute, rows, peak })
    }

    /// That both found the same graph.
    fn agree(&self, home: &Path) -> Result<()> {
        let mut command = self.script("compare.py");
        command.arg(home.join("ours.safetensors")).arg(home.join("theirs.safetensors"));
        let found: Value = serde_json::from_str(&shell::output(&mut command)?)?;
        let number = |key: &str| found[key].as_f64().with_context(|| format!("compare.py tells no `{key}`"));
        println!(
            "graphs: {} active features and {} of {} chosen ones differ; rows by {:.1e} at the most",
            number("active_differing")?,
            number("chosen_differing")?,
            number("chosen")?,
            number("rows_largest_difference")?
        );
        ensure!(number("active_differing")? == 0.0, "different features are active");
        // At the end of the ranking stand features of nearly equal influence, which rounding may swap.
        ensure!(number("chosen_differing")? <= 0.02 * number("chosen")?, "other features were chosen");
        ensure!(number("rows_largest_difference")? <= EQUAL, "rows differ by more than {EQUAL:e}");
        Ok(())
    }
}

/// Seconds of the whole process, and the JSON object that it prints.
fn timed(command: &mut Command) -> Result<(f64, Value)> {
    let start = Instant::now();
    let text = shell::output(command)?;
    let took = start.elapsed().as_secs_f64();
    let line = text.lines().last().unwrap_or_default();
    Ok((
        took,
        serde_json::from_str(line).with_context(|| format!("{} prints no JSON", shell::words(command)))?,
    ))
}

fn table(ours: &[Took], theirs: &[Took]) -> String {
    let line = |what: &str, unit: f64, of: fn(&Took) -> f64| {
        let [a, b] = [ours, theirs].map(|runs| median(runs.iter().map(of)));
        format!("{what:<26} {:>9.2}   {:>9.2}   {:>6.1}\n", a / unit, b / unit, b / a)
    };
    [
        format!("{:<26} {:>9}   {:>9}   {:>6}\n", "median", "ours", "theirs", "ratio"),
        line("rows, s", 1.0, |took| took.rows),
        line("attribution, s", 1.0, |took| took.attribute),
        line("process with loading, s", 1.0, |took| took.process),
        line("peak memory, MiB", 1_048_576.0, |took| took.peak),
    ]
    .concat()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_others_refused() {
        let options = Options::parse(&["--rows", "64,128", "--threads", "1"]).unwrap();
        assert_eq!((options.rows, options.threads), (vec![64, 128], 1));
        assert_eq!(Options::parse(&[]).unwrap().rows, ROWS);
        for wrong in [&["--rows"][..], &["--rows", "many"], &["--fast", "1"]] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn ratios_are_those_of_medians() {
        let took = |s: f64| Took { process: 4.0 * s, attribute: 2.0 * s, rows: s, peak: s * 1_048_576.0 };
        let text = table(&[1.0, 9.0, 2.0].map(took), &[40.0, 60.0, 50.0].map(took));
        assert!(text.contains("rows, s                         2.00       50.00     25.0\n"), "{text}");
    }
}
