//! Which tensors a described model needs, and what a checkpoint calls them.
//!
//! [`Part`] is a tensor by its role; a family's [`WeightMap`] turns it into a name and a layout. [`WeightSource`] is
//! whatever hands out parts: a checkpoint (`checkpoint.rs`), or a test that makes random ones. Shapes: `shapes.rs`.

use crate::ModelError;
use crate::packed::Matrix;
use circuit_index::Layer;
use std::fmt;
use std::path::PathBuf;
use tch::Tensor;

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
#[derive(Clone, Copy)]
pub(crate) enum Qkv {
    /// Each by itself.
    Separate { q: &'static str, k: &'static str, v: &'static str },
    /// One below the other in one matrix.
    Fused(&'static str),
}

/// How a checkpoint holds experts: all of a layer stacked in one tensor, each matrix `[in, out]`, or packed and then
/// `[out, in]` with `_blocks` and `_scales` behind its name.
#[derive(Clone, Copy)]
pub(crate) struct Experts {
    pub(crate) router: &'static str,
    /// Gate and linear half by turns: `[expert, d_model, 2 · d_mlp]`.
    pub(crate) gate_and_in: &'static str,
    /// `[expert, d_mlp, d_model]`.
    pub(crate) out: &'static str,
}

/// What a family's checkpoints call the parts; `{}` stands for the layer.
#[derive(Clone, Copy)]
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
    /// The names that the unembedding may have, without a prefix; the first that the checkpoint has is taken.
    pub(crate) unembed: &'static [&'static str],
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

impl WeightMap {
    /// The tensor that holds a part, and which of a fused one's three it is; none for an expert's part, or one that the family lacks.
    pub(crate) fn stored(&self, prefix: &str, part: Part) -> Option<(String, Option<usize>)> {
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
            Part::Unembed => whole(self.unembed[0].into()),
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
