//! Reads a `.pt` of Python's circuit-tracer or of ours back into a [`Graph`]: the dictionary first, then the small
//! tensors, then the square, of which only the rows of features and targets are kept.

use super::pickle::{Handle, MAX_PICKLE_BYTES, Object, Objects, Tensor};
use super::{PtLimit, TOKEN_STRINGS};
use crate::FormatError;
use crate::bytes::{read_floats, read_integers, reserve};
use crate::error::Problem;
use circuit_graph::{Graph, ModelInfo, Rows, Target};
use circuit_index::{ActiveIndex, FeatureId, FeatureIndex, Layer, NodeLayout, Pos, TokenId};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use zip::{CompressionMethod, ZipArchive};

/// DEFLATE packs no tighter than this, so an entry that claims more is not what it says.
const MAX_RATIO: u64 = 1032;

/// What a `.pt` holds.
#[derive(Clone, Debug, PartialEq)]
pub struct PtGraph {
    /// The graph.
    pub graph: Graph,
    /// Whether the file had the token strings. Python's have none; then they are `<token 123>`, for the caller to replace.
    pub token_strings_known: bool,
    /// The name under which Python looks for the tokenizer.
    pub tokenizer: String,
    /// The transcoder set of each layer, where the file has a list of them; then `graph.model.scan` stands for the list.
    pub transcoder_list: Vec<String>,
}

/// Reads a `.pt`; `limit` bounds each tensor in it, unpacked.
///
/// # Errors
/// If the file cannot be read, is damaged or too large, names anything but tensors and the two classes of a graph, or
/// holds an inconsistent graph.
pub fn read_pt(path: &Path, limit: PtLimit) -> Result<PtGraph, FormatError> {
    let file = File::open(path).map_err(FormatError::io(path, "read"))?;
    let len = file.metadata().map_err(FormatError::io(path, "read"))?.len();
    let zip = ZipArchive::new(BufReader::with_capacity(1 << 18, file));
    let zip = zip.map_err(|e| Problem::new("file", "a zip, as torch.save writes it", e).at(path))?;
    let mut archive = Archive { zip, len, limit, folder: String::new() };
    let dictionary = archive.dictionary().map_err(|e| e.at(path))?;

    let n_nodes = dictionary.layout.n_nodes() as u64;
    let square = n_nodes.saturating_mul(n_nodes).saturating_mul(4);
    if square > limit.0 {
        let as_rows =
            (dictionary.layout.n_rows() as u64).saturating_mul(dictionary.layout.n_sources() as u64);
        let as_rows = as_rows.saturating_mul(4);
        return Err(FormatError::TooLarge {
            path: path.into(),
            n_nodes,
            needed: square,
            limit: limit.0,
            as_rows,
        });
    }
    let read = archive.graph(dictionary).map_err(|e| e.at(path))?;
    read.graph.validate().map_err(FormatError::graph(path))?;
    Ok(read)
}

/// The dictionary, with small tensors read and the square still in the file.
struct Dictionary {
    prompt: String,
    model: ModelInfo,
    tokenizer: String,
    transcoder_list: Vec<String>,
    targets: Vec<(String, u32)>,
    square: Tensor,
    features: Tensor,
    activations: Tensor,
    selected: Tensor,
    tokens: Tensor,
    weights: Tensor,
    layout: NodeLayout,
}

struct Archive {
    zip: ZipArchive<BufReader<File>>,
    len: u64,
    limit: PtLimit,
    /// With a slash at the end.
    folder: String,
}

impl Archive {
    fn dictionary(&mut self) -> Result<Dictionary, Problem> {
        let folder = self.zip.file_names().find_map(|name| {
            let folder = name.ok()?.strip_suffix("data.pkl")?.to_owned();
            (folder.len() > 1 && folder.find('/') == Some(folder.len() - 1)).then_some(folder)
        });
        self.folder = folder.ok_or_else(|| Problem::new("zip", "an entry <folder>/data.pkl", "none"))?;
        if let Some(order) = self.small("byteorder", 16)?
            && order != b"little"
        {
            let order = String::from_utf8_lossy(&order).into_owned();
            return Err(Problem::new("entry byteorder", "little", order));
        }
        let pickle = self.small("data.pkl", MAX_PICKLE_BYTES)?.unwrap_or_default();
        read_dictionary(&Objects::read(&pickle)?)
    }

    /// A small entry as a whole, if it is there.
    fn small(&mut self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Problem> {
        let name = format!("{}{name}", self.folder);
        if self.zip.index_for_name(&name).is_none() {
            return Ok(None);
        }
        let size = self.size(&name)?;
        if size > limit {
            return Err(Problem::new(entry(&name), format_args!("at most {limit} bytes"), size));
        }
        let mut bytes = Vec::new();
        let mut from = self.zip.by_name(&name).map_err(|e| damaged(&name, e))?.take(limit);
        from.read_to_end(&mut bytes).map_err(|e| damaged(&name, e))?;
        Ok(Some(bytes))
    }

    /// The size of an entry, if the file can hold what it claims.
    fn size(&mut self, name: &str) -> Result<u64, Problem> {
        let found = self.zip.by_name(name).map_err(|e| damaged(name, e))?;
        let (size, packed) = (found.size(), found.compressed_size());
        let possible = match found.compression() {
            CompressionMethod::Stored => packed,
            CompressionMethod::Deflated => packed.saturating_mul(MAX_RATIO),
            other => return Err(Problem::new(entry(name), "a stored or deflated entry", other)),
        };
        if packed > self.len || size > possible {
            let claim = format_args!("a claim of {size} from {packed}");
            return Err(Problem::new(
                entry(name),
                format_args!("bytes that a file of {} can hold", self.len),
                claim,
            ));
        }
        Ok(size)
    }

    /// Opens a tensor's storage, whose size is as the dictionary says, at the tensor's first number.
    fn storage(&mut self, key: &str, tensor: &Tensor) -> Result<impl Read, Problem> {
        let storage = &tensor.storage;
        let name = format!("{}data/{}", self.folder, storage.key);
        let expected = storage.len.saturating_mul(storage.dtype.bytes() as u64);
        let size = self.size(&name)?;
        if size != expected {
            return Err(Problem::new(
                format_args!("{key} in {name}"),
                format_args!("{expected} bytes"),
                size,
            ));
        }
        if size > self.limit.0 {
            let expected = format_args!("at most {} bytes, the limit of a .pt", self.limit.0);
            return Err(Problem::new(format_args!("{key} in {name}"), expected, size));
        }
        let mut from = self.zip.by_name(&name).map_err(|e| damaged(&name, e))?;
        let before = tensor.offset.saturating_mul(storage.dtype.bytes() as u64);
        io::copy(&mut from.by_ref().take(before), &mut io::sink()).map_err(|e| damaged(&name, e))?;
        Ok(from)
    }

    /// A small tensor in row-major order: read up to its last number, then picked by its strides, since Python saves
    /// `active_features` as a transposed view.
    fn values<T: Copy>(
        &mut self,
        key: &str,
        tensor: &Tensor,
        shape: &[usize],
        read: impl FnOnce(&mut dyn Read, usize, &mut Vec<T>) -> io::Result<()>,
    ) -> Result<Vec<T>, Problem> {
        let wanted: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
        if tensor.shape != wanted {
            return Err(Problem::new(
                key,
                format_args!("shape {wanted:?}"),
                format_args!("{:?}", tensor.shape),
            ));
        }
        if shape.contains(&0) {
            return Ok(Vec::new());
        }
        let mut steps = tensor.shape.iter().zip(&tensor.strides);
        let last = steps.try_fold(0u64, |last, (&d, &s)| (d - 1).checked_mul(s)?.checked_add(last));
        let end =
            last.and_then(|last| last.checked_add(tensor.offset)).filter(|&end| end < tensor.storage.len);
        // A stride of zero could make any number of values of one; no tensor of a graph repeats itself.
        let n_values = tensor.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        let n_values = n_values.filter(|&n| n <= tensor.storage.len).and_then(|n| usize::try_from(n).ok());
        let (Some(last), Some(_), Some(n_values)) = (last, end, n_values) else {
            let found = format_args!("offset {}, strides {:?}", tensor.offset, tensor.strides);
            return Err(Problem::new(key, format_args!("a view of {} numbers", tensor.storage.len), found));
        };
        let mut from = self.storage(key, tensor)?;
        // The storage is no larger than the file allows, and `last` lies in it.
        let n = usize::try_from(last).unwrap_or(usize::MAX).saturating_add(1);
        let mut values = reserve(key, n)?;
        read(&mut from, n, &mut values).map_err(|e| damaged(key, e))?;
        // To the end of the entry: only there its checksum is compared.
        io::copy(&mut from, &mut io::sink()).map_err(|e| damaged(key, e))?;

        let strides: Vec<usize> = tensor.strides.iter().map(|&s| usize::try_from(s).unwrap_or(0)).collect();
        let mut picked = reserve(key, n_values)?;
        match (shape, &*strides) {
            (&[rows, columns], &[by_row, by_column]) => {
                for row in 0..rows {
                    picked.extend((0..columns).map(|column| values[row * by_row + column * by_column]));
                }
            }
            (&[n], &[by]) => picked.extend((0..n).map(|i| values[i * by])),
            _ => return Err(Problem::new(key, "one or two dimensions", shape.len())),
        }
        Ok(picked)
    }

    fn floats(&mut self, key: &str, tensor: &Tensor, shape: &[usize]) -> Result<Vec<f32>, Problem> {
        let dtype = tensor.storage.dtype;
        if dtype.is_integer() {
            return Err(Problem::new(key, "floating numbers", format_args!("{dtype:?}")));
        }
        self.values(key, tensor, shape, |mut from, n, to| read_floats(&mut from, dtype, n, to))
    }

    /// Integers of a graph are indices of 32 bits.
    fn integers(&mut self, key: &str, tensor: &Tensor, shape: &[usize]) -> Result<Vec<u32>, Problem> {
        let dtype = tensor.storage.dtype;
        if !dtype.is_integer() {
            return Err(Problem::new(key, "integers", format_args!("{dtype:?}")));
        }
        let values =
            self.values(key, tensor, shape, |mut from, n, to| read_integers(&mut from, dtype, n, to))?;
        let index = |v: &i64| u32::try_from(*v).map_err(|_| Problem::new(key, "indices of 32 bits", v));
        values.iter().map(index).collect()
    }

    fn graph(&mut self, d: Dictionary) -> Result<PtGraph, Problem> {
        let layout = d.layout;
        let tokens: Vec<_> = self.integers("input_tokens", &d.tokens, &[layout.n_pos])?;
        let tokens: Vec<_> = tokens.into_iter().map(TokenId).collect();
        let n_active = length("activation_values", &d.activations)?;
        let features = self.integers("active_features", &d.features, &[n_active, 3])?;
        let feature = |f: &[u32]| FeatureId { layer: Layer(f[0]), pos: Pos(f[1]), index: FeatureIndex(f[2]) };
        let active = features.chunks_exact(3).map(feature).collect();
        let activations = self.floats("activation_values", &d.activations, &[n_active])?;
        let selected = self.integers("selected_features", &d.selected, &[layout.n_features])?;
        let weights = self.floats("logit_probabilities", &d.weights, &[layout.n_targets])?;
        let targets = d.targets.into_iter().zip(weights);
        let targets =
            targets.map(|((label, id), weight)| Target { label, token_id: TokenId(id), weight }).collect();

        let known = self.token_strings(layout.n_pos)?;
        let token_strings_known = known.is_some();
        let token_strings = known.unwrap_or_else(|| tokens.iter().map(|t| format!("<token {t}>")).collect());
        let rows = self.rows(&d.square, layout)?;
        let graph = Graph {
            prompt: d.prompt,
            tokens,
            token_strings,
            active,
            activations,
            selected: selected.into_iter().map(ActiveIndex).collect(),
            targets,
            rows,
            model: d.model,
        };
        Ok(PtGraph { graph, token_strings_known, tokenizer: d.tokenizer, transcoder_list: d.transcoder_list })
    }

    fn token_strings(&mut self, n_pos: usize) -> Result<Option<Vec<String>>, Problem> {
        let Some(bytes) = self.small(TOKEN_STRINGS, MAX_PICKLE_BYTES)? else { return Ok(None) };
        let strings: Vec<String> = serde_json::from_slice(&bytes)
            .map_err(|e| Problem::new(entry(TOKEN_STRINGS), "a list of texts", e))?;
        if strings.len() != n_pos {
            let expected = format_args!("a text for each of {n_pos} tokens");
            return Err(Problem::new(entry(TOKEN_STRINGS), expected, strings.len()));
        }
        Ok(Some(strings))
    }

    /// Reads the square row by row, and keeps the parts that can be other than zero.
    fn rows(&mut self, tensor: &Tensor, layout: NodeLayout) -> Result<Rows, Problem> {
        const KEY: &str = "adjacency_matrix";
        let n = layout.n_nodes();
        let dtype = tensor.storage.dtype;
        let (shape, end) = ([n as u64; 2], (n as u64).saturating_mul(n as u64).saturating_add(tensor.offset));
        if tensor.shape != shape
            || tensor.strides != [n as u64, 1]
            || end > tensor.storage.len
            || dtype.is_integer()
        {
            let expected = format_args!("{n} x {n} floating numbers, row after row");
            let found = format_args!("shape {:?}, strides {:?} of {dtype:?}", tensor.shape, tensor.strides);
            return Err(Problem::new(KEY, expected, found));
        }
        let mut from = self.storage(KEY, tensor)?;
        let mut values = reserve(KEY, layout.n_rows().saturating_mul(layout.n_sources()))?;
        let mut row: Vec<f32> = reserve(KEY, n)?;
        for (place, node) in (0..n).filter_map(|i| Some((i, layout.node(i.into())?))) {
            row.clear();
            read_floats(&mut from, dtype, n, &mut row).map_err(|e| damaged(KEY, e))?;
            let kept = if layout.row(node).is_some() { layout.n_sources() } else { 0 };
            if let Some(column) = row[kept..].iter().position(|&v| v != 0.0).map(|c| c + kept) {
                let what = format_args!("{KEY} row {place} ({node:?}), column {column}");
                return Err(Problem::new(what, "zero, since nothing is read there", row[column]));
            }
            values.extend_from_slice(&row[..kept]);
        }
        // For the checksum, as above.
        io::copy(&mut from, &mut io::sink()).map_err(|e| damaged(KEY, e))?;
        Rows::new(layout.n_sources(), values).map_err(|e| Problem::new(KEY, "whole rows", e))
    }
}

fn read_dictionary(objects: &Objects) -> Result<Dictionary, Problem> {
    let Object::Dict(entries) = objects.get(objects.root) else {
        return Err(Problem::new("pickle", "a dictionary", objects.get(objects.root).kind()));
    };
    let tensor = |key: &str| match objects.entry(entries, key) {
        Some(Object::Tensor(tensor)) => Ok(Tensor::clone(tensor)),
        other => Err(Problem::new(key, "a tensor", kind(other))),
    };
    let targets = match objects.entry(entries, "logit_targets") {
        Some(Object::List(list)) => {
            list.iter().map(|&t| target(objects, t)).collect::<Result<Vec<_>, _>>()?
        }
        other => return Err(Problem::new("logit_targets", "a list of LogitTarget", kind(other))),
    };
    let (mut model, tokenizer) = config(objects, objects.entry(entries, "cfg"))?;
    model.tokenizer_vocab = match objects.entry(entries, "vocab_size") {
        None | Some(Object::None) => model.d_vocab,
        found => size("vocab_size", found)?,
    };
    let mut transcoder_list = Vec::new();
    match objects.entry(entries, "scan") {
        None | Some(Object::None) => (),
        Some(Object::Text(scan)) => model.scan.clone_from(scan),
        Some(Object::List(list)) => {
            for &scan in list {
                transcoder_list.push(text("scan", Some(objects.get(scan)))?);
            }
            model.scan = list_name(&transcoder_list);
        }
        other => return Err(Problem::new("scan", "a text or a list of texts", kind(other))),
    }
    let (tokens, selected) = (tensor("input_tokens")?, tensor("selected_features")?);
    let (n_pos, n_features) = (length("input_tokens", &tokens)?, length("selected_features", &selected)?);
    let layout = NodeLayout { n_features, n_layers: model.n_layers, n_pos, n_targets: targets.len() };
    // From here on the layout's own sums cannot overflow.
    let n_sources = model.n_layers.checked_add(1).and_then(|n| n.checked_mul(n_pos));
    let n_nodes =
        n_sources.and_then(|n| n.checked_add(n_features)).and_then(|n| n.checked_add(targets.len()));
    if n_nodes.is_none_or(|n| u32::try_from(n).is_err()) || n_pos == 0 {
        return Err(Problem::new(
            "number of nodes",
            "tokens, and nodes that fit 32 bits",
            format_args!("{layout:?}"),
        ));
    }
    Ok(Dictionary {
        prompt: text("input_string", objects.entry(entries, "input_string"))?,
        model,
        tokenizer,
        transcoder_list,
        targets,
        square: tensor("adjacency_matrix")?,
        features: tensor("active_features")?,
        activations: tensor("activation_values")?,
        selected,
        tokens,
        weights: tensor("logit_probabilities")?,
        layout,
    })
}

fn target(objects: &Objects, handle: Handle) -> Result<(String, u32), Problem> {
    let Object::Target(label, id) = objects.get(handle) else {
        return Err(Problem::new("logit_targets", "a list of LogitTarget", objects.get(handle).kind()));
    };
    let label = text("label of a LogitTarget", Some(objects.get(*label)))?;
    let id = size("id of a LogitTarget", Some(objects.get(*id)))?;
    let id = u32::try_from(id).map_err(|_| Problem::new("id of a LogitTarget", "an index of 32 bits", id))?;
    Ok((label, id))
}

/// The model, without what stands outside `cfg`, and the tokenizer's name.
fn config(objects: &Objects, found: Option<&Object>) -> Result<(ModelInfo, String), Problem> {
    let fields = match found {
        Some(Object::Config(Some(state))) => objects.get(*state),
        other => return Err(Problem::new("cfg", "a UnifiedConfig", kind(other))),
    };
    let Object::Dict(fields) = fields else {
        return Err(Problem::new("cfg", "fields of a UnifiedConfig", fields.kind()));
    };
    let field = |key: &str| objects.entry(fields, key);
    let number = |key: &str| size(key, field(key));
    let n_heads = number("n_heads")?;
    let model = ModelInfo {
        name: text("model_name", field("model_name"))?,
        architecture: text("original_architecture", field("original_architecture"))?,
        n_layers: number("n_layers")?,
        d_model: number("d_model")?,
        d_head: number("d_head")?,
        n_heads,
        // Without a number of their own, keys and values have a head for each query.
        n_key_value_heads: match field("n_key_value_heads") {
            None | Some(Object::None) => n_heads,
            found => size("n_key_value_heads", found)?,
        },
        d_mlp: number("d_mlp")?,
        d_vocab: number("d_vocab")?,
        tokenizer_vocab: 0,
        dtype: match field("dtype") {
            None | Some(Object::None) => String::new(),
            Some(Object::Global(super::pickle::Global::Dtype(dtype))) => (*dtype).into(),
            found => text("dtype", found)?.trim_start_matches("torch.").into(),
        },
        scan: String::new(),
        first_token: None,
    };
    Ok((model, text("tokenizer_name", field("tokenizer_name"))?))
}

fn text(key: &str, found: Option<&Object>) -> Result<String, Problem> {
    match found {
        Some(Object::Text(text)) => Ok(text.clone()),
        other => Err(Problem::new(key, "a text", kind(other))),
    }
}

fn size(key: &str, found: Option<&Object>) -> Result<usize, Problem> {
    let problem = |found: &dyn std::fmt::Display| Problem::new(key, "a number of things", found);
    match found {
        Some(Object::Int(n)) => usize::try_from(*n).map_err(|_| problem(n)),
        other => Err(problem(&kind(other))),
    }
}

/// The length of a tensor of one dimension.
fn length(key: &str, tensor: &Tensor) -> Result<usize, Problem> {
    match *tensor.shape {
        [n] if n <= tensor.storage.len => Ok(usize::try_from(n).unwrap_or(usize::MAX)),
        _ => {
            let found = format_args!("shape {:?} of {} numbers", tensor.shape, tensor.storage.len);
            Err(Problem::new(key, "one dimension", found))
        }
    }
}

fn kind(found: Option<&Object>) -> &'static str {
    found.map_or("no such entry", Object::kind)
}

fn entry(name: &str) -> String {
    format!("entry {name}")
}

fn damaged(name: &str, error: impl std::fmt::Display) -> Problem {
    Problem::new(entry(name), "readable bytes", error)
}

/// A name for a list of transcoder sets. The reference hashes the joined names too, but with a salt that changes with
/// every process; this is FNV-1a.
fn list_name(list: &[String]) -> String {
    let hash = list
        .join("-")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("custom-{hash:016x}")
}
