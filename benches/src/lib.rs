//! Inputs of the benches, made in place: a random model of the shape `bench`, a prompt taken apart, and a graph that is large.
//!
//! Not here: what is measured (`benches/phases.rs`), and measuring without statistics (`circuit-bench`).

use circuit_attribution::{AttributeConfig, Attribution, ResolvedTarget, TargetChoice, attribute};
use circuit_bench::{Made, Shape};
use circuit_graph::{Graph, Rows};
use circuit_index::{ActiveIndex, FeatureId, NodeLayout};
use circuit_replacement::{Cuts, LocalReplacement};
use rayon::prelude::*;
use tch::{Device, Kind};

/// Rows of features that the benches compute.
pub const ROWS: usize = 1024;

/// How features are chosen: as on the command line.
pub const CONFIG: AttributeConfig =
    AttributeConfig { max_feature_nodes: Some(ROWS), batch_size: 256, update_interval: 4 };

/// The model.
///
/// # Panics
/// If there is too little memory.
#[must_use]
pub fn model() -> Made {
    let shape = Shape::named("bench").expect("the shape of the benches");
    Made::new(shape, Kind::Float, Device::Cpu, 0).expect("half a gigabyte of memory")
}

/// Its prompt, taken apart; rows go down on as many threads as LibTorch takes, as on the command line.
///
/// # Panics
/// If there is too little memory.
#[must_use]
pub fn replacement(made: &Made) -> LocalReplacement<'_> {
    let ignored = made.model.spec().ignored_positions;
    let cuts = Cuts { workers: circuit_torch::runtime::threads(), ..Cuts::default() };
    let admit = |_: &[usize]| Some(cuts);
    LocalReplacement::new_in(&made.model, &made.set, &made.tokens, ignored, cuts, admit)
        .expect("a model that runs")
}

/// Three targets.
///
/// # Panics
/// If the model's outputs are not numbers.
#[must_use]
pub fn targets(replacement: &LocalReplacement<'_>) -> Vec<ResolvedTarget> {
    let choice = TargetChoice::Automatic { max_n_logits: 3, desired_logit_prob: 0.95 };
    choice.resolve(replacement).expect("probabilities")
}

/// The rows of a graph.
///
/// # Panics
/// If there is too little memory.
#[must_use]
pub fn rows(replacement: &LocalReplacement<'_>, targets: &[ResolvedTarget]) -> Attribution {
    attribute(replacement, targets, CONFIG, |_| {}).expect("rows")
}

/// A graph of `n_features` rows over at most `n_sources` sources: two gigabytes for the sizes of a long prompt. Its numbers are made
/// up, its names those of `like`.
///
/// # Panics
/// If the sizes do not fit one another.
#[must_use]
pub fn large_graph(like: Graph, n_features: usize, n_sources: usize) -> Graph {
    let n_layers = like.model.n_layers;
    let n_pos = (n_sources - n_features) / (n_layers + 1);
    let layout = NodeLayout { n_features, n_layers, n_pos, n_targets: like.targets.len() };
    let feature = |i| FeatureId::new(i % n_layers, i / n_layers % n_pos, i);
    let mut active: Vec<_> = (0..n_features).map(feature).collect();
    active.sort_unstable();
    let columns = layout.n_sources();
    let mut values = vec![0.0_f32; layout.n_rows() * columns];
    values.par_chunks_exact_mut(columns).enumerate().for_each(|(row, values)| {
        let layer = active.get(row).map_or(n_layers, |f| f.layer.get());
        let below = active.partition_point(|f| f.layer.get() < layer);
        let errors = layout.errors().start..layout.errors().start + layer * n_pos;
        // Numbers of a simple congruence: most are small, few are large, as effects are.
        let mut state = (row as u32).wrapping_mul(2_654_435_761).wrapping_add(1);
        for column in [0..below, errors, layout.tokens()].into_iter().flatten() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            values[column] = ((state >> 8) as f32 / (1 << 24) as f32 - 0.5).powi(3);
        }
    });
    let tokens = vec![like.tokens[0]; n_pos];
    Graph {
        token_strings: vec![String::new(); n_pos],
        tokens,
        activations: vec![1.0; n_features],
        selected: (0..n_features).map(ActiveIndex::from).collect(),
        active,
        rows: Rows::new(columns, values).expect("whole rows"),
        ..like
    }
}
