//! `bench`: how long each phase takes on random weights of a published shape, made on the device.
//!
//! What is measured, and against what, is `circuit-bench`'s. Not here: comparisons with other programs or earlier days.

use crate::args::{Dtype, ProductsArg};
use crate::budget::usual_cuts;
use crate::failure::{Code, Failure};
use crate::{machine, open};
use circuit_bench::{Made, Needed, Phases, SHAPES, Settings, Shape, measure};
use circuit_replacement::Cuts;
use circuit_torch::runtime;
use std::fmt::Write as _;
use tch::Device;

/// `bench`.
#[derive(clap::Args, Debug)]
pub(crate) struct BenchArgs {
    /// The shape of model and transcoders.
    #[arg(long, default_value = "bench", value_parser = clap::builder::PossibleValuesParser::new(SHAPES.iter().map(|s| s.name)))]
    shape: String,
    /// Tokens of the prompt; the shape's own otherwise.
    #[arg(long)]
    tokens: Option<usize>,
    /// Rows of features; rows of targets come on top.
    #[arg(long, aliases = ["max-feature-nodes", "max_feature_nodes"], default_value_t = 8192)]
    rows: usize,
    /// Rows of a batch, as in `attribute`.
    #[arg(long, alias = "batch_size", default_value_t = 256)]
    batch_size: usize,
    /// Rows that go down the layers together, which changes no result; as `attribute` does it otherwise.
    #[arg(long)]
    together: Option<usize>,
    /// Groups of such rows that go down beside one another on a CPU, each on one thread; as many as there are threads otherwise.
    #[arg(long)]
    workers: Option<usize>,
    /// Runs of which the best of each phase is told.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Type of the weights; gradients are float32.
    #[arg(long, value_enum, default_value_t = Dtype::Float32)]
    dtype: Dtype,
    /// As in `attribute`.
    #[arg(long, value_enum, default_value_t = ProductsArg::Wide)]
    products: ProductsArg,
    /// cpu, cuda or cuda:N; the first GPU if there is one.
    #[arg(long)]
    device: Option<String>,
    /// Threads on the CPU.
    #[arg(long)]
    threads: Option<usize>,
    /// Seed of the weights.
    #[arg(long, default_value_t = 0)]
    seed: i64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &BenchArgs) -> Result<String, Failure> {
    let Some(mut shape) = Shape::named(&args.shape) else {
        return Err(Failure::usage(format!("there is no shape `{}`", args.shape)));
    };
    shape.n_pos = args.tokens.unwrap_or(shape.n_pos);
    if shape.n_pos < 2 || shape.n_pos > shape.spec().n_ctx {
        return Err(Failure::usage(format!(
            "--tokens {}: 2 to {} are possible",
            shape.n_pos,
            shape.spec().n_ctx
        )));
    }
    open::set_threads(args.threads)?;
    let device = open::device(args.device.as_deref())?;
    open::check_products(args.products, device)?;
    let kind = open::kind(args.dtype);
    let needed = shape.weight_bytes(kind);
    let free = match runtime::device_memory(device)? {
        Some(memory) => Some(memory.free),
        None => machine::available(),
    };
    if let Some(free) = free.filter(|&free| free < needed) {
        let message = format!(
            "weights of the shape {} take {:.1} GB as {}, {:.1} GB are free",
            shape.name,
            needed as f64 / 1e9,
            args.dtype.name(),
            free as f64 / 1e9
        );
        return Err(
            Failure::new(Code::Device, message).hint("choose a smaller --shape, --dtype or another --device")
        );
    }
    let made =
        Made::new(shape, kind, device, args.seed).map_err(|e| Failure::new(Code::Device, e.to_string()))?;
    let usual = usual_cuts(device, args.products.products());
    let settings = Settings {
        rows: args.rows,
        repeats: args.repeats,
        batch_size: args.batch_size,
        update_interval: 4,
        cuts: Cuts {
            rows: args.together.unwrap_or(usual.rows),
            workers: args.workers.unwrap_or(usual.workers),
            ..usual
        },
    };
    let phases = measure(&made, settings)?;
    let peak = runtime::process_memory().map(|memory| memory.peak);
    let peak_device = runtime::device_memory(device)?.map(|memory| memory.peak);
    let table = Table { phases: &phases, peak, peak_device };
    Ok(match args.json {
        true => format!("{}\n", table.json(args, &made.shape, device)),
        false => table.text(args, &made.shape, device),
    })
}

/// What was measured, to be told.
struct Table<'a> {
    phases: &'a Phases,
    /// The most resident memory of this process, in bytes.
    peak: Option<u64>,
    /// The most in tensors on the GPU.
    peak_device: Option<u64>,
}

impl Table<'_> {
    /// The phases in their order: seconds, and what each needs.
    fn lines(&self) -> [(&'static str, f64, Option<Needed>); 6] {
        let p = self.phases;
        [
            ("forward", p.forward, Some(p.needed_forward)),
            ("encode", p.encode, Some(p.needed_encode)),
            ("rows", p.rows, Some(p.needed_rows)),
            ("ranking", p.ranking, None),
            ("assemble", p.assemble, None),
            ("prune", p.prune, None),
        ]
    }

    fn total(&self) -> f64 {
        self.lines().iter().map(|line| line.1).sum()
    }

    fn text(&self, args: &BenchArgs, shape: &Shape, device: Device) -> String {
        let p = self.phases;
        let mut text = format!(
            "{}: {} layers of width {}, {} features each, random weights in {}; {} tokens, {} active features, {} rows; on {}\n\n",
            shape.name,
            shape.n_layers,
            shape.d_model,
            shape.n_features,
            args.dtype.name(),
            shape.n_pos,
            p.n_active,
            p.n_rows,
            name(device),
        );
        text += "phase      seconds   operations    bytes     GFLOP/s   of a large product\n";
        for (phase, seconds, needed) in self.lines() {
            let _ = write!(text, "{phase:<9} {seconds:>8.4}");
            if let Some(Needed { operations, bytes }) = needed {
                let speed = operations / seconds;
                let _ = write!(
                    text,
                    "   {operations:>9.2e}   {bytes:>8.1e}   {:>8.1}   {:>5.1} %",
                    speed / 1e9,
                    100.0 * speed / p.product
                );
            }
            text += "\n";
        }
        let _ = writeln!(text, "all       {:>8.4}", self.total());
        let _ = writeln!(text, "\na large product: {:.1} GFLOP/s", p.product / 1e9);
        if let Some(rounding) = p.rounding {
            let _ = writeln!(
                text,
                "rows differ from those of wide products by {rounding:.1e} of their length, at the most"
            );
        }
        for (what, bytes) in
            [("memory of the process", self.peak), ("memory of the device", self.peak_device)]
        {
            if let Some(bytes) = bytes {
                let _ = writeln!(text, "{what}, at the most: {:.0} MiB", bytes as f64 / 1_048_576.0);
            }
        }
        text
    }

    fn json(&self, args: &BenchArgs, shape: &Shape, device: Device) -> serde_json::Value {
        let p = self.phases;
        let phases = self.lines().map(|(phase, seconds, needed)| {
            serde_json::json!({
                "phase": phase,
                "seconds": seconds,
                "operations": needed.map(|n| n.operations),
                "bytes": needed.map(|n| n.bytes),
            })
        });
        serde_json::json!({
            "shape": shape.name,
            "dtype": args.dtype.name(),
            "products": args.products.name(),
            "device": name(device),
            "threads": runtime::threads(),
            "tokens": shape.n_pos,
            "active_features": p.n_active,
            "rows": p.n_rows,
            "phases": phases,
            "seconds": self.total(),
            "product_operations_per_second": p.product,
            "rows_of_product": p.rows_of_floor(),
            "rows_differ_from_wide": p.rounding,
            "peak_resident_bytes": self.peak,
            "peak_device_bytes": self.peak_device,
        })
    }
}

fn name(device: Device) -> String {
    match device {
        Device::Cuda(n) => format!("cuda:{n}"),
        _ => format!("cpu, {} threads", runtime::threads()),
    }
}
