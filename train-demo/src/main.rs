//! The program behind `cargo xtask train-demo`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for developers: it talks")]

use circuit_train_demo::make::{Demo, SETS};
use circuit_train_demo::table;
use std::path::Path;
use std::time::Instant;

fn main() -> anyhow::Result<()> {
    circuit_torch::runtime::set_threads(std::env::var("T").map_or(2, |t| t.parse().unwrap()))?;
    let args: Vec<String> = std::env::args().collect();
    let start = Instant::now();
    let tell = |line: &str| eprintln!("{:>5.0} s  {line}", start.elapsed().as_secs_f64());
    let demo = Demo::begin(Path::new(&args[1]), args[2].parse()?)?;
    let stages = &args[3];
    if stages.contains('m') {
        demo.train_model(tell)?;
    }
    for (name, cross) in SETS {
        if stages.contains(if cross { 'c' } else { 's' }) {
            demo.train_set(name, cross, tell)?;
            let _ = std::fs::remove_dir_all(demo.folder.join(name).join("features"));
            demo.write_pages(name)?;
        }
    }
    if stages.contains('t') {
        println!("{}", table::as_text(&table::measure(&demo, tell)?));
    }
    Ok(())
}
