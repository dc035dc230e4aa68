//! The weights under training: of each layer encoder, decoder, biases, perhaps a skip and thresholds; and what they compute.
//!
//! They see normalised rows (`x / scale`), so that one learning rate and one penalty suit every layer; `write.rs` folds the
//! scales in.

use crate::activations::Rows;
use crate::seeded::{Purpose, generator};
use crate::{ActivationChoice, Settings};
use rand::Rng;
use tch::{Kind, Tensor};

/// Decoders begin with this share of the output of the row that their encoder starts from.
const FIRST_WRITE: f64 = 0.1;
/// The share of the way from the mean to its row from which a feature fires at first.
const FIRES_FROM: f64 = 0.25;
/// Rounds in which the rows that encoders start from are drawn.
const DRAWS: usize = 512;
/// Where thresholds of JumpReLU begin, in units of the normalised input.
const FIRST_THRESHOLD: f64 = 0.05;

/// Scales of one layer: numbers by which rows are divided.
#[derive(Debug)]
pub(crate) struct Scales {
    /// Root mean square of what is read.
    pub(crate) input: f64,
    /// Root mean square of what is written, less its mean.
    pub(crate) output: f64,
}

impl Scales {
    pub(crate) fn of(rows: &Rows) -> Vec<Self> {
        let rms = |t: Tensor| t.square().mean(Kind::Double).double_value(&[]).sqrt().max(1e-12);
        let both = rows.inputs.iter().zip(&rows.outputs);
        let scales = both.map(|(x, y)| Self {
            input: rms(x.shallow_clone()),
            output: rms(y - y.mean_dim(0, true, None::<Kind>)),
        });
        scales.collect()
    }
}

/// The weights of one layer.
#[derive(Debug)]
pub(crate) struct Params {
    /// `[features, d]`.
    pub(crate) W_enc: Tensor,
    /// `[features]`.
    pub(crate) b_enc: Tensor,
    /// `[features, outputs, d]`.
    pub(crate) W_dec: Tensor,
    /// `[d]`.
    pub(crate) b_dec: Tensor,
    /// `[d, d]`.
    pub(crate) W_skip: Option<Tensor>,
    /// `[features]`, the logarithm, so that thresholds stay positive.
    pub(crate) log_threshold: Option<Tensor>,
}

impl Params {
    /// First weights of all layers: encoders point at rows of the data, decoders at what the MLP made of them.
    pub(crate) fn first(rows: &Rows, scales: &[Scales], settings: &Settings) -> Vec<Self> {
        let n_layers = rows.inputs.len();
        let inputs = rows.inputs.iter().zip(scales).map(|(x, s)| x / s.input).collect::<Vec<_>>();
        let outputs = rows.outputs.iter().zip(scales).map(|(y, s)| y / s.output).collect::<Vec<_>>();
        let first = (0..n_layers).map(|l| {
            let x = &inputs[l];
            let mut chance = generator(settings.seed, Purpose::Weights, l);
            let chosen = apart(x, settings.features, &mut chance);
            let centred = |t: &Tensor| t - t.mean_dim(0, true, None::<Kind>);
            let from = centred(x).index_select(0, &chosen);
            let norm = from.square().sum_dim_intlist(-1, true, None::<Kind>).sqrt() + 1e-6;
            let W_enc = from / &norm;
            // Few fire at once from the start, but more than one: features that fire together can learn to share.
            let b_enc =
                -W_enc.matmul(&x.mean_dim(0, false, None::<Kind>)) - norm.squeeze_dim(-1) * FIRES_FROM;
            let last = if settings.cross_layer { n_layers } else { l + 1 };
            let writes = (l..last).map(|m| centred(&outputs[m]).index_select(0, &chosen));
            let W_dec = Tensor::stack(&writes.collect::<Vec<_>>(), 1) / norm.unsqueeze(-1);
            let like = (Kind::Float, x.device());
            let d = x.size()[1];
            let threshold = || Tensor::full([settings.features as i64], FIRST_THRESHOLD.ln(), like);
            Self {
                W_enc,
                b_enc,
                W_dec: W_dec * FIRST_WRITE,
                b_dec: outputs[l].mean_dim(0, false, None::<Kind>),
                W_skip: settings.skip.then(|| Tensor::zeros([d, d], like)),
                log_threshold: matches!(settings.activation, ActivationChoice::JumpRelu { .. })
                    .then(threshold),
            }
            .learning()
        });
        first.collect()
    }

    /// The same, asking for gradients.
    pub(crate) fn learning(self) -> Self {
        let asks = |t: Tensor| t.detach().contiguous().set_requires_grad(true);
        Self {
            W_enc: asks(self.W_enc),
            b_enc: asks(self.b_enc),
            W_dec: asks(self.W_dec),
            b_dec: asks(self.b_dec),
            W_skip: self.W_skip.map(asks),
            log_threshold: self.log_threshold.map(asks),
        }
    }

    /// All of them by name, in one order.
    pub(crate) fn named(&self) -> Vec<(&'static str, &Tensor)> {
        let always =
            [("W_enc", &self.W_enc), ("b_enc", &self.b_enc), ("W_dec", &self.W_dec), ("b_dec", &self.b_dec)];
        let mut all = always.to_vec();
        all.extend(self.W_skip.as_ref().map(|t| ("W_skip", t)));
        all.extend(self.log_threshold.as_ref().map(|t| ("log_threshold", t)));
        all
    }

    /// Activations `[rows, features]` of normalised rows, and the penalty of them.
    pub(crate) fn encode(&self, x: &Tensor, choice: ActivationChoice) -> (Tensor, Option<Tensor>) {
        let pre = x.linear(&self.W_enc, Some(&self.b_enc));
        let d = x.size()[1] as f64;
        match choice {
            ActivationChoice::Relu => {
                let acts = pre.relu();
                // What a feature writes, not its activation, is what should be small: the decoder's norm is not held.
                let norms = self.W_dec.square().sum_dim_intlist([1, 2].as_slice(), false, None::<Kind>);
                let written = &acts * (norms + 1e-12).sqrt() / d.sqrt();
                let penalty = written.sum_dim_intlist(-1, false, None::<Kind>).mean(Kind::Float);
                (acts, Some(penalty))
            }
            ActivationChoice::TopK { k } => {
                let (values, indices) = pre.topk(k as i64, -1, true, false);
                (pre.zeros_like().scatter(-1, &indices, &values), None)
            }
            ActivationChoice::JumpRelu { bandwidth } => {
                let log_threshold = self.log_threshold.as_ref().expect("made with this activation");
                let threshold = log_threshold.exp();
                let fires = pre.gt_tensor(&threshold).to_kind(Kind::Float).detach();
                // The step's gradient with respect to the threshold: that of a ramp as wide as the window.
                let ramp = ((pre.detach() - &threshold) / bandwidth + 0.5).clamp(0.0, 1.0);
                let step = &fires + (&ramp - ramp.detach());
                let acts = &pre * &fires + pre.detach() * (&step - step.detach());
                let penalty = step.sum_dim_intlist(-1, false, None::<Kind>).mean(Kind::Float);
                (acts, Some(penalty))
            }
        }
    }
}

/// `n` rows that lie apart from each other: each is drawn by its squared distance from the nearest one drawn before (k-means++). Rows
/// drawn evenly would be those of frequent tokens again and again, and as many features would fire at once.
fn apart(x: &Tensor, n: usize, chance: &mut impl Rng) -> Tensor {
    let rows = x.size()[0];
    let first = Tensor::from_slice(&[chance.random_range(0..rows)]).to_device(x.device());
    let squares = x.square().sum_dim_intlist(-1, false, None::<Kind>);
    // Squared distances of all rows from the nearest of some.
    let from = |some: &Tensor| {
        let products = x.matmul(&x.index_select(0, some).tr());
        let distances = squares.unsqueeze(1) - products * 2.0 + squares.index_select(0, some).unsqueeze(0);
        // What is left of a row's distance from itself is rounding.
        let near = distances.amin([1], false);
        near.where_scalarother(&near.gt_tensor(&(&squares * 1e-5)), 0.0)
    };
    let mut nearest = from(&first);
    let mut all = vec![first];
    let mut left = n - 1;
    // One at a time would be best; many features are drawn some at a time.
    let at_once = n.div_ceil(DRAWS);
    while left > 0 {
        let some = at_once.min(left);
        let sums = nearest.cumsum(0, Kind::Double);
        let total = sums.get(-1).double_value(&[]);
        let drawn = if total > 0.0 {
            let draws: Vec<f64> = (0..some).map(|_| chance.random::<f64>() * total).collect();
            let draws = Tensor::from_slice(&draws).to_device(x.device());
            draws.searchsorted(&sums, false, true, "right", None::<&Tensor>).clamp_max(rows - 1)
        } else {
            // Fewer rows than features: what is left starts anywhere.
            let draws: Vec<i64> = (0..some).map(|_| chance.random_range(0..rows)).collect();
            Tensor::from_slice(&draws).to_device(x.device())
        };
        nearest = nearest.minimum(&from(&drawn));
        all.push(drawn);
        left -= some;
    }
    Tensor::cat(&all, 0)
}

/// Reconstructions of all layers from activations and normalised inputs, normalised.
pub(crate) fn reconstruct(params: &[Params], acts: &[Tensor], inputs: &[Tensor]) -> Vec<Tensor> {
    let at = |m: usize| {
        let mut sum = &params[m].b_dec + Tensor::zeros_like(&inputs[m]);
        for (l, (p, acts)) in params.iter().zip(acts).enumerate().take(m + 1) {
            if ((m - l) as i64) < p.W_dec.size()[1] {
                sum += acts.matmul(&p.W_dec.select(1, (m - l) as i64));
            }
        }
        match &params[m].W_skip {
            Some(W_skip) => sum + inputs[m].linear(W_skip, None::<&Tensor>),
            None => sum,
        }
    };
    (0..params.len()).map(at).collect()
}
