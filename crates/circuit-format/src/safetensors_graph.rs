//! Raw graphs as `.safetensors`: the rows as they are, not a square, and everything else that a [`Graph`] holds.
//!
//! The layout is the public contract of the format's version 1:
//!
//! | tensor | type, shape |
//! |---|---|
//! | `rows` | f32 (selected + targets, selected + layers · positions + positions) |
//! | `active_features` | i64 (active, 3): layer, position, index |
//! | `activation_values` | f32 (active) |
//! | `selected_features` | i64 (selected): places in `active_features` |
//! | `input_tokens` | i64 (positions) |
//! | `target_token_ids` | i64 (targets) |
//! | `target_probabilities` | f32 (targets) |
//!
//! Texts are in `__metadata__`: `format`, `format_version`, `prompt`, `scan`, and as JSON `token_strings`,
//! `target_labels`, `model`. Written and read in blocks. Not here: tensors of models.

mod header;

use crate::FormatError;
use crate::atomic::write_atomically;
use crate::bytes::{read_floats, read_integers, reserve, write_f32, write_i64};
use crate::error::Problem;
use crate::first_token;
use circuit_graph::{FirstToken, Graph, ModelInfo, Rows, Target};
use circuit_index::{ActiveIndex, FeatureId, FeatureIndex, Layer, Pos, TokenId};
use header::{Header, OutTensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

/// Says whose file it is.
const FORMAT: &str = "circuit-tracer graph";
/// Grows when a reader of the layout above would go wrong.
const VERSION: &str = "1";

/// [`ModelInfo`] as JSON in the metadata; the scan stands beside it.
#[derive(Serialize, Deserialize)]
struct ModelRecord {
    name: String,
    architecture: String,
    n_layers: u32,
    d_model: usize,
    d_head: usize,
    n_heads: usize,
    n_key_value_heads: usize,
    d_mlp: usize,
    d_vocab: usize,
    tokenizer_vocab: usize,
    dtype: String,
    /// Absent in files of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_token: Option<Value>,
}

/// Writes a graph.
///
/// # Errors
/// If the graph is inconsistent or the file cannot be written.
pub fn write_safetensors(path: &Path, graph: &Graph) -> Result<(), FormatError> {
    graph.validate().map_err(FormatError::graph(path))?;
    let json = |source| FormatError::Json { path: path.into(), expected: "metadata that fit JSON", source };
    let metadata = metadata(graph).map_err(json)?;
    let (n, selected, n_targets) = (graph.active.len(), graph.selected.len(), graph.targets.len());
    let rows = [graph.rows.n_rows(), graph.rows.n_columns()];
    // The widest type first keeps every tensor aligned to its type.
    let tensors = [
        OutTensor { name: "active_features", dtype: "I64", shape: &[n, 3] },
        OutTensor { name: "selected_features", dtype: "I64", shape: &[selected] },
        OutTensor { name: "input_tokens", dtype: "I64", shape: &[graph.tokens.len()] },
        OutTensor { name: "target_token_ids", dtype: "I64", shape: &[n_targets] },
        OutTensor { name: "activation_values", dtype: "F32", shape: &[n] },
        OutTensor { name: "target_probabilities", dtype: "F32", shape: &[n_targets] },
        OutTensor { name: "rows", dtype: "F32", shape: &rows },
    ];
    let header = header::encode(&metadata, &tensors).map_err(json)?;
    write_atomically(path, |out| {
        out.write_all(&header)?;
        let features = graph.active.iter().flat_map(|f| [f.layer.0, f.pos.0, f.index.0]);
        write_i64(out, features.map(i64::from))?;
        write_i64(out, graph.selected.iter().map(|i| i.0.into()))?;
        write_i64(out, graph.tokens.iter().map(|t| t.0.into()))?;
        write_i64(out, graph.targets.iter().map(|t| t.token_id.0.into()))?;
        write_f32(out, &graph.activations)?;
        write_f32(out, &graph.targets.iter().map(|t| t.weight).collect::<Vec<_>>())?;
        write_f32(out, graph.rows.as_slice())
    })
}

/// Reads a graph and checks it.
///
/// # Errors
/// If the file cannot be read, is cut off or damaged, is of another kind or version, or holds an inconsistent graph.
pub fn read_safetensors(path: &Path) -> Result<Graph, FormatError> {
    let file = File::open(path).map_err(FormatError::io(path, "read"))?;
    let len = file.metadata().map_err(FormatError::io(path, "read"))?.len();
    let mut input = BufReader::with_capacity(1 << 18, file);
    let header = Header::read(&mut input, len).map_err(|e| e.at(path))?;

    let found = header.metadata.get("format");
    if found.map(String::as_str) != Some(FORMAT) {
        let found = found.map_or("none".into(), |f| format!("`{f}`"));
        return Err(Problem::new("metadata `format`", format_args!("`{FORMAT}`"), found).at(path));
    }
    let version = text(&header, "format_version").map_err(|e| e.at(path))?;
    if version != VERSION {
        let found = format_args!("`{version}`, made by another release");
        return Err(Problem::new("metadata `format_version`", format_args!("`{VERSION}`"), found).at(path));
    }
    let graph = read_graph(&header, &mut input).map_err(|e| e.at(path))?;
    graph.validate().map_err(FormatError::graph(path))?;
    Ok(graph)
}

fn metadata(graph: &Graph) -> serde_json::Result<BTreeMap<&'static str, String>> {
    let m = &graph.model;
    let model = ModelRecord {
        name: m.name.clone(),
        architecture: m.architecture.clone(),
        // More layers than fit 32 bits would not have passed as indices.
        n_layers: u32::try_from(m.n_layers).map_err(serde::ser::Error::custom)?,
        d_model: m.d_model,
        d_head: m.d_head,
        n_heads: m.n_heads,
        n_key_value_heads: m.n_key_value_heads,
        d_mlp: m.d_mlp,
        d_vocab: m.d_vocab,
        tokenizer_vocab: m.tokenizer_vocab,
        dtype: m.dtype.clone(),
        first_token: m.first_token.as_ref().map(first_token::to_json),
    };
    let labels: Vec<_> = graph.targets.iter().map(|t| &t.label).collect();
    Ok(BTreeMap::from([
        ("format", FORMAT.into()),
        ("format_version", VERSION.into()),
        ("prompt", graph.prompt.clone()),
        ("scan", m.scan.clone()),
        ("token_strings", serde_json::to_string(&graph.token_strings)?),
        ("target_labels", serde_json::to_string(&labels)?),
        ("model", serde_json::to_string(&model)?),
    ]))
}

/// Reads everything but does not check what [`Graph::validate`] checks.
fn read_graph(header: &Header, input: &mut BufReader<File>) -> Result<Graph, Problem> {
    let model: ModelRecord = json(header, "model")?;
    let token_strings: Vec<String> = json(header, "token_strings")?;
    let labels: Vec<String> = json(header, "target_labels")?;
    let token_ids = integers(header, input, "target_token_ids", &[labels.len()])?;
    let n_targets = labels.len();
    let weights = floats(header, input, "target_probabilities", &[n_targets])?;
    let targets = labels.into_iter().zip(token_ids).zip(weights);
    let targets =
        targets.map(|((label, id), weight)| Target { label, token_id: TokenId(id), weight }).collect();

    let n_pos = token_strings.len();
    let tokens = integers(header, input, "input_tokens", &[n_pos])?.into_iter().map(TokenId).collect();
    let n_active = header.tensor("activation_values")?.shape.first().copied().unwrap_or(0);
    let activations = floats(header, input, "activation_values", &[n_active])?;
    let features = integers(header, input, "active_features", &[n_active, 3])?;
    let feature = |f: &[u32]| FeatureId { layer: Layer(f[0]), pos: Pos(f[1]), index: FeatureIndex(f[2]) };
    let active = features.chunks_exact(3).map(feature).collect();
    let n_selected = header.tensor("selected_features")?.shape.first().copied().unwrap_or(0);
    let selected = integers(header, input, "selected_features", &[n_selected])?;
    let selected: Vec<_> = selected.into_iter().map(ActiveIndex).collect();

    let n_layers = model.n_layers as usize;
    let n_columns =
        n_layers.checked_add(1).and_then(|n| n.checked_mul(n_pos)).and_then(|n| n.checked_add(n_selected));
    let n_columns = n_columns.filter(|&n| n > 0).ok_or_else(|| {
        Problem::new("metadata `model`", "layers that fit the rows", format_args!("{n_layers} layers"))
    })?;
    let values = floats(header, input, "rows", &[n_selected + n_targets, n_columns])?;
    let rows = Rows::new(n_columns, values).map_err(|e| Problem::new("tensor `rows`", "whole rows", e))?;
    Ok(Graph {
        prompt: text(header, "prompt")?.into(),
        tokens,
        token_strings,
        active,
        activations,
        selected,
        targets,
        rows,
        model: ModelInfo {
            name: model.name,
            architecture: model.architecture,
            n_layers,
            d_model: model.d_model,
            d_head: model.d_head,
            n_heads: model.n_heads,
            n_key_value_heads: model.n_key_value_heads,
            d_mlp: model.d_mlp,
            d_vocab: model.d_vocab,
            tokenizer_vocab: model.tokenizer_vocab,
            dtype: model.dtype,
            scan: text(header, "scan")?.into(),
            first_token: model.first_token.as_ref().map(first_token_of).transpose()?,
        },
    })
}

fn first_token_of(value: &Value) -> Result<FirstToken, Problem> {
    let problem = || {
        Problem::new("metadata `model`: `first_token`", "`none`, or an object with `id` and `text`", value)
    };
    first_token::from_json(value).ok_or_else(problem)
}

fn text<'h>(header: &'h Header, key: &str) -> Result<&'h str, Problem> {
    let missing = || Problem::new(format_args!("metadata `{key}`"), "text", "nothing");
    header.metadata.get(key).map(String::as_str).ok_or_else(missing)
}

fn json<T: for<'de> Deserialize<'de>>(header: &Header, key: &str) -> Result<T, Problem> {
    serde_json::from_str(text(header, key)?)
        .map_err(|e| Problem::new(format_args!("metadata `{key}`"), "JSON of the right form", e))
}

fn floats(
    header: &Header,
    input: &mut BufReader<File>,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>, Problem> {
    let (dtype, n) = header.seek(input, name, "F32", shape)?;
    let mut values = reserve(name, n)?;
    read_floats(input, dtype, n, &mut values).map_err(|e| Problem::new(tensor(name), "its bytes", e))?;
    Ok(values)
}

/// Integers of the graph are all indices, so 32 bits without a sign.
fn integers(
    header: &Header,
    input: &mut BufReader<File>,
    name: &str,
    shape: &[usize],
) -> Result<Vec<u32>, Problem> {
    let (dtype, n) = header.seek(input, name, "I64", shape)?;
    let mut values = reserve(name, n)?;
    read_integers(input, dtype, n, &mut values).map_err(|e| Problem::new(tensor(name), "its bytes", e))?;
    let index = |(at, value): (usize, &i64)| {
        let place = format!("{} entry {at}", tensor(name));
        u32::try_from(*value).map_err(|_| Problem::new(place, "an index of 32 bits", value))
    };
    values.iter().enumerate().map(index).collect()
}

fn tensor(name: &str) -> String {
    format!("tensor `{name}`")
}
