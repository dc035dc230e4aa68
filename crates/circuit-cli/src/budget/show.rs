//! A plan as a table and as JSON, and what was measured beside it.

use super::{Budget, LIBRARY, Level};
use crate::machine::Held;
use crate::plan::RawFile;
use circuit_attribution::budget::Phase;
use circuit_replacement::Cuts;
use serde_json::{Value, json};
use std::fmt::Write;
use tch::{Device, Kind};

/// Bytes for a reader.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.0} KiB", n as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.0} MiB", n as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", n as f64 / 1_073_741_824.0),
    }
}

fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(n) => format!("cuda:{n}"),
        _ => "cpu".into(),
    }
}

fn dtype(kind: Kind) -> &'static str {
    match kind {
        Kind::BFloat16 => "bfloat16",
        Kind::Half => "float16",
        Kind::Double => "float64",
        _ => "float32",
    }
}

impl Budget {
    /// The plan as a table.
    pub(crate) fn text(&self, raw: Option<&RawFile>) -> String {
        let mut text = String::new();
        let job = self.job(Level::Expected, self.chosen);
        let gpu = self.request.device != Device::Cpu;
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:20} {value}");
        };
        let range = |of: &dyn Fn(Level) -> u64, show: &dyn Fn(u64) -> String| {
            let [low, expected, high] = [Level::Low, Level::Expected, Level::High].map(of);
            if low == high {
                return show(expected);
            }
            format!("{} ({} to {})", show(expected), show(low), show(high))
        };
        let plain = |n: u64| n.to_string();
        line("prompt", format!("{} tokens, {} without features", self.request.n_pos, self.ignored()));
        let active = range(&|level| self.job(level, self.chosen).n_active(), &plain);
        line("active features", format!("{active}, {}", self.active.known_from));
        let (rows, columns) = job.graph_shape();
        line("rows of the graph", format!("{rows} x {columns}, {} targets at the most", job.n_targets));

        line("\nread", String::new());
        let (reading, all) =
            (job.reading(), |files: &[(std::path::PathBuf, u64)]| files.iter().map(|f| f.1).sum::<u64>());
        let files =
            |files: &[(std::path::PathBuf, u64)]| format!("{} file(s) of {}", files.len(), bytes(all(files)));
        line("  model", format!("{:>10}  of {}", bytes(reading.weights), files(&self.weights.files)));
        line("  encoders", format!("{:>10}  of {}", bytes(reading.encoders), files(&self.set.files)));
        line("  decoder rows", format!("{:>10}  those of active features", bytes(reading.decoder_rows)));

        line("\ndownload", String::new());
        let _ = write!(text, "{}", self.coming.text("nothing: model and transcoders are here"));
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:20} {value}");
        };

        let device = if gpu { device_name(self.request.device) } else { String::new() };
        let header = format!("{:>10} {:>10} {device:>10}", "allocated", "mapped");
        line("\nmemory", format!("\n{:20} {}", "", header.trim_end()));
        let row = |host: u64, mapped: u64, device: u64| {
            let device = if gpu { bytes(device) } else { String::new() };
            format!("{:>10} {:>10} {device:>10}", bytes(host), bytes(mapped)).trim_end().to_owned()
        };
        let before = self.before;
        line(
            "  this program",
            row(before.allocated + LIBRARY.0, before.resident - before.allocated + LIBRARY.1, 0),
        );
        for Phase { step, device, host, mapped } in job.phases() {
            line(&format!("  {}", step.name()), row(host, mapped, device));
        }
        line("  peak allocated", range(&|level| self.peak(level).1, &bytes));
        line(
            "  peak resident",
            format!("{}, mapped pages included", range(&|level| self.peak(level).0, &bytes)),
        );
        if gpu {
            let most = |level| {
                self.job(level, self.chosen).phases().iter().map(|phase| phase.device).max().unwrap_or(0)
            };
            line(&format!("  peak on {}", device_name(self.request.device)), range(&most, &bytes));
        }
        let longest = job.longest_rows();
        line(
            "  rows at the most",
            format!("{} while features are ranked, if all chosen ones are late", bytes(longest)),
        );
        let known = |room: Option<u64>| room.map_or_else(|| "unknown".into(), bytes);
        let limit = if self.request.memory.is_some() { "below --memory" } else { "free" };
        line("  can be allocated", format!("{} {limit}", known(self.room.host)));
        if gpu {
            line(&format!("  free on {}", device_name(self.request.device)), known(self.room.device));
        }

        line("\nchosen", String::new());
        let weights = match (gpu, self.weights.allocated > 0) {
            (true, _) => format!("on {}, as {}", device_name(self.request.device), dtype(self.request.kind)),
            (false, true) => format!("in memory, converted to {}", dtype(self.request.kind)),
            (false, false) => "in the mapped files".into(),
        };
        line("  model", weights);
        let (encode, wide) = (self.chosen.cuts.encode, self.request.kind.elt_size_in_bytes().max(4));
        let at_most = |numbers: usize| bytes((numbers * wide) as u64);
        let (weights, pre) = (at_most(encode.weights), at_most(encode.pre_activations));
        line(
            "  encoders",
            format!("streamed layer by layer, at most {weights} at a time, pre-activations {pre}"),
        );
        line("  decoder rows", format!("on demand, at most {} at a time", at_most(encode.weights / 8)));
        line("  rows", format!("{} go down together", self.chosen.cuts.rows));
        let Cuts { keep_patterns, keep_folded, keep_writes, .. } = self.chosen.cuts;
        let made = if keep_patterns { "kept" } else { "made anew of queries and keys" };
        let folded = if keep_folded { "once and kept" } else { "anew for each group of rows" };
        line("  patterns", format!("{made}, folded {folded}"));
        let made = if keep_writes { "kept" } else { "made anew for each group of rows, layer by layer" };
        line("  what is written", made.into());
        let (in_memory, on_disk) = (bytes(job.usual_rows() - job.rows_on_disk()), job.rows_on_disk());
        let disk = self.request.scratch.as_ref().map(|scratch| {
            let free = scratch.free.map_or_else(String::new, |free| format!(" ({} free)", bytes(free)));
            format!("{}{free}", scratch.folder.display())
        });
        line(
            "  rows ranked",
            match (on_disk, disk) {
                (0, None) => "in memory".into(),
                (0, Some(disk)) => {
                    format!("in memory; if there is no room for all, further ones on disk in {disk}")
                }
                (_, disk) => {
                    format!(
                        "{in_memory} in memory, {} on disk in {}",
                        bytes(on_disk),
                        disk.unwrap_or_default()
                    )
                }
            },
        );

        line("\nwritten", String::new());
        if let Some(raw) = raw {
            let name = raw.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
            let size = range(&|level| self.raw_bytes(raw, level), &bytes);
            line(&format!("  {name}"), size);
        }
        line("  JSON", "what pruning keeps: some hundred bytes for a node or link".into());
        let _ = writeln!(text, "\n{}", self.verdict());
        text
    }

    fn verdict(&self) -> String {
        match self.check() {
            Ok(None) => "It fits.".into(),
            Ok(Some(perhaps)) => format!("It may fit: {perhaps}."),
            Err(failure) => {
                let hint = failure.hint.map(|hint| format!("\n{hint}")).unwrap_or_default();
                format!("{}{hint}", failure.message)
            }
        }
    }

    /// The plan as JSON.
    pub(crate) fn json(&self, raw: Option<&RawFile>) -> Value {
        let job = self.job(Level::Expected, self.chosen);
        let levels = |of: &dyn Fn(Level) -> u64| {
            let [low, expected, high] = [Level::Low, Level::Expected, Level::High].map(of);
            json!({"low": low, "expected": expected, "high": high})
        };
        let phases = job.phases().into_iter().map(|phase| {
            json!({
                "phase": phase.step.name(),
                "allocated_bytes": phase.host,
                "mapped_bytes": phase.mapped,
                "device_bytes": phase.device,
            })
        });
        let reading = job.reading();
        let on_device =
            |level| self.job(level, self.chosen).phases().iter().map(|phase| phase.device).max().unwrap_or(0);
        let (rows, columns) = job.graph_shape();
        let check = self.check();
        json!({
            "n_tokens": self.request.n_pos,
            "active_features": levels(&|level| self.job(level, self.chosen).n_active()),
            "active_features_are": self.active.known_from,
            "graph_rows": rows,
            "graph_columns": columns,
            "read": {
                "model_bytes": reading.weights,
                "encoder_bytes": reading.encoders,
                "decoder_row_bytes": reading.decoder_rows,
            },
            "download_bytes": self.coming.missing(),
            "download": self.coming.json(),
            "this_program": {
                "allocated_bytes": self.before.allocated + LIBRARY.0,
                "mapped_bytes": self.before.resident - self.before.allocated + LIBRARY.1,
            },
            "phases": phases.collect::<Vec<_>>(),
            "peak_allocated_bytes": levels(&|level| self.peak(level).1),
            "peak_resident_bytes": levels(&|level| self.peak(level).0),
            "peak_device_bytes": levels(&on_device),
            "longest_rows_bytes": job.longest_rows(),
            "room_bytes": self.room.host,
            "device_room_bytes": self.room.device,
            "chosen": {
                "rows_together": self.chosen.cuts.rows,
                "groups_beside_one_another": self.chosen.cuts.workers,
                "patterns_kept": self.chosen.cuts.keep_patterns,
                "patterns_kept_folded": self.chosen.cuts.keep_folded,
                "writes_kept": self.chosen.cuts.keep_writes,
                "rows_in_memory_bytes": job.usual_rows() - job.rows_on_disk(),
                "rows_on_disk_bytes": job.rows_on_disk(),
                "pre_activations_together": self.chosen.cuts.encode.pre_activations,
                "weights_at_a_time": self.chosen.cuts.encode.weights,
            },
            "scratch": self.request.scratch.as_ref().map(|scratch| json!({
                "folder": scratch.folder, "free_bytes": scratch.free,
            })),
            "raw_bytes": raw.map(|raw| levels(&|level| self.raw_bytes(raw, level))),
            "fits": check.is_ok(),
            "warning": check.as_ref().ok().and_then(Clone::clone),
            "refusal": check.err().map(|failure| json!({"message": failure.message, "hint": failure.hint})),
        })
    }
}

/// What was measured, as JSON: the peak as the system counts it, and for each lap the most that was seen.
pub(crate) fn measured(
    peak_resident: Option<u64>,
    laps: &[(&'static str, Held)],
    device: Option<u64>,
) -> Value {
    let seen = laps.iter().map(|(name, held)| {
        json!({"lap": name, "resident_bytes": held.resident, "allocated_bytes": held.allocated})
    });
    json!({
        "peak_resident_bytes": peak_resident,
        "peak_allocated_bytes": laps.iter().map(|(_, held)| held.allocated).max(),
        "peak_device_bytes": device,
        "laps": seen.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_fitting_units() {
        assert_eq!([17, 2048, 3 << 20, 5 << 30].map(bytes), ["17 B", "2 KiB", "3 MiB", "5.0 GiB"]);
    }
}
