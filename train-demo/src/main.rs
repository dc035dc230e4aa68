//! The program behind `cargo xtask train-demo`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for developers: it talks")]

use circuit_train_demo::make::Demo;
use std::path::Path;
use std::time::Instant;

fn main() -> anyhow::Result<()> {
    circuit_torch::runtime::set_threads(2)?;
    let args: Vec<String> = std::env::args().collect();
    let start = Instant::now();
    let demo = Demo::begin(Path::new(&args[1]), args[2].parse()?)?;
    println!("{} sentences", demo.sentences.len());
    demo.train_model(|line| eprintln!("{:.0} s  {line}", start.elapsed().as_secs_f64()))?;
    for (name, trained, held) in demo.answers()? {
        println!("{name:<12} {trained:.3} {held:?}");
    }
    Ok(())
}
