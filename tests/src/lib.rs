//! What the tests share: fixtures, their expected values, and the comparison of numbers. No LibTorch.
//!
//! A fixture is a folder of `tests/fixtures` (how they were made: `make.py` there). [`Expected`] reads what should come
//! out of it; [`assert_close`] is the tolerance that the method states (1e-4 of the largest number of a row or tensor,
//! at least 1e-4). Everything here panics on trouble, naming the file: it is for tests only.

pub mod sparse;

use circuit_index::{FeatureId, NodeLayout};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

/// The cases with random small models: folders of `tests/fixtures` with `model/`, `transcoders/`, `expected.json`,
/// `expected.safetensors`, `tokenization.json`, `graph.json` and `graph-metadata.json`; `llama-plt-relu` also has
/// `graph.pt`.
pub const CASES: [&str; 11] = [
    "llama-plt-relu",
    "qwen3-plt-relu",
    "gemma2-plt-jumprelu",
    "llama-plt-skip",
    "qwen3-plt-topk",
    "gpt2-plt-relu",
    "llama-clt-relu",
    "gemma2-clt-jumprelu",
    "gemma3-plt-jumprelu",
    "gemma3-it-plt-jumprelu",
    "gpt_oss-clt-jumprelu",
];

/// The case with a trained model: the first demo, kept when the one in [`demo`] took its place, since what the Python reference
/// computes on it is known. It has no `tokenization.json` and no graph files.
pub const TRAINED: &str = "trained";

/// The folder of a fixture.
#[must_use]
pub fn fixture(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(case)
}

/// The folder with the `model/` and `transcoders/` of the demo.
#[must_use]
pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").join("demo")
}

/// Says that a test was skipped, and why. Straight to the terminal, where `cargo xtask test` listens: what a test prints by macro is
/// shown only if it fails.
pub fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped {test}: {why}");
}

/// A JSON file of a fixture.
///
/// # Panics
/// If it is not there or no JSON.
#[must_use]
pub fn json(case: &str, file: &str) -> Value {
    let path = fixture(case).join(file);
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What should come out of a fixture: `expected.json` and `expected.safetensors`.
///
/// Names and shapes of the tensors are those of the reference data, but that matrices hold rows only and masks are node
/// numbers: `rows` and `limited.rows` (features then targets × sources), `prune<i>.kept_nodes` (n),
/// `prune<i>.kept_edges` (n, 2) as (target, source).
#[derive(Debug)]
pub struct Expected {
    case: String,
    /// All of `expected.json`.
    pub json: Value,
    tensors: Vec<u8>,
}

impl Expected {
    /// The expected values of a case, or of [`TRAINED`].
    ///
    /// # Panics
    /// If they are not there.
    #[must_use]
    pub fn of(case: &str) -> Self {
        let path = fixture(case).join("expected.safetensors");
        let tensors = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { case: case.into(), json: json(case, "expected.json"), tensors }
    }

    /// What should come out of interventions on a case: `interventions.json` and `interventions.safetensors`.
    ///
    /// # Panics
    /// If they are not there.
    #[must_use]
    pub fn interventions(case: &str) -> Self {
        let path = fixture(case).join("interventions.safetensors");
        let tensors = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { case: case.into(), json: json(case, "interventions.json"), tensors }
    }

    /// Shape and numbers of a tensor that may be kept as places and values of what is not zero.
    ///
    /// # Panics
    /// If there is none of this name.
    #[must_use]
    pub fn dense(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        if self.has(name) {
            return self.f32(name);
        }
        let entry = name.rsplit_once('.').map_or(name, |(entry, _)| entry);
        let shape = self.indices(&format!("{entry}.shape"));
        let mut numbers = vec![0.0; shape.iter().product()];
        let (_, places) = self.read(&format!("{entry}.places"), Dtype::I32, i32::from_le_bytes);
        for (place, value) in places.into_iter().zip(self.f32(&format!("{entry}.values")).1) {
            numbers[usize::try_from(place).expect("places are not negative")] = value;
        }
        (shape, numbers)
    }

    /// The names of all tensors, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let file = self.tensors();
        let mut names: Vec<_> = file.names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.tensors().tensor(name).is_ok()
    }

    /// Shape and numbers of a tensor, row-major.
    ///
    /// # Panics
    /// If there is none of this name, or it holds no float32.
    #[must_use]
    pub fn f32(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        self.read(name, Dtype::F32, f32::from_le_bytes)
    }

    /// Shape and numbers of a tensor, row-major.
    ///
    /// # Panics
    /// If there is none of this name, or it holds no int64.
    #[must_use]
    pub fn i64(&self, name: &str) -> (Vec<usize>, Vec<i64>) {
        self.read(name, Dtype::I64, i64::from_le_bytes)
    }

    /// The numbers of an int64 tensor as indices.
    ///
    /// # Panics
    /// As [`Self::i64`], and if a number is negative.
    #[must_use]
    pub fn indices(&self, name: &str) -> Vec<usize> {
        let index = |i| usize::try_from(i).unwrap_or_else(|_| panic!("{}: {name} holds {i}", self.case));
        self.i64(name).1.into_iter().map(index).collect()
    }

    /// `active_features`.
    ///
    /// # Panics
    /// As [`Self::i64`].
    #[must_use]
    pub fn active_features(&self) -> Vec<FeatureId> {
        self.indices("active_features").chunks_exact(3).map(|f| FeatureId::new(f[0], f[1], f[2])).collect()
    }

    /// The order of the nodes of a graph: of the full one for "", of the limited one for "limited.".
    ///
    /// # Panics
    /// If there is no such graph.
    #[must_use]
    pub fn layout(&self, graph: &str) -> NodeLayout {
        let len = |name: &str| self.i64(name).0[0];
        let n_features = len(&format!("{graph}selected_features"));
        let n_pos = len("input_ids");
        let n_sources = self.f32(&format!("{graph}rows")).0[1];
        NodeLayout {
            n_features,
            n_layers: (n_sources - n_features) / n_pos - 1,
            n_pos,
            n_targets: len(&format!("{graph}logit_token_ids")),
        }
    }

    /// A value of `expected.json` by its JSON pointer, such as `/prune/0/node_threshold`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn at(&self, pointer: &str) -> &Value {
        self.json.pointer(pointer).unwrap_or_else(|| panic!("{}: expected.json has no {pointer}", self.case))
    }

    /// A number of `expected.json`.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn number(&self, pointer: &str) -> f64 {
        self.at(pointer).as_f64().unwrap_or_else(|| panic!("{}: {pointer} is no number", self.case))
    }

    /// A whole number of `expected.json`.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn count(&self, pointer: &str) -> usize {
        let count = self.at(pointer).as_u64().and_then(|count| count.try_into().ok());
        count.unwrap_or_else(|| panic!("{}: {pointer} is no whole number", self.case))
    }

    /// A text of `expected.json`.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn text(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_else(|| panic!("{}: {pointer} is no text", self.case))
    }

    /// A list of texts of `expected.json`.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn texts(&self, pointer: &str) -> Vec<&str> {
        let texts = self.at(pointer).as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        texts.unwrap_or_else(|| panic!("{}: {pointer} is no list of texts", self.case))
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.tensors)
            .unwrap_or_else(|error| panic!("{}: expected.safetensors: {error}", self.case))
    }

    fn read<T, const N: usize>(
        &self,
        name: &str,
        dtype: Dtype,
        from_bytes: fn([u8; N]) -> T,
    ) -> (Vec<usize>, Vec<T>) {
        let file = self.tensors();
        let tensor = file.tensor(name).unwrap_or_else(|error| panic!("{}: {name}: {error}", self.case));
        assert_eq!(tensor.dtype(), dtype, "{}: {name}", self.case);
        let (numbers, []) = tensor.data().as_chunks() else { panic!("{}: {name} ends early", self.case) };
        (tensor.shape().to_vec(), numbers.iter().map(|&bytes| from_bytes(bytes)).collect())
    }
}

/// How far a number may be from the expected one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// 1e-4 of the largest number of the whole tensor, at least 1e-4.
    Tensor,
    /// 1e-4 of the largest number of the same row, at least 1e-4; rows have this many columns.
    Rows(usize),
    /// This much: 1e-5 for scores and cumulative shares.
    Absolute(f64),
}

/// Scores and cumulative shares.
pub const SCORE: Tolerance = Tolerance::Absolute(1e-5);

/// Checks that numbers are the expected ones within a tolerance.
///
/// # Panics
/// If one is not (nor is NaN ever), naming the worst place; or if there are more or fewer.
#[track_caller]
pub fn assert_close<F, E>(name: &str, found: &[F], expected: &[E], tolerance: Tolerance)
where
    F: Copy + Into<f64>,
    E: Copy + Into<f64>,
{
    let found: Vec<f64> = found.iter().map(|&x| x.into()).collect();
    let expected: Vec<f64> = expected.iter().map(|&x| x.into()).collect();
    if let Some(complaint) = complaint(&found, &expected, tolerance) {
        panic!("{name}: {complaint}");
    }
}

/// What [`assert_close`] has to say, if anything.
fn complaint(found: &[f64], expected: &[f64], tolerance: Tolerance) -> Option<String> {
    if found.len() != expected.len() {
        return Some(format!("{} numbers, expected {}", found.len(), expected.len()));
    }
    let columns = match tolerance {
        Tolerance::Rows(columns) => columns,
        Tolerance::Tensor | Tolerance::Absolute(_) => expected.len(),
    }
    .max(1);
    if !expected.len().is_multiple_of(columns) {
        return Some(format!("{} numbers are not rows of {columns}", expected.len()));
    }

    let mut wrong = 0;
    let mut worst: Option<(f64, String)> = None;
    for (row, (found, expected)) in found.chunks(columns).zip(expected.chunks(columns)).enumerate() {
        let allowed = match tolerance {
            Tolerance::Absolute(allowed) => allowed,
            // An infinite number must be met exactly and must not excuse the others.
            _ => 1e-4 * expected.iter().map(|x| x.abs()).filter(|x| x.is_finite()).fold(1.0, f64::max),
        };
        for (column, (&f, &e)) in found.iter().zip(expected).enumerate() {
            let difference = (f - e).abs();
            if f == e || difference <= allowed {
                continue;
            }
            wrong += 1;
            let badness = if difference.is_nan() { f64::INFINITY } else { difference / allowed };
            if worst.as_ref().is_none_or(|(least, _)| badness > *least) {
                let place = match tolerance {
                    Tolerance::Rows(_) => format!("[{row}, {column}]"),
                    _ => format!("[{column}]"),
                };
                let text =
                    format!("{place}: {f:e}, expected {e:e} ± {allowed:.1e} (off by {difference:.1e})");
                worst = Some((badness, text));
            }
        }
    }
    worst.map(|(_, worst)| format!("{wrong} of {} numbers differ; worst at {worst}", expected.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fixture_is_there_and_fits_itself() {
        for case in CASES.into_iter().chain([TRAINED]) {
            let expected = Expected::of(case);
            for graph in ["", "limited."] {
                let name = format!("{graph}rows");
                if !expected.has(&name) {
                    assert_eq!((case, graph), (TRAINED, "limited."));
                    continue;
                }
                let (layout, (shape, rows)) = (expected.layout(graph), expected.f32(&name));
                assert_eq!(shape, [layout.n_rows(), layout.n_sources()], "{case} {name}");
                assert_eq!(rows.len(), shape.iter().product::<usize>(), "{case} {name}");
            }
            let layout = expected.layout("");
            assert_eq!(expected.active_features().len(), expected.count("/n_active_features"), "{case}");
            for i in 0..expected.at("/prune").as_array().unwrap().len() {
                let kept = expected.indices(&format!("prune{i}.kept_nodes"));
                assert!(kept.iter().all(|&node| node < layout.n_nodes()), "{case}");
                if case != TRAINED {
                    assert_eq!(kept.len(), expected.count(&format!("/prune/{i}/nodes_kept")), "{case}");
                    let edges = expected.indices(&format!("prune{i}.kept_edges"));
                    assert_eq!(edges.len(), 2 * expected.count(&format!("/prune/{i}/edges_kept")), "{case}");
                    assert!(edges.iter().all(|node| kept.contains(node)), "{case}");
                    let (edges, _) = edges.as_chunks::<2>();
                    assert!(edges.is_sorted_by(|a, b| a < b), "{case}");
                    assert!(edges.iter().all(|&[_, source]| source < layout.n_sources()), "{case}");
                }
            }
            let file = if case == TRAINED { "expected.json" } else { "graph.json" };
            for path in ["model/config.json", "transcoders/config.yaml", file] {
                assert!(fixture(case).join(path).is_file(), "{case}: {path}");
            }
        }
        assert!(fixture("llama-plt-relu").join("graph.pt").is_file());
    }

    #[test]
    fn accessors_of_the_json() {
        let expected = Expected::of("gpt2-plt-relu");
        assert_eq!(expected.text("/prompt"), "The ship left the harbour before dawn, carrying");
        assert_eq!(expected.texts("/token_strings")[0], "<|endoftext|>");
        assert_eq!(expected.number("/prune/0/node_threshold"), 0.8);
        assert_eq!(json("gpt2-plt-relu", "graph.json")["metadata"]["slug"], "gpt2-plt-relu");
    }

    #[test]
    fn tolerance_follows_the_largest_of_the_row_or_tensor() {
        let expected = [0.0, 1000.0, 0.0, 0.5];
        let near = [0.09, 1000.0, 0.00009, 0.5];
        assert_eq!(complaint(&near, &expected, Tolerance::Rows(2)), None);
        assert_eq!(complaint(&[0.09; 1], &[0.0; 1], Tolerance::Absolute(0.1)), None);
        let far = [0.0, 1000.0, 0.01, 0.5];
        assert_eq!(complaint(&far, &expected, Tolerance::Tensor), None);
        assert_eq!(
            complaint(&far, &expected, Tolerance::Rows(2)).unwrap(),
            "1 of 4 numbers differ; worst at [1, 0]: 1e-2, expected 0e0 ± 1.0e-4 (off by 1.0e-2)"
        );
        assert!(complaint(&far, &expected, SCORE).unwrap().contains("worst at [2]"));
    }

    #[test]
    fn nothing_slips_through() {
        const INFINITY: f64 = f64::INFINITY;
        const NAN: f64 = f64::NAN;
        let wrong = |found: &[f64], expected: &[f64]| complaint(found, expected, Tolerance::Tensor).is_some();
        assert!(wrong(&[NAN], &[0.0]) && wrong(&[0.0], &[NAN]) && wrong(&[NAN], &[NAN]));
        assert!(wrong(&[INFINITY], &[0.0]) && wrong(&[INFINITY], &[-INFINITY]) && wrong(&[0.0], &[INFINITY]));
        assert!(wrong(&[9.0, INFINITY], &[0.0, INFINITY]) && !wrong(&[INFINITY], &[INFINITY]));
        assert!(wrong(&[], &[0.0]) && wrong(&[0.0], &[]) && !wrong(&[], &[]));
        assert!(complaint(&[0.0; 3], &[0.0; 3], Tolerance::Rows(2)).is_some());
    }
}
