//! Norms, forwards and backwards, and projections.
//!
//! `y = gain · P(x) / scale + bias` with `scale = sqrt(mean(P(x)²) + eps)`; `P` subtracts the mean over the width for LayerNorm
//! and is the identity for RMSNorm. With the scale held, a norm is linear, and [`Norm::pull_back`] is its transpose.

use crate::ModelError;
use crate::hooks::Visitor;
use crate::spec::{Gain, NormKind, NormSpec};
use circuit_index::Site;
use tch::{Kind, Tensor};

/// The type in which norms, softmax and rotation are computed for weights of a type: fp32, or f64 for f64.
pub(crate) fn wide(kind: Kind) -> Kind {
    if kind == Kind::Double { Kind::Double } else { Kind::Float }
}

/// A norm with its weights.
#[derive(Debug)]
pub struct Norm {
    spec: NormSpec,
    /// `[width]`, the effective gain (one plus the weight where the description says so), fp32 or f64.
    gain: Tensor,
    /// `[width]`, LayerNorm alone.
    bias: Option<Tensor>,
}

impl Norm {
    pub(crate) fn new(spec: NormSpec, weight: &Tensor, bias: Option<&Tensor>) -> Self {
        let wide = wide(weight.kind());
        let weight = weight.to_kind(wide);
        let gain = match spec.gain {
            Gain::Plain => weight,
            Gain::OnePlus => weight + 1.0,
        };
        Self { spec, gain, bias: bias.map(|b| b.to_kind(wide)) }
    }

    /// `[width]`: the effective gain, in fp32 (f64 for f64 weights).
    pub fn gain(&self) -> &Tensor {
        &self.gain
    }

    /// `[width]`: the bias of a LayerNorm, likewise.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// `P(x)`, over the last dimension.
    pub fn centre(&self, x: &Tensor) -> Tensor {
        match self.spec.kind {
            NormKind::Rms => x.shallow_clone(),
            NormKind::Layer => x - x.mean_dim(-1, true, None::<Kind>),
        }
    }

    /// `y = gain · P(x) / scale + bias` over the last dimension, visiting the scale and, where the norm has such a site, the
    /// normalized value. As in TransformerLens that is `P(x) / scale` of an RMSNorm, but `y` of a LayerNorm. The result has the type of
    /// `x`.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        scale_site: Site,
        normalized_site: Option<Site>,
        visitor: &mut dyn Visitor,
    ) -> Result<Tensor, ModelError> {
        let wide = self.gain.kind();
        let centred = self.centre(&x.to_kind(wide));
        let scale = (centred.square().mean_dim(-1, true, wide) + self.spec.eps).sqrt();
        let divided = centred / visitor.visit(scale_site, scale)?;
        let affine = |x: Tensor| match &self.bias {
            Some(bias) => x * &self.gain + bias,
            None => x * &self.gain,
        };
        let y = match (normalized_site, self.spec.kind) {
            (Some(site), NormKind::Rms) => affine(visitor.visit(site, divided)?),
            (Some(site), NormKind::Layer) => visitor.visit(site, affine(divided))?,
            (None, _) => affine(divided),
        };
        Ok(y.to_kind(x.kind()))
    }

    /// The transpose of the norm's part below its normalized site, the scale aside, for rows `[.., width]`.
    pub fn normalized_to_input(&self, rows: &Tensor) -> Tensor {
        match self.spec.kind {
            NormKind::Rms => self.centre(rows),
            NormKind::Layer => self.centre(&(rows * &self.gain)),
        }
    }

    /// The transpose of the norm with `scale` held: `P(gain · g) / scale`.
    pub fn pull_back(&self, g: &Tensor, scale: &Tensor) -> Tensor {
        self.centre(&(g * &self.gain)) / scale
    }

    /// The norm with `scale` held and without bias, applied to a change of its input: `gain · P(x) / scale`.
    pub fn push(&self, x: &Tensor, scale: &Tensor) -> Tensor {
        self.centre(x) / scale * &self.gain
    }
}

/// A projection `y = x W^T + b`.
#[derive(Debug)]
pub struct Projection {
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Option<Tensor>,
}

impl Projection {
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }
}
