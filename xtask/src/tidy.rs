//! `cargo xtask tidy`: the rules of this repository that no compiler checks.
//!
//! Arrows between crates, what a file begins with, what stays in which crate, and that no package is compiled twice. Every
//! fault is listed with its place.
//! Not here: style and lints, which rustfmt and clippy know.

use crate::shell;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, ExitCode};

/// Which crate may use which others; ARCHITECTURE.md says why.
const ARROWS: &[(&str, &[&str])] = &[
    ("circuit-index", &[]),
    ("circuit-torch", &[]),
    ("circuit-hub", &[]),
    ("circuit-graph", &["circuit-index"]),
    ("circuit-format", &["circuit-index", "circuit-graph"]),
    ("circuit-server", &["circuit-index", "circuit-graph", "circuit-format"]),
    ("circuit-model", &["circuit-index", "circuit-torch"]),
    ("circuit-transcoder", &["circuit-index", "circuit-torch"]),
    ("circuit-replacement", &["circuit-index", "circuit-torch", "circuit-model", "circuit-transcoder"]),
    (
        "circuit-attribution",
        &[
            "circuit-index",
            "circuit-torch",
            "circuit-model",
            "circuit-transcoder",
            "circuit-replacement",
            "circuit-graph",
        ],
    ),
    (
        "circuit-intervention",
        &["circuit-index", "circuit-torch", "circuit-model", "circuit-transcoder", "circuit-replacement"],
    ),
    (
        "circuit-train",
        &["circuit-index", "circuit-torch", "circuit-model", "circuit-transcoder", "circuit-format"],
    ),
    (
        "circuit-bench",
        &[
            "circuit-index",
            "circuit-torch",
            "circuit-model",
            "circuit-transcoder",
            "circuit-replacement",
            "circuit-attribution",
            "circuit-graph",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that may use every other: the binary, and what only tests or measures.
const TOPS: &[&str] = &["circuit-cli", "circuit-train-demo", "circuit-tests", "circuit-benches"];

/// The half that builds and tests without LibTorch.
const WITHOUT_LIBTORCH: &[&str] =
    &["circuit-index", "circuit-graph", "circuit-format", "circuit-server", "circuit-hub", "xtask"];

/// Families are named in one folder alone; `llama3` is also the published name of a way to stretch rotary positions, and
/// GemmaScope that of transcoder sets.
const FAMILIES: &[&str] = &["llama", "mistral", "gemma", "qwen", "gpt2", "gpt-2", "gpt_oss", "gpt-oss"];
/// Beside it, the names of published models whose sizes are measured.
const FAMILY_FOLDER: &str = "crates/circuit-model/src/family/";
const PUBLISHED_SHAPES: &str = "crates/circuit-bench/src/shapes.rs";
const NAMED_AFTER_A_FAMILY: &[&str] = &["llama3", "llama 3.1's", "gemmascope", "gemma_scope"];

/// A file longer than this probably holds a second idea.
const LONG: usize = 700;

/// Checks all rules and lists what breaks them.
pub(crate) fn run() -> Result<ExitCode> {
    let metadata = shell::cargo().args(["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata: Value =
        serde_json::from_slice(&metadata.stdout).context("cargo metadata printed no JSON")?;
    let mut faults = arrows(&metadata);
    let binary = features(&["--package", "circuit-cli", "--edges", "normal,build"])?;
    let tests = features(&["--workspace", "--edges", "normal,build,dev"])?;
    faults.extend(compiled_twice(&binary, &tests));
    let root = metadata["workspace_root"].as_str().context("cargo metadata names no workspace root")?;
    let listed = Command::new("git").args(["ls-files"]).current_dir(root).output()?;
    for path in String::from_utf8_lossy(&listed.stdout).lines() {
        // Fixtures and other data are not ours to style; a deleted file may still be listed.
        let Ok(text) = std::fs::read_to_string(Path::new(root).join(path)) else { continue };
        faults.extend(file(path, &text));
    }
    for fault in &faults {
        eprintln!("tidy: {fault}");
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Dependencies that the table does not allow, and crates it does not know.
fn arrows(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut faults = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        if TOPS.contains(&name) {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| *crate_name == name) else {
            faults.push(format!("{name} is not in the table of arrows"));
            continue;
        };
        for dependency in package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let to = dependency["name"].as_str().unwrap_or_default();
            let for_tests = dependency["kind"] == "dev";
            let ours = packages.iter().any(|p| p["name"] == to);
            let torch = matches!(to, "tch" | "torch-sys" | "circuit-torch");
            if ours && !for_tests && !allowed.contains(&to) {
                faults.push(format!("{name} may not use {to}"));
            }
            if torch && WITHOUT_LIBTORCH.contains(&name) {
                faults.push(format!("{name} belongs to the half without LibTorch, but uses {to}"));
            }
        }
    }
    faults
}

/// The features of every package that cargo would compile: `package|features`, one line each.
fn features(selection: &[&str]) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let tree = shell::cargo()
        .args(["tree", "--prefix", "none", "--no-dedupe", "--format", "{p}|{f}"])
        .args(selection)
        .output()?;
    ensure!(tree.status.success(), "cargo tree: {}", String::from_utf8_lossy(&tree.stderr));
    let mut found = BTreeMap::<_, BTreeSet<_>>::new();
    for line in String::from_utf8_lossy(&tree.stdout).lines() {
        if let Some((package, features)) = line.split_once('|') {
            found.entry(package.to_owned()).or_default().insert(features.trim_end_matches(" (*)").to_owned());
        }
    }
    Ok(found)
}

/// Packages of the binary that tests want with other features: cargo compiles them, and all that use them, once more.
fn compiled_twice(
    binary: &BTreeMap<String, BTreeSet<String>>,
    tests: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let differ = |package: &String, features: &BTreeSet<String>| tests.get(package) != Some(features);
    binary
        .iter()
        .filter(|(package, features)| differ(package, features))
        .map(|(package, features)| {
            let wanted = tests.get(package);
            format!("{package} has features {features:?} in the binary and {wanted:?} in tests: name them in crates/circuit-cli/Cargo.toml")
        })
        .collect()
}

/// What is wrong with one tracked file.
fn file(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let rust = path.ends_with(".rs");
    let data = path.contains("/fixtures/") && !rust || path.contains("/data/");
    if !data && path != "xtask/src/tidy.rs" {
        // Tests may name what they like: they stand below the code.
        for (nth, line) in text.split("#[cfg(test)]").next().unwrap_or_default().lines().enumerate() {
            if ["/work/", "/root/", "/home/", "/farm/"].iter().any(|machine| line.contains(machine)) {
                faults.push(format!("{path}:{}: a path of one machine", nth + 1));
            }
        }
    }
    if !rust {
        return faults;
    }
    if !text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > 20) {
        faults.push(format!("{path}: does not begin with what it is (`//! …`)"));
    }
    if text.lines().count() > LONG {
        println!("note: {path} has over {LONG} lines: which second idea moved in?");
    }
    let library =
        path.starts_with("crates/") && path.contains("/src/") && !path.starts_with("crates/circuit-cli/");
    // Tests may name what they like: they stand below the code.
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    for (nth, line) in code.lines().enumerate() {
        let mut fault = |what: &str| faults.push(format!("{path}:{}: {what}", nth + 1));
        let statement = line.trim_start();
        let comment = statement.starts_with("//");
        let own_code = !comment && !path.starts_with("crates/circuit-torch/") && !path.starts_with("xtask/");
        let raw = ["unsafe {", "unsafe fn", "unsafe extern"].iter().any(|form| statement.contains(form));
        if own_code && raw {
            fault("unsafe outside circuit-torch");
        }
        if library
            && !comment
            && ["println!(", "eprintln!(", "std::env::"].iter().any(|word| line.contains(word))
        {
            fault("a library prints or reads the environment");
        }
        let lower =
            NAMED_AFTER_A_FAMILY.iter().fold(line.to_lowercase(), |line, name| line.replace(name, ""));
        if library
            && !comment
            && !path.starts_with(FAMILY_FOLDER)
            && path != PUBLISHED_SHAPES
            && FAMILIES.iter().any(|f| lower.contains(f))
        {
            fault("a family's name outside the families' folder");
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let list: Vec<_> =
            dependencies.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
        json!({"name": name, "dependencies": list})
    }

    #[test]
    fn arrows_that_the_table_lacks_are_found() {
        let good = json!({"packages": [
            package("circuit-index", &[("thiserror", None)]),
            package("circuit-graph", &[("circuit-index", None), ("proptest", Some("dev"))]),
        ]});
        assert_eq!(arrows(&good), [""; 0]);
        let bad = json!({"packages": [
            package("circuit-index", &[("circuit-graph", None)]),
            package("circuit-graph", &[("tch", Some("dev"))]),
            package("circuit-new", &[]),
        ]});
        let found = arrows(&bad);
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn a_package_with_two_sets_of_features_is_found() {
        let of =
            |features: &str| BTreeMap::from([("num v1".to_owned(), BTreeSet::from([features.to_owned()]))]);
        assert_eq!(compiled_twice(&of("std"), &of("std")), [""; 0]);
        assert_eq!(compiled_twice(&of(""), &of("std")).len(), 1);
        assert_eq!(compiled_twice(&of(""), &BTreeMap::new()).len(), 1);
    }

    #[test]
    fn faults_of_files_are_found() {
        let fine = "//! A file that says what it is.\nfn main() {}\n";
        assert_eq!(file("crates/circuit-graph/src/a.rs", fine), [""; 0]);
        assert_eq!(file("crates/circuit-graph/src/a.rs", "fn main() {}\n").len(), 1);
        let family = format!("{fine}const A: &str = \"Qwen\";\n");
        assert_eq!(file("crates/circuit-graph/src/a.rs", &family).len(), 1);
        assert_eq!(file("crates/circuit-model/src/family/a.rs", &family).len(), 0);
        let unsafe_code = format!("{fine}fn f() {{ unsafe {{ }} }}\n");
        assert_eq!(file("crates/circuit-graph/src/a.rs", &unsafe_code).len(), 1);
        assert_eq!(file("crates/circuit-torch/src/a.rs", &unsafe_code).len(), 0);
        assert_eq!(file("README.md", "see /home/me/x\n").len(), 1);
    }
}
