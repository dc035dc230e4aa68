//! Which tensors a described model needs, and what a checkpoint calls them.
//!
//! [`Part`] is a tensor by its role; a family's [`WeightMap`] turns it into a name and a layout. [`WeightSource`] is
//! whatever hands out parts: a [`Checkpoint`], or a test that makes random ones.

use crate::ModelError;
use crate::packed::{BLOCK, Matrix, Mxfp4};
use crate::spec::ModelSpec;
use circuit_index::Layer;
use circuit_torch::{Access, TensorStore};
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// A tensor of a model by its role. Projections are `[out, in]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// `W_E [d_vocab, d_model]`.
    Embed,
    /// `W_pos [n_ctx, d_model]`.
    PosEmbed,
    /// Stored weight of the last norm, `[d_model]`.
    FinalNormGain,
    /// Bias of the last norm, `[d_model]`.
    FinalNormBias,
    /// `W_U` as `[d_vocab, d_model]`.
    Unembed,
    /// A tensor of a block.
    Block(Layer, BlockPart),
}

/// A tensor of a block by its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockPart {
    /// Stored weight (`false`) or bias (`true`) of a norm.
    Norm(NormPlace, bool),
    /// Weight (`false`) or bias (`true`) of a projection.
    Linear(Linear, bool),
    /// The same of one expert's projection; its matrices come through [`WeightSource::matrix`].
    Expert(usize, Linear, bool),
    /// Scores of the heads' attention sinks, `[n_heads]`.
    Sinks,
}

/// The norms of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormPlace {
    /// Before attention.
    Attn,
    /// After attention.
    AttnPost,
    /// Over each head of the queries.
    Q,
    /// Over each head of the keys.
    K,
    /// Before the MLP.
    Mlp,
    /// After the MLP.
    MlpPost,
}

/// The projections of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Linear {
    /// To queries, `[n_heads * d_head, d_model]`.
    Q,
    /// To keys, `[n_kv_heads * d_head, d_model]`.
    K,
    /// To values, `[n_kv_heads * d_head, d_model]`.
    V,
    /// Out of attention, `[d_model, n_heads * d_head]`.
    O,
    /// To the gate of the MLP, `[d_mlp, d_model]`.
    Gate,
    /// Into the MLP, `[d_mlp, d_model]`.
    In,
    /// Out of the MLP, `[d_model, d_mlp]`.
    Out,
    /// To the scores of experts, `[n_experts, d_model]`.
    Router,
}

impl fmt::Display for Part {
    /// A name after TransformerLens's, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embed => f.write_str("embed.W_E"),
            Self::PosEmbed => f.write_str("pos_embed.W_pos"),
            Self::FinalNormGain => f.write_str("ln_final.w"),
            Self::FinalNormBias => f.write_str("ln_final.b"),
            Self::Unembed => f.write_str("unembed.W_U"),
            Self::Block(layer, part) => write!(f, "blocks.{layer}.{part:?}"),
        }
    }
}

/// How a checkpoint holds queries, keys and values.
pub(crate) enum Qkv {
    /// Each by itself.
    Separate { q: &'static str, k: &'static str, v: &'static str },
    /// One below the other in one matrix.
    Fused(&'static str),
}

/// How a checkpoint holds experts: all of a layer stacked in one tensor, each matrix `[in, out]`, or packed and then
/// `[out, in]` with `_blocks` and `_scales` behind its name.
pub(crate) struct Experts {
    pub(crate) router: &'static str,
    /// Gate and linear half by turns: `[expert, d_model, 2 · d_mlp]`.
    pub(crate) gate_and_in: &'static str,
    /// `[expert, d_mlp, d_model]`.
    pub(crate) out: &'static str,
}

/// What a family's checkpoints call the parts; `{}` stands for the layer.
pub(crate) struct WeightMap {
    /// What may stand in front of every name but the unembedding's; the first that the checkpoint has is taken.
    pub(crate) prefixes: &'static [&'static str],
    pub(crate) embed: &'static str,
    pub(crate) pos_embed: Option<&'static str>,
    pub(crate) block: &'static str,
    pub(crate) attn_norm: &'static str,
    pub(crate) attn_post_norm: Option<&'static str>,
    pub(crate) mlp_norm: &'static str,
    pub(crate) mlp_post_norm: Option<&'static str>,
    pub(crate) qkv: Qkv,
    pub(crate) q_norm: &'static str,
    pub(crate) k_norm: &'static str,
    pub(crate) attn_out: &'static str,
    pub(crate) mlp_gate: &'static str,
    pub(crate) mlp_in: &'static str,
    pub(crate) mlp_out: &'static str,
    pub(crate) experts: Option<Experts>,
    pub(crate) sinks: Option<&'static str>,
    pub(crate) final_norm: &'static str,
    pub(crate) unembed: &'static str,
    /// Whether projections are stored `[in, out]`.
    pub(crate) transposed: bool,
    /// Ends of names that are no weights.
    pub(crate) ignored: &'static [&'static str],
    /// Starts of names of what stands beside the language model, such as a vision tower.
    pub(crate) beside: &'static [&'static str],
}

/// The weights of a model by what becomes of them, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightSizes {
    /// The files and their lengths.
    pub files: Vec<(PathBuf, u64)>,
    /// What is read of them.
    pub read: u64,
    /// What is used where the mapped file has it.
    pub mapped: u64,
    /// Of it, what is read in rows alone: an embedding that is not the unembedding too.
    pub rows_alone: u64,
    /// What is allocated for weights that change their type or go to a GPU.
    pub allocated: u64,
    /// The largest of these in the file.
    pub largest: u64,
}

/// Whatever hands out the tensors of a model.
pub trait WeightSource {
    /// The tensor for a part, of exactly this shape.
    ///
    /// # Errors
    /// If there is none, or one of another shape or type.
    fn tensor(&mut self, part: Part, shape: &[i64]) -> Result<Tensor, ModelError>;

    /// An expert's matrix, of exactly this shape, plain or packed.
    ///
    /// # Errors
    /// As [`WeightSource::tensor`].
    fn matrix(&mut self, part: Part, shape: [i64; 2]) -> Result<Matrix, ModelError> {
        Ok(Matrix::Plain(self.tensor(part, &shape)?))
    }
}

/// The safetensors of a model folder, read through a family's names.
pub(crate) struct Checkpoint {
    store: TensorStore,
    map: WeightMap,
    prefix: &'static str,
    /// Widths of queries, keys and values per layer, to cut fused ones.
    qkv: Vec<[i64; 3]>,
    /// Experts per layer, to cut stacked ones.
    n_experts: Vec<i64>,
}

impl Checkpoint {
    pub(crate) fn open(folder: &Path, spec: &ModelSpec, map: WeightMap) -> Result<Self, ModelError> {
        let store = TensorStore::open(folder, &weight_files(folder)?)?;
        let has = |prefix: &&&str| store.contains(&format!("{prefix}{}", map.embed));
        let prefix = map.prefixes.iter().find(has).copied().unwrap_or(map.prefixes[0]);
        let widths = spec.layers.iter().map(|l| {
            let (q, kv) = (l.attn.n_heads * l.attn.d_head, l.attn.n_kv_heads * l.attn.d_head);
            [q as i64, kv as i64, kv as i64]
        });
        let n_experts = spec.layers.iter().map(|l| l.mlp.experts.map_or(0, |e| e.n_experts as i64));
        Ok(Self { prefix, qkv: widths.collect(), n_experts: n_experts.collect(), store, map })
    }

    /// Refuses a checkpoint with tensors that the description does not use.
    pub(crate) fn finish(&self, tied: bool) -> Result<(), ModelError> {
        match self.store.unused().into_iter().find(|(_, name)| !self.is_left_alone(name, tied)) {
            None => Ok(()),
            Some((path, name)) => Err(ModelError::UnusedTensor { path: path.into(), name: name.into() }),
        }
    }

    /// Whether a tensor is known to be none of the model's.
    fn is_left_alone(&self, name: &str, tied: bool) -> bool {
        self.map.ignored.iter().any(|end| name.ends_with(end))
            || self.map.beside.iter().any(|start| name.starts_with(start))
            || (tied && name.ends_with(self.map.unembed))
    }

    /// What becomes of the weights in a type and on a device.
    pub(crate) fn sizes(
        &self,
        spec: &ModelSpec,
        kind: Kind,
        device: Device,
    ) -> Result<WeightSizes, ModelError> {
        let lengths = self.store.files().iter().map(|file| (file.path().to_owned(), file.len_bytes()));
        let mut sizes = WeightSizes { files: lengths.collect(), ..WeightSizes::default() };
        let embed = format!("{}{}", self.prefix, self.map.embed);
        for header in self.store.headers().filter(|h| !self.is_left_alone(h.name, spec.unembed.tied)) {
            sizes.read += header.bytes;
            // Packed numbers stay packed.
            let packed = header.kind == Some(Kind::Uint8);
            let same = packed || header.kind == Some(kind);
            if same && header.access == Access::Mapped && device == Device::Cpu {
                sizes.mapped += header.bytes;
                if header.name == embed && !spec.unembed.tied {
                    sizes.rows_alone += header.bytes;
                }
            } else {
                let width = if packed { 1 } else { kind.elt_size_in_bytes() as u64 };
                sizes.allocated += header.numbers * width;
                sizes.largest = sizes.largest.max(header.bytes);
            }
        }
        Ok(sizes)
    }

    fn block_name(&self, layer: Layer, end: &str) -> String {
        format!("{}{}{end}", self.prefix, self.map.block.replace("{}", &layer.to_string()))
    }
}

impl WeightMap {
    /// The tensor that holds a part, and which of a fused one's three it is; none for an expert's part, or one that the family lacks.
    fn stored(&self, prefix: &str, part: Part) -> Option<(String, Option<usize>)> {
        let end = |bias: bool| if bias { ".bias" } else { ".weight" };
        let block = |layer: Layer, end: &str| {
            format!("{prefix}{}{end}", self.block.replace("{}", &layer.to_string()))
        };
        let whole = |name: String| Some((name, None));
        match part {
            Part::Embed => whole(format!("{prefix}{}", self.embed)),
            Part::PosEmbed => whole(format!("{prefix}{}", self.pos_embed?)),
            Part::FinalNormGain => whole(format!("{prefix}{}.weight", self.final_norm)),
            Part::FinalNormBias => whole(format!("{prefix}{}.bias", self.final_norm)),
            Part::Unembed => whole(self.unembed.into()),
            Part::Block(layer, BlockPart::Norm(place, bias)) => {
                let norm = match place {
                    NormPlace::Attn => self.attn_norm,
                    NormPlace::AttnPost => self.attn_post_norm?,
                    NormPlace::Q => self.q_norm,
                    NormPlace::K => self.k_norm,
                    NormPlace::Mlp => self.mlp_norm,
                    NormPlace::MlpPost => self.mlp_post_norm?,
                };
                whole(block(layer, &format!("{norm}{}", end(bias))))
            }
            Part::Block(layer, BlockPart::Linear(linear, bias)) => {
                let (matrix, cut) = match (linear, &self.qkv) {
                    (Linear::Q, Qkv::Separate { q, .. }) => (*q, None),
                    (Linear::K, Qkv::Separate { k, .. }) => (*k, None),
                    (Linear::V, Qkv::Separate { v, .. }) => (*v, None),
                    (Linear::Q, Qkv::Fused(fused)) => (*fused, Some(0)),
                    (Linear::K, Qkv::Fused(fused)) => (*fused, Some(1)),
                    (Linear::V, Qkv::Fused(fused)) => (*fused, Some(2)),
                    (Linear::O, _) => (self.attn_out, None),
                    (Linear::Gate, _) => (self.mlp_gate, None),
                    (Linear::In, _) => (self.mlp_in, None),
                    (Linear::Out, _) => (self.mlp_out, None),
                    (Linear::Router, _) => (self.experts.as_ref()?.router, None),
                };
                Some((block(layer, &format!("{matrix}{}", end(bias))), cut))
            }
            Part::Block(layer, BlockPart::Sinks) => whole(block(layer, self.sinks?)),
            Part::Block(_, BlockPart::Expert(..)) => None,
        }
    }

    /// What a new checkpoint calls a part; none where a part is no tensor of its own, as it is used.
    pub(crate) fn name(&self, part: Part) -> Option<String> {
        let (name, cut) = self.stored(self.prefixes[0], part)?;
        let turned = self.transposed && matches!(part, Part::Block(_, BlockPart::Linear(_, false)));
        (cut.is_none() && !turned).then_some(name)
    }
}

impl WeightSource for Checkpoint {
    fn tensor(&mut self, part: Part, shape: &[i64]) -> Result<Tensor, ModelError> {
        let absent = || ModelError::Undescribed { part: part.to_string() };
        if let Part::Block(layer, BlockPart::Expert(expert, linear, bias)) = part {
            let (stacked, half) = self.stacked(layer, linear).ok_or_else(absent)?;
            return self.expert(&stacked, half, (self.n_experts[layer.get()], expert), shape, bias);
        }
        let (name, cut) = self.map.stored(self.prefix, part).ok_or_else(absent)?;
        if let Part::Block(layer, BlockPart::Linear(..)) = part {
            return self.linear(&name, shape, cut.map(|i| (self.qkv[layer.get()], i)));
        }
        Ok(self.store.tensor(&name, shape)?)
    }

    fn matrix(&mut self, part: Part, shape: [i64; 2]) -> Result<Matrix, ModelError> {
        if let Part::Block(layer, BlockPart::Expert(expert, linear, false)) = part
            && let Some((stacked, half)) = self.stacked(layer, linear)
            && self.store.contains(&format!("{stacked}_blocks"))
            && shape[1] % BLOCK == 0
        {
            return self.packed_expert(&stacked, half, (self.n_experts[layer.get()], expert), shape);
        }
        Ok(Matrix::Plain(self.tensor(part, &shape)?))
    }
}

impl Checkpoint {
    /// A projection's weight or bias as `[out, …]`, cut out of a fused one and turned where the checkpoint asks for it.
    fn linear(
        &self,
        name: &str,
        shape: &[i64],
        cut: Option<([i64; 3], usize)>,
    ) -> Result<Tensor, ModelError> {
        let mut stored = shape.to_vec();
        if let Some((widths, _)) = cut {
            stored[0] = widths.iter().sum();
        }
        let turned = self.map.transposed && stored.len() == 2;
        if turned {
            stored.swap(0, 1);
        }
        let mut tensor = self.store.tensor(name, &stored)?;
        if turned {
            tensor = tensor.f_transpose(0, 1).map_err(circuit_torch::TorchError::from)?;
        }
        if let Some((widths, i)) = cut {
            let start = widths[..i].iter().sum();
            tensor = tensor.f_narrow(0, start, widths[i]).map_err(circuit_torch::TorchError::from)?;
        }
        Ok(tensor)
    }
}

/// Which rows of a stacked tensor belong to a projection: all, or every second one from this.
type Half = Option<i64>;

impl Checkpoint {
    /// The stacked tensor that holds an expert's projection, and which of its rows do.
    fn stacked(&self, layer: Layer, linear: Linear) -> Option<(String, Half)> {
        let experts = self.map.experts.as_ref()?;
        let (name, half) = match linear {
            Linear::Gate => (experts.gate_and_in, Some(0)),
            Linear::In => (experts.gate_and_in, Some(1)),
            Linear::Out => (experts.out, None),
            _ => return None,
        };
        Some((self.block_name(layer, name), half))
    }

    /// A plain matrix or a bias of one expert (of so many) as `[out, …]`.
    fn expert(
        &self,
        stacked: &str,
        half: Half,
        (n_experts, expert): (i64, usize),
        shape: &[i64],
        bias: bool,
    ) -> Result<Tensor, ModelError> {
        let rows = rows_of(shape[0], half);
        let (name, stored) = match bias {
            true => (format!("{stacked}_bias"), vec![n_experts, rows]),
            false => (stacked.to_owned(), vec![n_experts, shape[1], rows]),
        };
        let tensor = self.store.tensor(&name, &stored)?;
        let pick = || {
            let tensor = tensor.f_get(expert as i64)?;
            pick_half(if bias { tensor } else { tensor.f_tr()? }, half)
        };
        Ok(pick().map_err(circuit_torch::TorchError::from)?)
    }

    /// A packed matrix of one expert (of so many).
    fn packed_expert(
        &self,
        stacked: &str,
        half: Half,
        (n_experts, expert): (i64, usize),
        [out, input]: [i64; 2],
    ) -> Result<Matrix, ModelError> {
        let rows = rows_of(out, half);
        let n_blocks = input / BLOCK;
        let blocks =
            self.store.bytes(&format!("{stacked}_blocks"), &[n_experts, rows, n_blocks, BLOCK / 2])?;
        let scales = self.store.bytes(&format!("{stacked}_scales"), &[n_experts, rows, n_blocks])?;
        let pick = |tensor: &Tensor| pick_half(tensor.f_get(expert as i64)?, half);
        let packed = pick(&blocks).and_then(|blocks| Ok(Mxfp4 { blocks, scales: pick(&scales)? }));
        Ok(Matrix::Mxfp4(packed.map_err(circuit_torch::TorchError::from)?))
    }
}

fn rows_of(out: i64, half: Half) -> i64 {
    if half.is_some() { 2 * out } else { out }
}

fn pick_half(tensor: Tensor, half: Half) -> Result<Tensor, tch::TchError> {
    match half {
        Some(first) => tensor.f_slice(0, first, None::<i64>, 2),
        None => Ok(tensor),
    }
}

/// The safetensors files of a model folder: those of the index, or the single one.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let index = folder.join("model.safetensors.index.json");
    let bad = |reason: &str| ModelError::Index { path: index.clone(), reason: reason.into() };
    let text = match std::fs::read(&index) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec!["model.safetensors".into()]),
        Err(e) => return Err(bad(&e.to_string())),
    };
    let value: Value = serde_json::from_slice(&text).map_err(|e| bad(&e.to_string()))?;
    let map =
        value.get("weight_map").and_then(Value::as_object).ok_or_else(|| bad("no object `weight_map`"))?;
    let mut files = std::collections::BTreeSet::new();
    for (tensor, file) in map {
        let file = file.as_str().ok_or_else(|| bad(&format!("`{tensor}` names no file")))?;
        // An index may only name files beside it.
        if Path::new(file).components().count() != 1 || file == ".." {
            return Err(bad(&format!("`{tensor}` lies in `{file}`, outside the folder")));
        }
        files.insert(PathBuf::from(file));
    }
    Ok(files.into_iter().collect())
}
