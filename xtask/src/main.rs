//! `cargo xtask`: set-up, demo, tests and checks of this workspace, with nothing to install but Rust itself.
//!
//! Depends on no other crate of the workspace, so that it builds before LibTorch is there. Start at [`bootstrap`] for
//! the set-up, [`check`] for what `cargo xtask test` runs, [`tidy`] for the rules of this repository.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool for developers: it talks")]

mod bench;
mod bench_page;
mod bootstrap;
mod check;
mod demo;
mod peer;
mod shell;
mod tidy;
mod train_demo;
mod web;

use anyhow::{Result, bail};
use std::process::ExitCode;

const HELP: &str = "\
Set-up, demo, tests and checks of this workspace.

cargo xtask bootstrap [--cuda] [--check]
    Makes LibTorch (PyTorch 2.11) available to cargo, after which plain `cargo build`, `test` and `run` work. Takes the
    one that LIBTORCH names, else the one of the active Python, else installs the smallest set of wheels into
    .libtorch/. Finds and repairs damage; does nothing where all is right.
    --cuda     with everything that a GPU needs (2.7 GB to download instead of 0.5)
    --check    also compares the contents of all installed files with their checksums

cargo xtask demo [--no-server] [-- ARGUMENTS]
    Bootstrap, build, trace the demo prompt through the demo model, and open the page on its graph; --no-server ends without
    serving. ARGUMENTS go to `circuit-tracer attribute`.

cargo xtask train-demo [--seeds N] [-o DIR] [--install] [ARGUMENTS]
    Makes the demo anew from its tables of facts: corpus, model, per-layer and cross-layer transcoders, feature pages; and prints
    what it can do beside what it must. Results go to train-demo-out/seed-0 unless told otherwise.
    --seeds N    repeats all for seeds 0 to N-1
    --install    puts the result of the first seed into demo/

cargo xtask test
    Bootstrap, then format, lints, tidy, all tests, and the page's own checks and tests, with a summary, which also names what was
    skipped: the page where Node is missing, its tests in a browser where Chromium is, tests that need a GPU or some Python package.

cargo xtask web
    The page: npm ci where the lock file has changed, and the build that the binary takes in. Needs Node.

cargo xtask tidy
    The rules of this repository: arrows between crates, first lines, what stays in which crate.

cargo xtask bench [--save | ARGUMENTS]
    Bootstrap, then the benches, as one table beside the last committed one; --save makes it that. ARGUMENTS go to criterion.

cargo xtask bench --page [--save] [GRAPH.json | GRAPH.json.gz]...
    How long the page is busy with a hover, a selection and a step of the slider, in Chromium and on the real server: the demo, two
    synthetic graphs and the graphs named, as one table beside the last committed one, judged by medians. --save makes it that.

cargo xtask bench --peer [--rows N,N] [--threads N]
    This program and the Python library in turn on one random model: times, memory, ratios, and whether the graphs agree.
    Installs the library into target/peer (some gigabytes); takes a quarter of an hour.

cargo xtask help
    This text.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<ExitCode> {
    match args {
        [] | ["help" | "-h" | "--help"] => println!("{HELP}"),
        ["bootstrap", options @ ..] => bootstrap::run(bootstrap::Options::parse(options)?)?,
        ["demo", rest @ ..] => demo::run(rest)?,
        ["train-demo", rest @ ..] => train_demo::run(rest)?,
        ["test"] => return check::run(),
        ["tidy"] => return tidy::run(),
        ["web"] => {
            web::node()?;
            web::build()?;
        }
        ["bench", "--page", rest @ ..] => bench_page::run(rest)?,
        ["bench", "--peer", rest @ ..] => peer::run(rest)?,
        ["bench", rest @ ..] => bench::run(rest)?,
        [other, ..] => bail!("`{}` is not understood; see `cargo xtask help`", join(other, &args[1..])),
    }
    Ok(ExitCode::SUCCESS)
}

fn join(first: &str, rest: &[&str]) -> String {
    std::iter::once(first).chain(rest.iter().copied()).collect::<Vec<_>>().join(" ")
}
