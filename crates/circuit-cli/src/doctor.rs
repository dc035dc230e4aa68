//! `doctor`: what LibTorch, devices and memory there are.

use crate::args::DoctorArgs;
use crate::failure::Failure;
use circuit_torch::runtime;

pub(crate) fn run(args: DoctorArgs) -> Result<String, Failure> {
    let cuda = runtime::cuda_status();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |key: &str| -> Option<u64> {
        let line = memory.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    let (total, free) = (kib("MemTotal"), kib("MemAvailable"));
    let devices = (0..cuda.devices()).map(|i| runtime::device_memory(tch::Device::Cuda(i)));
    let devices: Vec<_> = devices.filter_map(|memory| memory.ok().flatten()).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if args.json {
        let value = serde_json::json!({
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
            "memory_total_bytes": total.map(|k| k * 1024),
            "memory_available_bytes": free.map(|k| k * 1024),
        });
        return Ok(format!("{value}\n"));
    }
    let gib =
        |k: Option<u64>| k.map_or_else(|| "unknown".into(), |k| format!("{:.1} GiB", k as f64 / 1048576.0));
    let mut text = format!(
        "circuit-tracer  {}\nLibTorch        {}\nthreads         {} of {cores} cores\nCUDA            {cuda}\n",
        env!("CARGO_PKG_VERSION"),
        runtime::libtorch_version(),
        runtime::threads(),
    );
    for (i, memory) in devices.iter().enumerate() {
        let [free, total] = [memory.free, memory.total].map(|bytes| gib(Some(bytes / 1024)));
        text += &format!("  cuda:{i:<9} {free} free of {total}\n");
    }
    text += &format!("memory          {} free of {}\n", gib(free), gib(total));
    Ok(text)
}
