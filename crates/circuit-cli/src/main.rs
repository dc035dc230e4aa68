//! `circuit-tracer`: attribution graphs from the command line.
//!
//! The only place that prints, reads arguments and chooses defaults. Results go to files and standard output, progress and
//! logs to standard error. Every failure is one line `error: …`, sometimes a `hint: …`, and an exit code (`failure.rs`).

mod args;
mod attribute;
mod bench;
mod budget;
mod chat;
mod closer_args;
mod convert;
mod describe;
mod doctor;
mod download;
mod edit_args;
mod edit_file;
mod explain;
mod failure;
mod feature_pages;
mod files;
mod generate;
mod groups;
mod hub;
mod inspect;
mod intervene;
mod machine;
mod neuronpedia;
mod nodes;
mod open;
mod plan;
mod query_key;
mod rerun;
mod say;
mod scores;
mod serve;
mod stop;
mod summary;
mod targets_file;
mod train;
mod train_args;
mod verify;
mod view;

use args::{Args, Command};
use clap::Parser;
use failure::{Code, Failure};
use say::say;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn main() -> ExitCode {
    let args = Args::parse();
    // A file size limit must arrive as an error of the write, not as the end of the process.
    let reached = Arc::new(AtomicBool::new(false));
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, reached);
    // Libraries below turn their panics into errors with a message of their own; Rust's report would only repeat it.
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(|| run(args));
    let result = result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(Failure::new(Code::Other, format!("internal error: {}", text.unwrap_or_default())))
    });
    match result.and_then(|output| print(&output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(format_args!("error: {}", failure.message));
            if let Some(hint) = failure.hint {
                say(format_args!("hint: {hint}"));
            }
            ExitCode::from(failure.code as u8)
        }
    }
}

/// The result on standard output. A reader that has gone away (`| head`) is no failure; a result that is lost is one.
fn print(output: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(output.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::Output, format!("standard output: cannot write: {e}")))
        }
        _ => Ok(()),
    }
}

fn run(args: Args) -> Result<String, Failure> {
    match args.command {
        Command::Attribute(args) => attribute::run(*args),
        Command::GraphFiles(args) => files::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Scores(args) => scores::run(args),
        Command::ExplainEdge(args) => explain::explain_edge(args),
        Command::Paths(args) => explain::paths(args),
        Command::QueryKey(args) => query_key::run(args),
        Command::Intervene(args) => intervene::run(*args),
        Command::Generate(args) => generate::run(*args),
        Command::Verify(args) => {
            let (text, verdict) = verify::run(args)?;
            print(&text)?;
            verdict.map(|()| String::new())
        }
        Command::Convert(args) => convert::run(&args),
        Command::Train(train_args::TrainWhat::Transcoders(args)) => train::transcoders(*args),
        Command::Evaluate(train_args::EvaluateWhat::Transcoders(args)) => train::evaluate_transcoders(args),
        Command::FeaturePages(args) => train::feature_pages(args),
        Command::Describe(args) => describe::run(args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Download(args) => download::run(&args),
        Command::Cache(command) => download::cache(&command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Bench(args) => bench::run(&args),
    }
}
