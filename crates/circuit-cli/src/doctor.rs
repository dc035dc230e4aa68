//! `doctor`: what LibTorch, devices and memory there are, and whether a prompt would fit.

use crate::args::DoctorArgs;
use crate::budget::{Budget, Request};
use crate::failure::Failure;
use crate::hub::{Ahead, Finder};
use crate::{machine, open};
use circuit_attribution::AttributeConfig;
use circuit_torch::runtime;

pub(crate) fn run(args: &DoctorArgs) -> Result<String, Failure> {
    let cuda = runtime::cuda_status();
    let (total, free) = machine::memory();
    let budget = budget(args)?;
    let devices = (0..cuda.devices()).map(|i| runtime::device_memory(tch::Device::Cuda(i)));
    let devices: Vec<_> = devices.filter_map(|memory| memory.ok().flatten()).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if args.json {
        let mut value = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "libtorch": runtime::libtorch_version(),
            "threads": runtime::threads(),
            "cores": cores,
            "cuda_devices": cuda.devices(),
            "cuda": cuda.to_string(),
            "cuda_memory": devices
                .iter()
                .map(|m| serde_json::json!({"free_bytes": m.free, "total_bytes": m.total}))
                .collect::<Vec<_>>(),
            "memory_total_bytes": total,
            "memory_available_bytes": free,
        });
        if let Some(budget) = budget {
            value["plan"] = budget.json(None);
        }
        return Ok(format!("{value}\n"));
    }
    let gib = |n: Option<u64>| {
        n.map_or_else(|| "unknown".into(), |n| format!("{:.1} GiB", n as f64 / 1073741824.0))
    };
    let mut text = format!(
        "circuit-tracer  {}\nLibTorch        {}\nthreads         {} of {cores} cores\nCUDA            {cuda}\n",
        env!("CARGO_PKG_VERSION"),
        runtime::libtorch_version(),
        runtime::threads(),
    );
    for (i, memory) in devices.iter().enumerate() {
        let [free, total] = [memory.free, memory.total].map(|bytes| gib(Some(bytes)));
        text += &format!("  cuda:{i:<9} {free} free of {total}\n");
    }
    text += &format!("memory          {} free of {}\n", gib(free), gib(total));
    if let Some(budget) = budget {
        text += &format!("\n{}", budget.text(None));
    }
    Ok(text)
}

/// The plan for the model and prompt that were named, if any were.
fn budget(args: &DoctorArgs) -> Result<Option<Budget>, Failure> {
    let (Some(model), Some(set)) = (&args.model, &args.transcoder_set) else { return Ok(None) };
    let finder = Finder::new(args.offline).strict(args.strict_config);
    let mut ahead = Ahead::new(finder, Some(model), set, false)?;
    let tokens = match args.tokens {
        Some(_) => Vec::new(),
        None => {
            let tokenizer = open::tokenizer(&ahead.model.folder, args.first_token.as_ref())?;
            open::prompt(&args.prompt, &tokenizer)?.tokens
        }
    };
    let request = Request {
        kind: open::kind(args.dtype),
        device: open::device(args.device.as_deref())?,
        n_pos: args.tokens.unwrap_or(tokens.len()),
        ignored: args.ignored_positions.or(ahead.model.ignored_positions()),
        n_targets: args.max_n_logits,
        config: AttributeConfig { max_feature_nodes: args.max_feature_nodes.0, ..AttributeConfig::default() },
        memory: args.budget.memory,
        expected_active: args.budget.expected_active,
        spare: args.budget.spare.clone(),
        scratch: machine::scratch(args.budget.scratch_dir.as_deref())?,
        products: args.budget.products.products(),
    };
    let budget = Budget::new(&mut ahead, request)?;
    budget.note(&tokens);
    Ok(Some(budget))
}
