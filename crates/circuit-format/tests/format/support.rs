//! Graphs to write: a small one made by hand, random ones, and the golden cases.

use circuit_format::{GraphFileOptions, Kept, QParams, Slug};
use circuit_graph::{Graph, ModelInfo, Rows, Target};
use circuit_index::{ActiveIndex, FeatureId, TokenId};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

pub(crate) fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

pub(crate) fn options(slug: &str) -> GraphFileOptions {
    GraphFileOptions {
        slug: Slug::new(slug).unwrap(),
        scan: None,
        transcoder_list: Vec::new(),
        node_threshold: Some(0.8),
        view: QParams::default(),
        neuronpedia: None,
    }
}

/// Two layers, three tokens, three active features of which two are selected, two targets.
pub(crate) fn toy() -> Graph {
    let n_columns = 2 + 6 + 3;
    let mut rows = vec![0.0; 4 * n_columns];
    rows[n_columns] = 0.5; // feature 1 reads feature 0
    rows[n_columns + 8] = -0.25; // and token 0
    rows[2 * n_columns + 1] = 1.9; // target 0 reads feature 1
    rows[2 * n_columns + 7] = f32::MIN_POSITIVE; // and the error of layer 1, position 2
    rows[3 * n_columns + 10] = 4.1e-7; // target 1 reads token 2
    Graph {
        prompt: "<bos>The \"sky\"".into(),
        tokens: [2, 900, 7].map(TokenId).into(),
        token_strings: ["<bos>", "The", " \"sky\"\n"].map(str::to_owned).into(),
        active: vec![FeatureId::new(0, 1, 3), FeatureId::new(0, 2, 9), FeatureId::new(1, 1, 7)],
        activations: vec![1.5, 0.1, 3.25],
        selected: vec![ActiveIndex(0), ActiveIndex(2)],
        targets: vec![
            Target { label: " blue\" (p=1".into(), token_id: TokenId(512), weight: 0.6405 },
            Target { label: "日本".into(), token_id: TokenId(1003), weight: 0.25 },
        ],
        rows: Rows::new(n_columns, rows).unwrap(),
        model: ModelInfo {
            name: "acme/Toy-2L".into(),
            architecture: "ToyForCausalLM".into(),
            n_layers: 2,
            d_model: 8,
            d_head: 4,
            n_heads: 2,
            n_key_value_heads: 1,
            d_mlp: 16,
            d_vocab: 1003,
            tokenizer_vocab: 1000,
            dtype: "bfloat16".into(),
            scan: "acme/toy-transcoders@v2".into(),
            first_token: None,
        },
    }
}

/// All that is not zero in [`toy`], kept.
pub(crate) struct ToyKept {
    pub(crate) nodes: Vec<bool>,
    pub(crate) edges: Vec<(usize, usize)>,
    pub(crate) cumulative: Vec<f32>,
}

impl ToyKept {
    pub(crate) fn new() -> Self {
        let cumulative = (1u8..=13).map(|i| f32::from(i) / 13.0).collect();
        Self { nodes: vec![true; 13], edges: vec![(1, 0), (1, 8), (2, 1), (2, 7), (3, 10)], cumulative }
    }

    pub(crate) fn kept(&self) -> Kept<'_, impl IntoIterator<Item = (usize, usize)> + Clone> {
        Kept { nodes: &self.nodes, edges: self.edges.iter().copied(), cumulative: &self.cumulative }
    }
}

/// Small graphs of any content that passes the check.
pub(crate) fn graphs() -> impl Strategy<Value = Graph> {
    let finite = -1e30f32..1e30;
    let features = proptest::collection::btree_set((0usize..3, 0usize..4, 0usize..50_000), 0..12);
    (1usize..4, 1usize..5, 1usize..4, features, any::<u64>()).prop_flat_map(
        move |(n_layers, n_pos, n_targets, features, bits)| {
            let active: Vec<_> = features
                .into_iter()
                .filter(|&(layer, pos, _)| layer < n_layers && pos < n_pos)
                .map(|(layer, pos, index)| FeatureId::new(layer, pos, index))
                .collect();
            let selected = (0..active.len()).filter(|i| bits >> i & 1 == 1).map(ActiveIndex::from);
            let selected: Vec<_> = selected.collect();
            let n_columns = selected.len() + (n_layers + 1) * n_pos;
            let n_values = (selected.len() + n_targets) * n_columns;
            (
                proptest::collection::vec(finite.clone(), n_values),
                proptest::collection::vec(finite.clone(), active.len()),
                proptest::collection::vec((any::<String>(), any::<u32>()), n_pos),
                proptest::collection::vec((any::<String>(), any::<u32>(), 0f32..1.0), n_targets),
                proptest::collection::vec(any::<String>(), 4),
                (proptest::collection::vec(0usize..100_000, 7), 0usize..5),
            )
                .prop_map(
                    move |(values, activations, tokens, targets, texts, (sizes, dtype))| Graph {
                        prompt: texts[0].clone(),
                        tokens: tokens.iter().map(|t| TokenId(t.1)).collect(),
                        token_strings: tokens.iter().map(|t| t.0.clone()).collect(),
                        active: active.clone(),
                        activations,
                        selected: selected.clone(),
                        targets: targets
                            .into_iter()
                            .map(|(label, id, weight)| Target { label, token_id: TokenId(id), weight })
                            .collect(),
                        rows: Rows::new(n_columns, acyclic(values, n_columns, &active, &selected, n_pos))
                            .unwrap(),
                        model: ModelInfo {
                            name: texts[1].clone(),
                            architecture: texts[2].clone(),
                            n_layers,
                            d_model: sizes[0],
                            d_head: sizes[1],
                            n_heads: sizes[2],
                            n_key_value_heads: sizes[3],
                            d_mlp: sizes[4],
                            d_vocab: sizes[5],
                            tokenizer_vocab: sizes[6],
                            dtype: ["float32", "bfloat16", "float16", "float64", ""][dtype].into(),
                            scan: texts[3].clone(),
                            first_token: None,
                        },
                    },
                )
        },
    )
}

/// A feature reads only what lower layers write; its other entries become zero.
fn acyclic(
    mut values: Vec<f32>,
    n_columns: usize,
    active: &[FeatureId],
    selected: &[ActiveIndex],
    n_pos: usize,
) -> Vec<f32> {
    let layers: Vec<_> = selected.iter().map(|i| active[i.get()].layer.get()).collect();
    let tokens = n_columns - n_pos;
    for (row, reader) in values.chunks_exact_mut(n_columns).zip(&layers) {
        for (column, value) in row[..tokens].iter_mut().enumerate() {
            let writer = layers.get(column).copied().unwrap_or_else(|| (column - layers.len()) / n_pos);
            if writer >= *reader {
                *value = 0.0;
            }
        }
    }
    values
}

/// A golden case: the graph and what pruning keeps of it.
pub(crate) struct Golden {
    pub(crate) graph: Graph,
    pub(crate) nodes: Vec<bool>,
    pub(crate) edges: Vec<(usize, usize)>,
    pub(crate) cumulative: Vec<f32>,
    pub(crate) row_sums: Vec<f64>,
    pub(crate) row_sizes: Vec<f64>,
}

impl Golden {
    /// The case of a folder. `rows` are those of its `graph.pt` where it has one.
    pub(crate) fn read(folder: &Path, rows: Option<Rows>) -> Self {
        let bytes = fs::read(folder.join("expected.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let raw = |name: &str| tensors.tensor(name).unwrap().data().to_vec();
        let i64s = |name: &str| numbers(&raw(name), i64::from_le_bytes);
        let u32s = |name: &str| i64s(name).into_iter().map(|v| u32::try_from(v).unwrap()).collect::<Vec<_>>();
        let f32s = |name: &str| numbers(&raw(name), f32::from_le_bytes);
        let info = json_file(&folder.join("expected.json"));
        let text = |key: &str| info[key].as_str().unwrap().to_owned();
        let size = |key: &str| usize::try_from(info["graph_cfg"][key].as_u64().unwrap_or_default()).unwrap();
        let strings =
            |key: &str| info[key].as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned());

        let active = u32s("active_features");
        let feature = |f: &[u32]| FeatureId::new(f[0] as usize, f[1] as usize, f[2] as usize);
        let active: Vec<_> = active.chunks_exact(3).map(feature).collect();
        let selected: Vec<_> = u32s("selected_features").into_iter().map(ActiveIndex).collect();
        let tokens: Vec<_> = u32s("input_ids").into_iter().map(TokenId).collect();
        let ids = u32s("logit_token_ids").into_iter().zip(f32s("logit_probabilities"));
        let n_columns = selected.len() + (size("n_layers") + 1) * tokens.len();
        let graph = Graph {
            prompt: text("input_string"),
            token_strings: strings("token_strings").collect(),
            active,
            activations: f32s("activation_values"),
            targets: strings("target_labels")
                .zip(ids)
                .map(|(label, (id, weight))| Target { label, token_id: TokenId(id), weight })
                .collect(),
            rows: rows.unwrap_or_else(|| Rows::new(n_columns, f32s("rows")).unwrap()),
            model: ModelInfo {
                name: text("model_name"),
                architecture: info["graph_cfg"]["original_architecture"].as_str().unwrap().into(),
                n_layers: size("n_layers"),
                d_model: size("d_model"),
                d_head: size("d_head"),
                n_heads: size("n_heads"),
                n_key_value_heads: size("n_key_value_heads"),
                d_mlp: size("d_mlp"),
                d_vocab: size("d_vocab"),
                tokenizer_vocab: usize::try_from(info["graph_vocab_size"].as_u64().unwrap()).unwrap(),
                dtype: info["graph_cfg"]["dtype"].as_str().unwrap().trim_start_matches("torch.").into(),
                scan: text("scan"),
                first_token: None,
            },
            tokens,
            selected,
        };
        let edges = numbers(&raw("prune0.edges"), i32::from_le_bytes);
        Self {
            graph,
            nodes: raw("prune0.node_mask").iter().map(|&b| b != 0).collect(),
            edges: edges
                .chunks_exact(2)
                .map(|e| (usize::try_from(e[0]).unwrap(), usize::try_from(e[1]).unwrap()))
                .collect(),
            cumulative: f32s("prune0.cumulative_scores"),
            row_sums: numbers(&raw("row_sums"), f64::from_le_bytes),
            row_sizes: numbers(&raw("row_sizes"), f64::from_le_bytes),
        }
    }

    pub(crate) fn kept(&self) -> Kept<'_, impl IntoIterator<Item = (usize, usize)> + Clone> {
        Kept { nodes: &self.nodes, edges: self.edges.iter().copied(), cumulative: &self.cumulative }
    }
}

fn numbers<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.chunks_exact(N).map(|b| read(b.try_into().unwrap())).collect()
}
