//! `circuit-tracer bench`: what it tells, and what it refuses. No speed is asked for: tests share their machine.

use crate::cli::run;
use serde_json::Value;

#[test]
fn phases_are_told_with_what_they_need() {
    let output =
        run(&["bench", "--tokens", "3", "--rows", "5", "--repeats", "1", "--threads", "1", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let phases = found["phases"].as_array().unwrap();
    let names: Vec<_> = phases.iter().map(|phase| phase["phase"].as_str().unwrap()).collect();
    assert_eq!(names, ["forward", "encode", "rows", "ranking", "assemble", "prune"]);
    for phase in &phases[..3] {
        for what in ["seconds", "operations", "bytes"] {
            assert!(phase[what].as_f64().unwrap() > 0.0, "{phase}");
        }
    }
    // All weights of the layers are read once: 12 of 512 x (1536 + 3 x 1536) numbers, the unembedding, three tokens.
    let numbers = 12 * 512 * (2 * 512 + 2 * 256 + 3 * 1536) + 512 * (8192 + 3);
    assert_eq!(phases[0]["bytes"].as_f64(), Some(f64::from(numbers * 4)));
    let n_targets = found["rows"].as_u64().unwrap() - 5;
    assert!((1..=3).contains(&n_targets), "{found}");
}

#[test]
fn a_shape_that_does_not_fit_is_refused_before_it_is_made() {
    let output = run(&["bench", "--shape", "qwen3-14b", "--dtype", "float64", "--device", "cpu"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{stderr}");
    assert!(stderr.contains("qwen3-14b take 655.0 GB as float64"), "{stderr}");
    assert!(stderr.contains("hint: "), "{stderr}");
    let output = run(&["bench", "--tokens", "1"]);
    assert_eq!(output.status.code(), Some(2));
    let output = run(&["bench", "--shape", "no-such-shape"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("qwen3-4b"), "the shapes are listed");
}
