//! The rows of the bench shape against the speed of a large product. `cargo run -p circuit-bench --example floor -- 1024`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use circuit_bench::{Made, Settings, Shape, measure};
use circuit_replacement::Cuts;
use tch::{Device, Kind};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number = |nth, absent| std::env::args().nth(nth).map_or(Ok(absent), |text| text.parse::<usize>());
    let (rows, threads) = (number(1, 1024)?, number(2, 0)?);
    if threads > 0 {
        circuit_torch::runtime::set_threads(threads)?;
    }
    let shape = Shape::named("bench").ok_or("no such shape")?;
    let made = Made::new(shape, Kind::Float, Device::Cpu, 0)?;
    let found = measure(
        &made,
        Settings { rows, repeats: 5, batch_size: 256, update_interval: 4, cuts: Cuts::default() },
    )?;
    println!("{found:.3?}");
    println!("product {:.1} GFLOP/s, rows {:.0} % of it", found.product / 1e9, 100.0 * found.rows_of_floor());
    Ok(())
}
