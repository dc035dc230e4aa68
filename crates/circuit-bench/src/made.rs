//! A random model of a shape, its transcoders and a prompt, made on the device.
//!
//! Encoder rows have unit length and read inputs of unit variance, so a bias sets how many features are active on average. As in the
//! models written to disk for comparisons, whose sparsity is made the same way.

use crate::Shape;
use circuit_attribution::Attribution;
use circuit_graph::{Graph, ModelInfo, Target};
use circuit_index::TokenId;
use circuit_model::{BlockPart, Linear, Model, ModelError, Part, WeightSource};
use circuit_replacement::LocalReplacement;
use circuit_torch::TorchError;
use circuit_transcoder::{Activation, SetInfo, Transcoder, TranscoderSet};
use tch::{Device, Kind, Tensor};

/// A random model with all that attribution needs.
#[derive(Debug)]
pub struct Made {
    /// The shape it has.
    pub shape: Shape,
    /// The model.
    pub model: Model,
    /// Its transcoders, in the type of the weights.
    pub set: TranscoderSet,
    /// A prompt.
    pub tokens: Vec<TokenId>,
    /// The type of the weights.
    pub kind: Kind,
}

/// Why a model could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MakeError {
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// LibTorch: mostly too little memory.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl Made {
    /// Makes a model of a shape with weights of type `kind` on `device`. The same seed gives the same weights on the same device.
    ///
    /// # Errors
    /// If there is too little memory.
    pub fn new(shape: Shape, kind: Kind, device: Device, seed: i64) -> Result<Self, MakeError> {
        tch::manual_seed(seed);
        let mut random = Random { kind, device };
        let model = Model::new(shape.spec(), &mut random, kind, device)?;
        let info = SetInfo {
            model_name: Some(shape.name.into()),
            scan: shape.name.into(),
            reads: shape.reads,
            writes: shape.writes,
        };
        let layers = circuit_torch::guard(|| {
            Ok::<_, TorchError>((0..shape.n_layers).map(|_| random.transcoder(&shape)).collect())
        })?;
        let set = TranscoderSet::from_parts(info, layers);
        // A walk that repeats no token soon, from numbers alone.
        let tokens = (0..shape.n_pos).map(|i| TokenId(((i * 7919 + seed as usize) % shape.d_vocab) as u32));
        let tokens = tokens.collect();
        Ok(Self { shape, model, set, tokens, kind })
    }

    /// The graph of rows that were found on this model, with `n_targets` equally probable targets. Its names are made up.
    #[must_use]
    pub fn graph(&self, replacement: &LocalReplacement<'_>, found: Attribution, n_targets: usize) -> Graph {
        let (shape, spec) = (&self.shape, self.model.spec());
        let target = |i: usize| Target {
            label: format!("target {i}"),
            token_id: self.tokens[0],
            weight: 1.0 / n_targets as f32,
        };
        Graph {
            prompt: String::new(),
            tokens: self.tokens.clone(),
            token_strings: vec![String::new(); self.tokens.len()],
            activations: vec![1.0; replacement.active().len()],
            active: replacement.active().to_vec(),
            selected: found.selected,
            targets: (0..n_targets).map(target).collect(),
            rows: found.rows,
            model: ModelInfo {
                name: shape.name.into(),
                architecture: spec.architecture.clone(),
                n_layers: spec.n_layers(),
                d_model: spec.d_model,
                d_head: shape.d_head,
                n_heads: shape.n_heads,
                n_key_value_heads: shape.n_kv_heads,
                d_mlp: shape.d_mlp,
                d_vocab: spec.d_vocab,
                tokenizer_vocab: spec.d_vocab,
                dtype: "float32".into(),
                scan: shape.name.into(),
                first_token: None,
            },
        }
    }
}

struct Random {
    kind: Kind,
    device: Device,
}

impl Random {
    fn normal(&self, shape: &[i64], scale: f64) -> Tensor {
        Tensor::randn(shape, (self.kind, self.device)) * scale
    }

    fn transcoder(&self, shape: &Shape) -> Transcoder {
        let (f, d) = (shape.n_features as i64, shape.d_model as i64);
        let mut W_enc = self.normal(&[f, d], 1.0);
        // Row by row it would be exact; in width, their length is nearly √d.
        W_enc *= (d as f64).powf(-0.5);
        let bias = quantile(shape.l0 / shape.n_features as f64);
        let wide = if self.kind == Kind::Double { Kind::Double } else { Kind::Float };
        Transcoder {
            W_enc: W_enc.into(),
            W_dec: self.normal(&[f, 1, d], 0.3 * (d as f64).powf(-0.5)).into(),
            b_enc: Tensor::full([f], bias, (wide, self.device)),
            b_dec: Tensor::zeros([d], (wide, self.device)),
            W_skip: None,
            activation: Activation::Relu,
        }
    }
}

impl WeightSource for Random {
    fn tensor(&mut self, part: Part, shape: &[i64]) -> Result<Tensor, ModelError> {
        let fan_in = *shape.last().unwrap_or(&1) as f64;
        circuit_torch::guard(|| {
            Ok(match part {
                Part::FinalNormGain | Part::Block(_, BlockPart::Norm(_, false)) => {
                    Tensor::ones(shape, (self.kind, self.device))
                }
                Part::Embed => self.normal(shape, 1.0),
                Part::Unembed => self.normal(shape, 2.0 * fan_in.powf(-0.5)),
                Part::Block(_, BlockPart::Linear(Linear::O | Linear::Out, false)) => {
                    self.normal(shape, 0.5 * fan_in.powf(-0.5))
                }
                _ => self.normal(shape, fan_in.powf(-0.5)),
            })
        })
    }
}

/// The number below which a standard normal one falls with a probability between 0 and 1/2: bisection on the series of its
/// distribution (Abramowitz & Stegun 26.2.10).
fn quantile(probability: f64) -> f64 {
    let below = |x: f64| {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / 2.0 / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        0.5 + sum / std::f64::consts::TAU.sqrt()
    };
    let (mut low, mut high) = (-5.0, 0.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if below(middle) < probability { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_tables() {
        for (probability, expected) in [(0.5, 0.0), (0.025, -1.959_964), (0.001, -3.090_232)] {
            assert!(
                (quantile(probability) - expected).abs() < 1e-5,
                "{probability}: {}",
                quantile(probability)
            );
        }
    }

    #[test]
    fn as_many_features_are_active_as_the_shape_says() {
        let shape = Shape {
            n_layers: 3,
            n_features: 2048,
            d_model: 128,
            d_vocab: 512,
            ..Shape::named("bench").unwrap()
        };
        let made = Made::new(shape, Kind::Float, Device::Cpu, 3).unwrap();
        let replacement =
            circuit_replacement::LocalReplacement::new(&made.model, &made.set, &made.tokens, 1).unwrap();
        let per_place = replacement.active().len() as f64 / (3.0 * 23.0);
        assert!((35.0..65.0).contains(&per_place), "{per_place} active at a layer and position");
    }
}
