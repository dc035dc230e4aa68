//! Shapes of published models and of their transcoder sets. Numbers only.

use circuit_index::LayerSite;
use circuit_model::spec::{
    Act, AttnSpec, EmbedSpec, Gain, Gate, LayerSpec, MlpSpec, ModelSpec, NormKind, NormPlaces, NormSpec,
    Reach, RopeScaling, RopeSpec, TranscoderHooks, UnembedSpec,
};
use std::num::NonZeroUsize;
use tch::Kind;

/// The sizes of a model and its per-layer transcoder set.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// What it is called.
    pub name: &'static str,
    /// Layers.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key-value heads.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Width of the MLP.
    pub d_mlp: usize,
    /// Size of the vocabulary.
    pub d_vocab: usize,
    /// Features of each layer.
    pub n_features: usize,
    /// Features that are active on average at each layer and position.
    pub l0: f64,
    /// Tokens of the prompt.
    pub n_pos: usize,
    /// Whether queries and keys have norms.
    pub qk_norm: bool,
    /// Whether norms stand after attention and MLP too, logits and scores have soft caps, and every other layer a window.
    pub post_norms: bool,
    /// Where transcoders read.
    pub reads: LayerSite,
    /// Where they write.
    pub writes: LayerSite,
}

const BENCH: Shape = Shape {
    name: "bench",
    n_layers: 12,
    d_model: 512,
    n_heads: 8,
    n_kv_heads: 4,
    d_head: 64,
    d_mlp: 1536,
    d_vocab: 8192,
    n_features: 8192,
    l0: 50.0,
    n_pos: 24,
    qk_norm: true,
    post_norms: false,
    reads: LayerSite::MlpIn,
    writes: LayerSite::MlpRawOut,
};

/// All shapes. Active features are those that published sets have on short prompts.
pub const SHAPES: &[Shape] = &[
    BENCH,
    Shape {
        name: "qwen3-4b",
        n_layers: 36,
        d_model: 2560,
        n_heads: 32,
        n_kv_heads: 8,
        d_head: 128,
        d_mlp: 9728,
        d_vocab: 151_936,
        n_features: 163_840,
        l0: 55.6,
        ..BENCH
    },
    Shape {
        name: "qwen3-14b",
        n_layers: 40,
        d_model: 5120,
        n_heads: 40,
        n_kv_heads: 8,
        d_head: 128,
        d_mlp: 17_408,
        d_vocab: 151_936,
        n_features: 163_840,
        l0: 55.6,
        ..BENCH
    },
    Shape {
        name: "gemma-2-2b",
        n_layers: 26,
        d_model: 2304,
        n_heads: 8,
        n_kv_heads: 4,
        d_head: 256,
        d_mlp: 9216,
        d_vocab: 256_000,
        n_features: 16_384,
        l0: 40.0,
        qk_norm: false,
        post_norms: true,
        reads: LayerSite::MlpNormalized,
        writes: LayerSite::MlpOut,
        ..BENCH
    },
    Shape {
        name: "llama-3.1-8b",
        n_layers: 32,
        d_model: 4096,
        n_heads: 32,
        n_kv_heads: 8,
        d_head: 128,
        d_mlp: 14_336,
        d_vocab: 128_256,
        n_features: 131_072,
        l0: 128.0,
        qk_norm: false,
        ..BENCH
    },
];

impl Shape {
    /// The shape of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        SHAPES.iter().find(|shape| shape.name == name).cloned()
    }

    /// Bytes of all weights, model and transcoders, in a type.
    #[must_use]
    pub fn weight_bytes(&self, kind: Kind) -> u64 {
        let (d, q, kv) = (self.d_model, self.n_heads * self.d_head, self.n_kv_heads * self.d_head);
        let layer = d * (2 * q + 2 * kv) + 3 * d * self.d_mlp + 2 * d * self.n_features;
        ((self.n_layers * layer + 2 * d * self.d_vocab) * kind.elt_size_in_bytes()) as u64
    }

    /// The model's description.
    #[must_use]
    pub fn spec(&self) -> ModelSpec {
        let norm = NormSpec { kind: NormKind::Rms, eps: 1e-6, gain: Gain::Plain };
        let attn = AttnSpec {
            n_heads: self.n_heads,
            n_kv_heads: self.n_kv_heads,
            d_head: self.d_head,
            scale: (self.d_head as f64).powf(-0.5),
            soft_cap: self.post_norms.then_some(50.0),
            qk_norm: self.qk_norm.then_some(norm),
            qkv_bias: false,
            out_bias: false,
            reach: Reach::Global,
            rope: Some(RopeSpec { theta: 1e6, scaling: RopeScaling::None }),
            sinks: false,
        };
        let mlp =
            MlpSpec { d_mlp: self.d_mlp, act: Act::Silu, gate: Gate::Linear, bias: false, experts: None };
        let window = NonZeroUsize::new(4096).filter(|_| self.post_norms);
        let layers = (0..self.n_layers).map(|l| LayerSpec {
            attn: AttnSpec {
                reach: window.filter(|_| l % 2 == 0).map_or(Reach::Global, Reach::Window),
                ..attn.clone()
            },
            mlp: mlp.clone(),
            norms: match self.post_norms {
                true => NormPlaces::PrePost { attn: [norm; 2], mlp: [norm; 2] },
                false => NormPlaces::Pre { attn: norm, mlp: norm },
            },
        });
        ModelSpec {
            architecture: "random".into(),
            d_model: self.d_model,
            d_vocab: self.d_vocab,
            n_ctx: self.n_pos.max(8192),
            embed: EmbedSpec { scale: None, learned_positions: false },
            layers: layers.collect(),
            final_norm: norm,
            unembed: UnembedSpec { tied: false, soft_cap: self.post_norms.then_some(30.0) },
            ignored_positions: 1,
            transcoder_hooks: TranscoderHooks { reads: self.reads, writes: self.writes },
        }
    }
}
