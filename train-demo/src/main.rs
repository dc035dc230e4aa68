//! The program behind `cargo xtask train-demo`: makes a demo for each seed, and prints what each can do.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for developers: it talks")]

use anyhow::{Context, Result, bail};
use circuit_train_demo::make::{Demo, SETS};
use circuit_train_demo::table::{self, Line};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "\
train-demo [--seeds N] [--first-seed N] [--threads N] [--measure] -o DIR
    Makes a demo in DIR/seed-0 (and -1, …): corpus, model, transcoders, pages; prints the table of what it can do, which also
    goes into table.txt there. With --measure, what is there is measured again, and nothing is trained.";

#[derive(Debug, PartialEq, Eq)]
struct Options {
    output: PathBuf,
    seeds: u64,
    first_seed: u64,
    threads: usize,
    measure: bool,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match Options::parse(&args).and_then(|options| options.map_or(Ok(()), |options| run(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn parse(args: &[String]) -> Result<Option<Self>> {
        let (mut output, mut seeds, mut first_seed, mut threads, mut measure) = (None, 1, 0, 2, false);
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "-o" | "--output" => output = Some(PathBuf::from(value()?)),
                "--seeds" => seeds = number(arg, value()?)?,
                "--first-seed" => first_seed = number(arg, value()?)?,
                "--threads" => threads = number(arg, value()?)? as usize,
                "--measure" => measure = true,
                "-h" | "--help" => {
                    println!("{HELP}");
                    return Ok(None);
                }
                _ => bail!("`{arg}` is not understood\n{HELP}"),
            }
        }
        let output = output.context("no folder: give one with -o")?;
        if seeds == 0 || threads == 0 {
            bail!("--seeds and --threads: 0; expected 1 or more");
        }
        Ok(Some(Self { output, seeds, first_seed, threads, measure }))
    }
}

fn number(name: &str, value: &str) -> Result<u64> {
    value.parse().with_context(|| format!("{name} {value}: expected a number"))
}

fn run(options: &Options) -> Result<()> {
    circuit_torch::runtime::set_threads(options.threads)?;
    let mut tables = Vec::new();
    for seed in options.first_seed..options.first_seed + options.seeds {
        let start = Instant::now();
        let folder = options.output.join(format!("seed-{seed}"));
        let lines = make(&folder, seed, options.measure, &|line| {
            eprintln!("seed {seed}, {:>4.0} s: {line}", start.elapsed().as_secs_f64());
        })?;
        let text = table::as_text(&lines);
        std::fs::write(options.output.join(format!("seed-{seed}.txt")), &text)?;
        println!("\nseed {seed}, {:.0} s:\n{text}", start.elapsed().as_secs_f64());
        tables.push(lines);
    }
    let short = tables.iter().flatten().filter(|line| !line.pass).count();
    println!("{short} of {} lines are short", tables.iter().map(Vec::len).sum::<usize>());
    Ok(())
}

fn make(folder: &Path, seed: u64, measure: bool, tell: &dyn Fn(&str)) -> Result<Vec<Line>> {
    let demo = Demo::begin(folder, seed)?;
    if !measure {
        demo.train_model(tell)?;
        for (name, cross_layer) in SETS {
            demo.train_set(name, cross_layer, tell)?;
            tell(&format!("{name}: feature pages"));
            demo.write_pages(name)?;
        }
    }
    table::measure(&demo, tell)
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn options_are_read_and_nonsense_is_refused() {
        let parse = |text: &str| Options::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let found = parse("--seeds 3 -o out").unwrap().unwrap();
        assert_eq!((found.seeds, found.first_seed, found.measure), (3, 0, false));
        for (bad, said) in [("--seeds 3", "-o"), ("-o", "value"), ("-o x --seeds 0", "0"), ("-o x y", "`y`")]
        {
            let error = format!("{:#}", parse(bad).unwrap_err());
            assert!(error.contains(said), "{bad}: {error}");
        }
    }
}
