//! The MLP: `out(act(in(x)))`, gated or not, one for all positions or a mixture of experts.

use crate::ModelError;
use crate::norm::{Projection, wide};
use crate::packed::Matrix;
use crate::spec::{Act, Gate, MlpSpec};
use circuit_index::LayerSite;
use tch::{Kind, Tensor};

/// Weights of a block's MLP.
#[derive(Debug)]
pub enum Mlp {
    /// One for all positions.
    Dense(MlpWeights),
    /// Several, of which each position chooses some.
    Experts {
        /// To the scores of experts, `[n_experts, d_model]`.
        router: Projection,
        /// The experts.
        experts: Vec<Expert>,
    },
}

/// Weights of one MLP.
#[derive(Debug)]
pub struct MlpWeights {
    /// To the gate, `[d_mlp, d_model]`, where there is one.
    pub gate: Option<Projection>,
    /// In, `[d_mlp, d_model]`.
    pub input: Projection,
    /// Out, `[d_model, d_mlp]`.
    pub out: Projection,
}

/// Weights of an expert, as [`MlpWeights`], perhaps packed.
#[derive(Debug)]
pub struct Expert {
    /// To the gate, where there is one.
    pub gate: Option<ExpertProjection>,
    /// In.
    pub input: ExpertProjection,
    /// Out.
    pub out: ExpertProjection,
}

/// A projection of an expert.
#[derive(Debug)]
pub struct ExpertProjection {
    /// `[out, in]`.
    pub weight: Matrix,
    /// `[out]`.
    pub bias: Option<Tensor>,
}

impl Expert {
    /// The weights as numbers of a type: for as long as they are needed.
    fn unpack(&self, kind: Kind) -> MlpWeights {
        let unpack = |p: &ExpertProjection| Projection {
            weight: p.weight.unpack(kind),
            bias: p.bias.as_ref().map(Tensor::shallow_clone),
        };
        MlpWeights {
            gate: self.gate.as_ref().map(unpack),
            input: unpack(&self.input),
            out: unpack(&self.out),
        }
    }
}

impl Mlp {
    /// The output for `x [batch, pos, d_model]`. `visit` is called at the sites within a dense MLP.
    pub(crate) fn forward(
        &self,
        spec: &MlpSpec,
        x: &Tensor,
        visit: &mut dyn FnMut(LayerSite, Tensor) -> Result<Tensor, ModelError>,
    ) -> Result<Tensor, ModelError> {
        match self {
            Self::Dense(weights) => weights.forward(spec, x, visit),
            Self::Experts { router, experts } => {
                let rows = x.reshape([-1, x.size()[2]]);
                Ok(mixture(router, experts, spec, &rows)?.view_as(x))
            }
        }
    }

    /// What every pass reads: all but experts.
    pub(crate) fn always_read(&self) -> Vec<&Projection> {
        match self {
            Self::Dense(MlpWeights { gate, input, out }) => gate.iter().chain([input, out]).collect(),
            Self::Experts { router, .. } => vec![router],
        }
    }

    /// The first matrix or bias with a value that is not finite, by its name within a block.
    pub(crate) fn find_non_finite(&self) -> Option<String> {
        let bad = |t: &Tensor| !bool::try_from(t.isfinite().all()).unwrap_or(false);
        let bad_projection = |p: &Projection| bad(&p.weight) || p.bias.as_ref().is_some_and(bad);
        let name = |gate: bool, input: bool, out: bool| match (gate, input, out) {
            (true, ..) => Some("W_gate"),
            (_, true, _) => Some("W_in"),
            (.., true) => Some("W_out"),
            _ => None,
        };
        match self {
            Self::Dense(MlpWeights { gate, input, out }) => {
                let name = name(
                    gate.as_ref().is_some_and(bad_projection),
                    bad_projection(input),
                    bad_projection(out),
                );
                name.map(|name| format!("mlp.{name}"))
            }
            Self::Experts { router, .. } if bad_projection(router) => Some("mlp.router".into()),
            Self::Experts { experts, .. } => experts.iter().enumerate().find_map(|(e, expert)| {
                let bad = |p: &ExpertProjection| !p.weight.is_finite() || p.bias.as_ref().is_some_and(bad);
                let name = name(expert.gate.as_ref().is_some_and(bad), bad(&expert.input), bad(&expert.out));
                name.map(|name| format!("mlp.experts.{e}.{name}"))
            }),
        }
    }
}

impl MlpWeights {
    /// The output for `x [.., d_model]`.
    fn forward(
        &self,
        spec: &MlpSpec,
        x: &Tensor,
        visit: &mut dyn FnMut(LayerSite, Tensor) -> Result<Tensor, ModelError>,
    ) -> Result<Tensor, ModelError> {
        let input = self.input.forward(x);
        let post = match &self.gate {
            None => activate(spec.act, &visit(LayerSite::MlpPre, input)?),
            Some(gate) => {
                let pre = visit(LayerSite::MlpPre, gate.forward(x))?;
                match spec.gate {
                    Gate::Clamped { limit } => {
                        activate(spec.act, &pre.clamp_max(limit)) * (input.clamp(-limit, limit) + 1.0)
                    }
                    Gate::None | Gate::Linear => activate(spec.act, &pre) * input,
                }
            }
        };
        Ok(self.out.forward(&visit(LayerSite::MlpPost, post)?))
    }
}

/// `Σ share · expert(x)` over the experts that each row of `x [row, d_model]` chooses. Experts that nobody chooses are not
/// touched, and one at a time is unpacked.
fn mixture(
    router: &Projection,
    experts: &[Expert],
    spec: &MlpSpec,
    x: &Tensor,
) -> Result<Tensor, ModelError> {
    let n_chosen = spec.experts.map_or(experts.len(), |e| e.n_chosen) as i64;
    let (scores, chosen) = router.forward(x).topk(n_chosen, -1, true, true); // [row, n_chosen]
    let shares = scores.softmax(-1, wide(x.kind())).to_kind(x.kind());
    let mut sum = x.zeros_like();
    for (e, expert) in experts.iter().enumerate() {
        let hits = chosen.eq(e as i64).nonzero(); // [n, 2]: which row, and as its how-manieth
        if hits.size()[0] == 0 {
            continue;
        }
        let (rows, nth) = (hits.select(1, 0), hits.select(1, 1));
        let weights = expert.unpack(x.kind());
        let y = weights.forward(spec, &x.index_select(0, &rows), &mut |_, value| Ok(value))?;
        let share = shares.index(&[Some(&rows), Some(&nth)]).unsqueeze(-1);
        let _ = sum.index_add_(0, &rows, &(y * share));
    }
    Ok(sum)
}

fn activate(act: Act, x: &Tensor) -> Tensor {
    match act {
        Act::Silu => x.silu(),
        Act::GeluTanh => x.gelu("tanh"),
        Act::Gelu => x.gelu("none"),
        Act::QuickGelu => x * (x * 1.702).sigmoid(),
        Act::Relu => x.relu(),
    }
}
