//! Writes a `.pt`: a stored zip of a pickle of protocol 2 and one entry per tensor. The square is never in memory.

use super::stored_zip::StoredZip;
use super::{CONFIG_CLASS, DTYPES, PtLimit, TARGET_CLASS, TOKEN_STRINGS};
use crate::FormatError;
use crate::atomic::write_atomically;
use crate::bytes::{write_f32, write_i64, write_zeros};
use circuit_graph::Graph;
use circuit_index::NodeLayout;
use std::io::{self, Write};
use std::path::Path;

/// How many bytes the `.pt` of a graph takes, exactly.
#[must_use]
pub fn pt_size(graph: &Graph) -> u64 {
    Plan::new(graph).zip.len()
}

/// Refuses a `.pt` that would be too large, before the graph is computed: its square alone, which is all but a little of it.
///
/// # Errors
/// If the square of a graph of this layout is larger than `limit`.
pub fn check_pt_size(path: &Path, layout: NodeLayout, limit: PtLimit) -> Result<(), FormatError> {
    let n_nodes = layout.n_nodes() as u64;
    let needed = n_nodes.saturating_mul(n_nodes).saturating_mul(4);
    if needed <= limit.0 {
        return Ok(());
    }
    let as_rows = 4 * layout.n_rows() as u64 * layout.n_sources() as u64;
    Err(FormatError::TooLarge { path: path.into(), n_nodes, needed, limit: limit.0, as_rows })
}

/// Writes a graph for Python's `Graph.from_pt`, with every edge: the file is square.
///
/// # Errors
/// If the file would be larger than `limit`, the graph is inconsistent, or the file cannot be written.
pub fn write_pt(path: &Path, graph: &Graph, limit: PtLimit) -> Result<(), FormatError> {
    graph.validate().map_err(FormatError::graph(path))?;
    let plan = Plan::new(graph);
    if plan.zip.len() > limit.0 {
        return Err(FormatError::TooLarge {
            path: path.into(),
            n_nodes: graph.layout().n_nodes() as u64,
            needed: plan.zip.len(),
            limit: limit.0,
            as_rows: 4 * graph.rows.as_slice().len() as u64,
        });
    }
    write_atomically(path, |out| {
        plan.zip.write(out, |number, out| match number.checked_sub(plan.texts.len()) {
            None => out.write_all(&plan.texts[number].1),
            Some(tensor) => write_tensor(out, graph, tensor),
        })
    })
}

/// Everything but the numbers, and how large it all is.
struct Plan {
    zip: StoredZip,
    texts: Vec<(&'static str, Vec<u8>)>,
}

impl Plan {
    fn new(graph: &Graph) -> Self {
        // Not valid JSON could only come from text that is no UTF-8, which Rust's is.
        let token_strings = serde_json::to_vec(&graph.token_strings).unwrap_or_default();
        let tensors = tensors(graph);
        let texts = vec![
            ("data.pkl", pickle(graph, &tensors)),
            ("byteorder", b"little".into()),
            ("version", b"3\n".into()),
            (TOKEN_STRINGS, token_strings),
        ];
        let of_texts = texts.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.len() as u64));
        let of_tensors = tensors.iter().enumerate().map(|(i, tensor)| (format!("data/{i}"), tensor.bytes()));
        // PyTorch takes any name for the folder, but wants one.
        let entries = of_texts.chain(of_tensors).map(|(name, size)| (format!("archive/{name}"), size));
        Self { zip: StoredZip::plan(entries.collect()), texts }
    }
}

struct Tensor {
    key: &'static str,
    integer: bool,
    shape: Vec<usize>,
}

impl Tensor {
    fn len(&self) -> u64 {
        self.shape.iter().fold(1, |n, &d| n.saturating_mul(d as u64))
    }

    fn bytes(&self) -> u64 {
        self.len().saturating_mul(if self.integer { 8 } else { 4 })
    }
}

/// The tensors in the order of their entries; [`write_tensor`] has the same.
fn tensors(graph: &Graph) -> [Tensor; 6] {
    let layout = graph.layout();
    let n = layout.n_nodes();
    let tensor = |key, integer, shape: &[usize]| Tensor { key, integer, shape: shape.into() };
    [
        tensor("adjacency_matrix", false, &[n, n]),
        tensor("active_features", true, &[graph.active.len(), 3]),
        tensor("logit_probabilities", false, &[layout.n_targets]),
        tensor("input_tokens", true, &[layout.n_pos]),
        tensor("selected_features", true, &[layout.n_features]),
        tensor("activation_values", false, &[graph.active.len()]),
    ]
}

fn write_tensor(out: &mut impl Write, graph: &Graph, tensor: usize) -> io::Result<()> {
    match tensor {
        0 => write_square(out, graph, graph.layout()),
        1 => {
            let features = graph.active.iter().flat_map(|f| [f.layer.0, f.pos.0, f.index.0]);
            write_i64(out, features.map(i64::from))
        }
        2 => write_f32(out, &graph.targets.iter().map(|t| t.weight).collect::<Vec<_>>()),
        3 => write_i64(out, graph.tokens.iter().map(|t| t.0.into())),
        4 => write_i64(out, graph.selected.iter().map(|i| i.0.into())),
        _ => write_f32(out, &graph.activations),
    }
}

/// Rows of errors and tokens, and columns of targets, are zeros.
fn write_square(out: &mut impl Write, graph: &Graph, layout: NodeLayout) -> io::Result<()> {
    for node in (0..layout.n_nodes()).filter_map(|i| layout.node(i.into())) {
        match layout.row(node) {
            Some(row) => {
                write_f32(out, graph.rows.row(row))?;
                write_zeros(out, 4 * layout.n_targets as u64)?;
            }
            None => write_zeros(out, 4 * layout.n_nodes() as u64)?,
        }
    }
    Ok(())
}

/// The dictionary of `Graph.to_pt`, as pickled.
fn pickle(graph: &Graph, tensors: &[Tensor; 6]) -> Vec<u8> {
    let mut p = Pickler(vec![0x80, 2]); // PROTO 2
    let tensor = |p: &mut Pickler, key: &str| {
        let number = tensors.iter().position(|t| t.key == key).unwrap_or_default();
        p.text(key);
        p.tensor(number, &tensors[number]);
    };
    p.raw(b"}("); // EMPTY_DICT MARK
    p.text("input_string");
    p.text(&graph.prompt);
    tensor(&mut p, "adjacency_matrix");
    p.text("cfg");
    config(&mut p, graph);
    tensor(&mut p, "active_features");
    p.text("logit_targets");
    p.raw(b"]("); // EMPTY_LIST MARK
    for target in &graph.targets {
        p.global(TARGET_CLASS);
        p.text(&target.label);
        p.int(target.token_id.0.into());
        p.raw(b"\x86\x81"); // TUPLE2 NEWOBJ
    }
    p.raw(b"e"); // APPENDS
    tensor(&mut p, "logit_probabilities");
    p.text("vocab_size");
    p.int(graph.model.tokenizer_vocab as u64);
    for key in ["input_tokens", "selected_features", "activation_values"] {
        tensor(&mut p, key);
    }
    p.text("scan");
    match graph.model.scan.as_str() {
        "" => p.raw(b"N"),
        scan => p.text(scan),
    }
    p.raw(b"u."); // SETITEMS STOP
    p.0
}

fn config(p: &mut Pickler, graph: &Graph) {
    let m = &graph.model;
    p.global(CONFIG_CLASS);
    p.raw(b")\x81}("); // EMPTY_TUPLE NEWOBJ EMPTY_DICT MARK
    for (key, value) in [
        ("n_layers", m.n_layers),
        ("d_model", m.d_model),
        ("d_head", m.d_head),
        ("n_heads", m.n_heads),
        ("d_mlp", m.d_mlp),
        ("d_vocab", m.d_vocab),
        ("n_key_value_heads", m.n_key_value_heads),
    ] {
        p.text(key);
        p.int(value as u64);
    }
    // Python loads the tokenizer by this name when it makes graph files.
    for (key, value) in
        [("tokenizer_name", &m.name), ("model_name", &m.name), ("original_architecture", &m.architecture)]
    {
        p.text(key);
        p.text(value);
    }
    p.text("dtype");
    match DTYPES.iter().find(|known| **known == m.dtype) {
        Some(dtype) => p.global(("torch", dtype)),
        None => p.raw(b"N"),
    }
    p.raw(b"ub"); // SETITEMS BUILD
}

/// Instructions of protocol 2, without the memo: repeated texts are short.
struct Pickler(Vec<u8>);

impl Pickler {
    fn raw(&mut self, instructions: &[u8]) {
        self.0.extend_from_slice(instructions);
    }

    fn global(&mut self, (module, name): (&str, &str)) {
        self.0.extend(format!("c{module}\n{name}\n").bytes());
    }

    fn text(&mut self, text: &str) {
        match u32::try_from(text.len()) {
            Ok(len) => {
                self.0.push(b'X'); // BINUNICODE
                self.0.extend(len.to_le_bytes());
            }
            Err(_) => {
                self.0.push(0x8d); // BINUNICODE8
                self.0.extend((text.len() as u64).to_le_bytes());
            }
        }
        self.0.extend(text.bytes());
    }

    fn int(&mut self, value: u64) {
        match (u8::try_from(value), u16::try_from(value), i32::try_from(value)) {
            (Ok(byte), ..) => self.0.extend([b'K', byte]), // BININT1
            (_, Ok(short), _) => {
                self.0.push(b'M'); // BININT2
                self.0.extend(short.to_le_bytes());
            }
            (.., Ok(int)) => {
                self.0.push(b'J'); // BININT
                self.0.extend(int.to_le_bytes());
            }
            _ => {
                self.0.extend([0x8a, 9]); // LONG1 of nine bytes: the ninth holds the sign
                self.0.extend(value.to_le_bytes());
                self.0.push(0);
            }
        }
    }

    fn tuple(&mut self, values: &[u64]) {
        self.raw(b"("); // MARK
        for &value in values {
            self.int(value);
        }
        self.raw(b"t"); // TUPLE
    }

    /// A call of `_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)`.
    fn tensor(&mut self, number: usize, tensor: &Tensor) {
        self.global(("torch._utils", "_rebuild_tensor_v2"));
        self.raw(b"(("); // MARK MARK
        self.text("storage");
        self.global(("torch", if tensor.integer { "LongStorage" } else { "FloatStorage" }));
        self.text(&number.to_string());
        self.text("cpu");
        self.int(tensor.len());
        self.raw(b"tQ"); // TUPLE BINPERSID
        self.int(0);
        let shape: Vec<u64> = tensor.shape.iter().map(|&d| d as u64).collect();
        self.tuple(&shape);
        let strides: Vec<u64> = (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect();
        self.tuple(&strides);
        self.raw(b"\x89"); // NEWFALSE
        self.global(("collections", "OrderedDict"));
        self.raw(b")RtR"); // EMPTY_TUPLE REDUCE TUPLE REDUCE
    }
}
