//! `cargo xtask demo`: from a fresh clone to the graph of the demo prompt in the browser, with an annotated subgraph.
//!
//! What the graph is, circuit-tracer says; what is pinned, grouped and labelled, `demo/view.json`.

use crate::{bootstrap, shell, web};
use anyhow::{Context, Result, bail};
use std::net::TcpListener;
use std::process::{Command, Stdio};

const PROMPT: &str = "fact : the capital of the state containing Dallas is";
const SLUG: &str = "dallas-austin";
const FOLDER: &str = "demo-out";
const USUAL_PORT: u16 = 8041;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Options<'a> {
    serve: bool,
    /// For `circuit-tracer attribute`.
    further: &'a [&'a str],
}

/// Sets up, builds, traces, says where the files are, and serves the page on them.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let options = Options::parse(args)?;
    bootstrap::run(bootstrap::Options::default())?;
    println!("\n== page");
    match web::node() {
        Ok(()) => web::build()?,
        Err(why) => println!("The page is left out: {why:#}"),
    }
    println!("\n== build");
    shell::run(shell::cargo().args(["build", "--package", "circuit-cli"]))?;
    println!("\n== trace");
    std::fs::create_dir_all(shell::root().join(FOLDER))
        .with_context(|| format!("cannot make the folder {FOLDER}"))?;
    let raw = format!("{FOLDER}/{SLUG}.safetensors");
    let mut attribute = circuit_tracer();
    attribute.args(["attribute", "-m", "demo/model", "-t", "demo/transcoders", "-p", PROMPT]);
    attribute.args(["--slug", SLUG, "--graph-file-dir", FOLDER, "-o", &raw, "--view", "demo/view.json"]);
    shell::run(attribute.args(options.further))?;
    println!("\nThe graph of \"{PROMPT}\":");
    println!("  {FOLDER}/{SLUG}.json         pruned, annotated, for a viewer of attribution graphs");
    println!("  {raw}  raw, all nodes");
    let mut serve = circuit_tracer();
    serve.args(["serve", "--graph-file-dir", FOLDER, "--features-dir", "demo/transcoders/features"]);
    if !options.serve {
        println!("To look at it: {}", shell::words(&serve));
        return Ok(());
    }
    println!("\n== look (Ctrl-C ends)");
    let port = free_port()?;
    let address = format!("http://127.0.0.1:{port}/?slug={SLUG}");
    println!("{address}");
    open_later(&address);
    shell::run(serve.args(["--port", &port.to_string()]))
}

/// The usual port of the server, or any other that is free: a demo must not fail for a port.
fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind(("127.0.0.1", USUAL_PORT)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)));
    let address = listener.and_then(|listener| listener.local_addr()).context("no port is free")?;
    Ok(address.port())
}

fn circuit_tracer() -> Command {
    let mut command = Command::new(shell::target().join("debug/circuit-tracer"));
    command.current_dir(shell::root());
    command
}

/// Shows the page in the user's browser once the server had a moment to start; where there is no desktop, nothing happens.
fn open_later(address: &str) {
    let address = address.to_owned();
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let mut open = Command::new("xdg-open");
        let _ = open.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    });
}

impl<'a> Options<'a> {
    fn parse(args: &'a [&'a str]) -> Result<Self> {
        match args {
            ["--no-server", rest @ ..] => Ok(Self { serve: false, ..Self::parse(rest)? }),
            ["--", further @ ..] => Ok(Self { serve: true, further }),
            [] => Ok(Self { serve: true, further: &[] }),
            [other, ..] => {
                bail!("`{other}` is not understood; arguments of `circuit-tracer attribute` go behind `--`")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn arguments_go_behind_two_dashes() {
        let options = Options::parse(&["--no-server", "--", "--no-server", "x"]).unwrap();
        assert_eq!(options, Options { serve: false, further: &["--no-server", "x"] });
        assert!(Options::parse(&[]).unwrap().serve);
        assert!(Options::parse(&["--verbose"]).unwrap_err().to_string().contains("`--verbose`"));
    }
}
