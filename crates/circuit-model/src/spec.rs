//! The description of a model: everything that differs between families, as data.
//!
//! A family's file fills a [`ModelSpec`] from the Hugging Face config; the forward pass reads nothing else. Layers are a
//! list, not a pattern: "every other layer has a window" is expanded once, by the family. No weights and no arithmetic
//! here.

use circuit_index::{Layer, LayerSite, Site};
use std::num::NonZeroUsize;

/// A language model, described.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// Hugging Face architecture, for example `Qwen3ForCausalLM`.
    pub architecture: String,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Size of the vocabulary (rows of the embedding).
    pub d_vocab: usize,
    /// Longest prompt, in tokens.
    pub n_ctx: usize,
    /// How tokens enter the stream.
    pub embed: EmbedSpec,
    /// The blocks, first to last.
    pub layers: Vec<LayerSpec>,
    /// The norm before the unembedding.
    pub final_norm: NormSpec,
    /// How the stream becomes logits.
    pub unembed: UnembedSpec,
    /// How many leading positions have neither features nor errors: their activations are outliers of no meaning.
    pub ignored_positions: usize,
    /// Where transcoders of this family's models read and write unless something else is chosen.
    pub transcoder_hooks: TranscoderHooks,
}

/// A pair of hooks for transcoders. In Gemma-2 and later a norm stands between the MLP and the stream, so that `mlp.hook_out` is not what
/// the MLP adds to it; the Python library knows other pairs there than elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TranscoderHooks {
    /// Where features read.
    pub reads: LayerSite,
    /// Where features write.
    pub writes: LayerSite,
}

/// What the MLP reads and puts out, as in most published sets.
impl Default for TranscoderHooks {
    fn default() -> Self {
        Self { reads: LayerSite::MlpIn, writes: LayerSite::MlpRawOut }
    }
}

/// How tokens enter the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedSpec {
    /// The token embedding is multiplied by this, rounded to the type of the weights (Gemma: √d_model).
    pub scale: Option<f64>,
    /// Whether a learned embedding of the position is added.
    pub learned_positions: bool,
}

/// One block: `mid = x + attn(norm(x))`, then `out = mid + mlp(norm(mid))`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// Attention.
    pub attn: AttnSpec,
    /// The MLP.
    pub mlp: MlpSpec,
    /// Where norms stand.
    pub norms: NormPlaces,
}

/// Where the norms of a block stand.
#[derive(Clone, Debug, PartialEq)]
pub enum NormPlaces {
    /// Before attention and before the MLP.
    Pre {
        /// The norm before attention.
        attn: NormSpec,
        /// The norm before the MLP.
        mlp: NormSpec,
    },
    /// Before and after each; the second of a pair stands between the output and the stream.
    PrePost {
        /// Around attention.
        attn: [NormSpec; 2],
        /// Around the MLP.
        mlp: [NormSpec; 2],
    },
}

impl NormPlaces {
    /// The norm before attention.
    #[must_use]
    pub fn attn(&self) -> NormSpec {
        match self {
            Self::Pre { attn, .. } | Self::PrePost { attn: [attn, _], .. } => *attn,
        }
    }

    /// The norm before the MLP.
    #[must_use]
    pub fn mlp(&self) -> NormSpec {
        match self {
            Self::Pre { mlp, .. } | Self::PrePost { mlp: [mlp, _], .. } => *mlp,
        }
    }

    /// The norm after attention, where there is one.
    #[must_use]
    pub fn attn_post(&self) -> Option<NormSpec> {
        match self {
            Self::Pre { .. } => None,
            Self::PrePost { attn: [_, post], .. } => Some(*post),
        }
    }

    /// The norm after the MLP, where there is one.
    #[must_use]
    pub fn mlp_post(&self) -> Option<NormSpec> {
        match self {
            Self::Pre { .. } => None,
            Self::PrePost { mlp: [_, post], .. } => Some(*post),
        }
    }
}

/// A norm: `gain · P(x) / scale + bias`, with `scale = sqrt(mean(P(x)²) + eps)`. Computed in fp32 (f64 for f64 weights) and
/// rounded to the type of the weights once, at the end, in every family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormSpec {
    /// What `P` is, and whether there is a bias.
    pub kind: NormKind,
    /// Added below the root.
    pub eps: f64,
    /// How the stored weight becomes the gain.
    pub gain: Gain,
}

/// The two norms in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// Root mean square: `P` is the identity, no bias (Zhang & Sennrich, 2019).
    Rms,
    /// LayerNorm: `P` subtracts the mean over the width; there is a bias (Ba et al., 2016).
    Layer,
}

/// How a stored norm weight becomes the gain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    /// The weight is the gain.
    Plain,
    /// The gain is one plus the weight, added in fp32 (Gemma).
    OnePlus,
}

/// Attention.
#[derive(Clone, Debug, PartialEq)]
pub struct AttnSpec {
    /// Query heads.
    pub n_heads: usize,
    /// Key-value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Scores are multiplied by this.
    pub scale: f64,
    /// Scores go through `cap · tanh(score / cap)`.
    pub soft_cap: Option<f64>,
    /// A norm over each head of queries and keys before rotation.
    pub qk_norm: Option<NormSpec>,
    /// Whether the projections to queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the output projection has a bias.
    pub out_bias: bool,
    /// Which keys a query sees.
    pub reach: Reach,
    /// Rotary positions, where they are used.
    pub rope: Option<RopeSpec>,
    /// Whether each head has a sink: a score of its own that takes a share of every query's attention and passes nothing on.
    pub sinks: bool,
}

/// Which keys a query sees: never later ones, and of the earlier ones all or a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All.
    Global,
    /// Exactly this many tokens, itself included.
    Window(NonZeroUsize),
}

/// Rotary position embedding (Su et al., 2021), halves rotated against each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeSpec {
    /// Base of the frequencies.
    pub theta: f64,
    /// How frequencies are stretched for long prompts.
    pub scaling: RopeScaling,
}

/// How rotary frequencies are stretched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All divided by the factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Llama 3.1's: low frequencies divided by the factor, high ones kept, a ramp between.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Wavelengths longer than `original / low_freq_factor` are stretched fully.
        low_freq_factor: f64,
        /// Wavelengths shorter than `original / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length before the stretch.
        original_max_position_embeddings: f64,
    },
    /// YaRN (Peng et al., 2023): components that turn seldom within the old context divided by the factor, those that turn
    /// often kept, a ramp between; queries and keys lengthened.
    Yarn {
        /// The factor.
        factor: f64,
        /// Components with more turns than this within the old context are kept.
        beta_fast: f64,
        /// Components with fewer turns than this are stretched fully.
        beta_slow: f64,
        /// Context length before the stretch.
        original_max_position_embeddings: f64,
        /// Whether the ends of the ramp are rounded outwards to whole components.
        truncate: bool,
        /// Rotated queries and keys are multiplied by this.
        attention_factor: f64,
    },
}

/// The MLP.
#[derive(Clone, Debug, PartialEq)]
pub struct MlpSpec {
    /// Width between the two projections.
    pub d_mlp: usize,
    /// The activation function.
    pub act: Act,
    /// What the activation is multiplied by.
    pub gate: Gate,
    /// Whether the projections have biases.
    pub bias: bool,
    /// Where there is not one such MLP but many, of which a router chooses some for each position.
    pub experts: Option<ExpertsSpec>,
}

/// What the activation of an MLP is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    /// Nothing: `act(in)`.
    None,
    /// A second, linear projection: `act(gate) · in`.
    Linear,
    /// The same with both halves clamped and one added to the linear one: `act(min(gate, limit)) · (clamp(in, ±limit) + 1)`.
    Clamped {
        /// The limit.
        limit: f64,
    },
}

/// A mixture of experts: MLPs of one shape, weighted by the softmax of the scores of those that are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertsSpec {
    /// How many there are.
    pub n_experts: usize,
    /// How many are chosen for each position: those with the highest scores.
    pub n_chosen: usize,
}

/// Activation functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `x · sigmoid(x)`.
    Silu,
    /// GELU by its tanh formula.
    GeluTanh,
    /// GELU, exact.
    Gelu,
    /// `x · sigmoid(1.702 x)`, which is nearly GELU.
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
}

/// How the stream becomes logits.
#[derive(Clone, Debug, PartialEq)]
pub struct UnembedSpec {
    /// Whether the embedding is used again.
    pub tied: bool,
    /// Logits go through `cap · tanh(logit / cap)`.
    pub soft_cap: Option<f64>,
}

impl ModelSpec {
    /// Number of blocks.
    #[must_use]
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// All sites this model visits, in the order of the forward pass.
    #[must_use]
    pub fn sites(&self) -> Vec<Site> {
        let mut sites = vec![Site::Embed];
        if self.embed.learned_positions {
            sites.push(Site::PosEmbed);
        }
        for (l, layer) in self.layers.iter().enumerate() {
            let has = |site: &LayerSite| match site {
                LayerSite::QNormScale | LayerSite::KNormScale => layer.attn.qk_norm.is_some(),
                LayerSite::AttnPostScale => layer.norms.attn_post().is_some(),
                LayerSite::MlpPostScale => layer.norms.mlp_post().is_some(),
                // Experts have inner values for the positions that chose them alone.
                LayerSite::MlpPre | LayerSite::MlpPost => layer.mlp.experts.is_none(),
                _ => true,
            };
            let here = LayerSite::ALL.iter().copied().filter(has);
            sites.extend(here.map(|site| Site::Block(Layer::from(l), site)));
        }
        sites.extend([Site::FinalNormScale, Site::FinalNormalized, Site::UnembedIn, Site::LogitsBeforeCap]);
        sites
    }

    /// The sites that full freezing holds: all attention patterns and all norm denominators.
    #[must_use]
    pub fn frozen_sites(&self) -> Vec<Site> {
        let frozen = |site: &Site| match site {
            Site::FinalNormScale => true,
            Site::Block(_, site) => matches!(
                site,
                LayerSite::Pattern
                    | LayerSite::AttnNormScale
                    | LayerSite::AttnPostScale
                    | LayerSite::QNormScale
                    | LayerSite::KNormScale
                    | LayerSite::MlpNormScale
                    | LayerSite::MlpPostScale
            ),
            _ => false,
        };
        self.sites().into_iter().filter(frozen).collect()
    }
}
