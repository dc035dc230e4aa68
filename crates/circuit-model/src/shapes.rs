//! The tensors that a described model needs, each with its shape: the one list by which weights are read and headers judged.
//!
//! A pure function of the description. Not here: what checkpoints call the tensors.

use crate::names::{BlockPart, Linear, NormPlace, Part};
use crate::spec::{Gate, LayerSpec, ModelSpec, NormKind};
use circuit_index::Layer;

impl ModelSpec {
    /// The shape of a tensor, `None` if the described model has no such tensor. Projections are `[out, in]`.
    pub(crate) fn shape_of(&self, part: Part) -> Option<Vec<i64>> {
        let (d, vocab) = (self.d_model as i64, self.d_vocab as i64);
        match part {
            Part::Embed => Some(vec![vocab, d]),
            Part::PosEmbed => self.embed.learned_positions.then(|| vec![self.n_ctx as i64, d]),
            Part::FinalNormGain => Some(vec![d]),
            Part::FinalNormBias => (self.final_norm.kind == NormKind::Layer).then(|| vec![d]),
            Part::Unembed => (!self.unembed.tied).then(|| vec![vocab, d]),
            Part::Block(layer, part) => self.layers.get(layer.get())?.shape_of(part, d),
        }
    }

    /// All tensors that the described model needs, with their shapes, in the order in which they are read.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (Part, Vec<i64>)> {
        let blocks = self
            .layers
            .iter()
            .enumerate()
            .flat_map(|(l, layer)| layer.candidates().map(move |part| Part::Block(Layer::from(l), part)));
        let parts = [Part::Embed, Part::PosEmbed].into_iter().chain(blocks);
        let parts = parts.chain([Part::FinalNormGain, Part::FinalNormBias, Part::Unembed]);
        parts.filter_map(|part| Some((part, self.shape_of(part)?)))
    }
}

impl LayerSpec {
    fn shape_of(&self, part: BlockPart, d: i64) -> Option<Vec<i64>> {
        let (attn, mlp) = (&self.attn, &self.mlp);
        let d_head = attn.d_head as i64;
        match part {
            BlockPart::Norm(place, bias) => {
                let (norm, width) = match place {
                    NormPlace::Attn => (self.norms.attn(), d),
                    NormPlace::AttnPost => (self.norms.attn_post()?, d),
                    NormPlace::Q | NormPlace::K => (attn.qk_norm?, d_head),
                    NormPlace::Mlp => (self.norms.mlp(), d),
                    NormPlace::MlpPost => (self.norms.mlp_post()?, d),
                };
                (!bias || norm.kind == NormKind::Layer).then(|| vec![width])
            }
            BlockPart::Linear(linear @ (Linear::Q | Linear::K | Linear::V | Linear::O), bias) => {
                let (q, kv) = (attn.n_heads as i64 * d_head, attn.n_kv_heads as i64 * d_head);
                let (out, input, has_bias) = match linear {
                    Linear::Q => (q, d, attn.qkv_bias),
                    Linear::O => (d, q, attn.out_bias),
                    _ => (kv, d, attn.qkv_bias),
                };
                projection(out, input, bias, has_bias)
            }
            BlockPart::Linear(Linear::Router, bias) => {
                projection(mlp.experts?.n_experts as i64, d, bias, true)
            }
            BlockPart::Linear(linear, bias) => match mlp.experts {
                None => self.mlp_shape(linear, bias, d),
                Some(_) => None,
            },
            BlockPart::Expert(expert, linear, bias) => match mlp.experts {
                Some(experts) if expert < experts.n_experts => self.mlp_shape(linear, bias, d),
                _ => None,
            },
            BlockPart::Sinks => attn.sinks.then(|| vec![attn.n_heads as i64]),
        }
    }

    /// The shape of a projection of the MLP, or of each expert.
    fn mlp_shape(&self, linear: Linear, bias: bool, d: i64) -> Option<Vec<i64>> {
        let d_mlp = self.mlp.d_mlp as i64;
        match linear {
            Linear::Gate if self.mlp.gate == Gate::None => None,
            Linear::Gate | Linear::In => projection(d_mlp, d, bias, self.mlp.bias),
            Linear::Out => projection(d, d_mlp, bias, self.mlp.bias),
            _ => None,
        }
    }

    /// All tensors that a block of any description may have.
    fn candidates(&self) -> impl Iterator<Item = BlockPart> + use<> {
        const LINEAR: [Linear; 8] = [
            Linear::Q,
            Linear::K,
            Linear::V,
            Linear::O,
            Linear::Gate,
            Linear::In,
            Linear::Out,
            Linear::Router,
        ];
        const NORMS: [NormPlace; 6] = [
            NormPlace::Q,
            NormPlace::K,
            NormPlace::Attn,
            NormPlace::AttnPost,
            NormPlace::Mlp,
            NormPlace::MlpPost,
        ];
        let n_experts = self.mlp.experts.map_or(0, |experts| experts.n_experts);
        let experts = (0..n_experts).flat_map(|expert| {
            let linears = [Linear::Gate, Linear::In, Linear::Out].into_iter();
            linears.flat_map(move |linear| [false, true].map(|bias| BlockPart::Expert(expert, linear, bias)))
        });
        let linears =
            LINEAR.into_iter().flat_map(|linear| [false, true].map(|bias| BlockPart::Linear(linear, bias)));
        let norms =
            NORMS.into_iter().flat_map(|place| [false, true].map(|bias| BlockPart::Norm(place, bias)));
        linears.chain(experts).chain([BlockPart::Sinks]).chain(norms)
    }
}

/// The shape of a projection's weight or bias, if it has one.
fn projection(out: i64, input: i64, bias: bool, has_bias: bool) -> Option<Vec<i64>> {
    match bias {
        false => Some(vec![out, input]),
        true => has_bias.then(|| vec![out]),
    }
}
