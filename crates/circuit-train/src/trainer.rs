//! Training step by step: loss, gradients by autograd, Adam, new directions for dead features, metrics.
//!
//! All layers learn at once. The state is weights, Adam's averages, when features last fired, and the step's number; with the
//! same threads on the same CPU, a run from a checkpoint continues bit by bit.

use crate::activations::{Feed, Rows, Sites};
use crate::params::{Params, Scales, reconstruct};
use crate::seeded::{Fingerprint, Purpose, generator};
use crate::{Corpus, Settings, TrainError};
use circuit_model::Model;
use rand::Rng;
use serde::Serialize;
use tch::{Kind, Tensor, no_grad};

/// Adam's guard against division by zero.
const EPSILON: f64 = 1e-8;
/// What is added to a row's size where errors are relative, in units of the mean size.
const SIZE_FLOOR: f64 = 0.1;
/// Dead features get new directions only before this share of the steps: later they could not learn.
const REVIVE_UNTIL: f64 = 0.8;
/// The output of a revived feature, as a share of the error it points at.
const REVIVED_WRITE: f64 = 0.2;

/// What a step measured, layer by layer where it is a list.
#[derive(Clone, Debug, Serialize)]
pub struct Metrics {
    /// The step, from 0.
    pub step: usize,
    /// What was minimised.
    pub loss: f64,
    /// The share of the outputs' variance that is explained.
    pub explained_variance: Vec<f64>,
    /// Mean number of active features of a row.
    pub l0: Vec<f64>,
    /// The share of features that have not fired lately.
    pub dead: Vec<f64>,
    /// Features that got new directions at this step.
    pub revived: usize,
    /// The learning rate.
    pub learning_rate: f64,
}

/// A run of training.
pub struct Trainer<'a> {
    feed: Feed<'a>,
    pub(crate) sites: Sites,
    pub(crate) settings: Settings,
    pub(crate) scales: Vec<Scales>,
    pub(crate) params: Vec<Params>,
    /// Adam's averages, for each weight in the order of [`Params::named`].
    pub(crate) moments: Vec<Vec<[Tensor; 2]>>,
    /// `[features]` of each layer: the step at which each fired last, or began anew.
    pub(crate) fired: Vec<Tensor>,
    pub(crate) step: usize,
    pub(crate) run: u64,
}

impl std::fmt::Debug for Trainer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer").field("step", &self.step).field("settings", &self.settings).finish()
    }
}

impl<'a> Trainer<'a> {
    /// A run from the start. Weights are fp32, wherever the model lies.
    ///
    /// # Errors
    /// If the settings are impossible, the model lacks a site, or LibTorch fails.
    pub fn new(
        model: &'a Model,
        corpus: &'a Corpus,
        sites: Sites,
        settings: Settings,
    ) -> Result<Self, TrainError> {
        settings.check()?;
        let Settings { seed, batch_rows, chunk_batches, balance, .. } = settings;
        let mut feed = Feed::new(model, corpus, sites, seed, batch_rows, chunk_batches, balance);
        let run = corpus.fingerprint() ^ fingerprint(model, sites)?;
        let rows = feed.chunk(0)?;
        let (scales, params) = circuit_torch::guard(|| {
            let scales = Scales::of(rows);
            let params = no_grad(|| Params::first(rows, &scales, &settings));
            Ok::<_, TrainError>((scales, params))
        })?;
        circuit_torch::guard(|| {
            let zero = |t: &Tensor| [t.zeros_like().detach(), t.zeros_like().detach()];
            let moments = params.iter().map(|p| p.named().into_iter().map(|(_, t)| zero(t)).collect());
            let moments = no_grad(|| moments.collect());
            let never = |p: &Params| Tensor::zeros([p.b_enc.size()[0]], (Kind::Int64, p.b_enc.device()));
            let fired = params.iter().map(never).collect();
            Ok(Self { feed, sites, settings, scales, params, moments, fired, step: 0, run })
        })
    }

    /// The number of steps made.
    #[must_use]
    pub fn steps_made(&self) -> usize {
        self.step
    }

    /// Whether all steps are made.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.step >= self.settings.steps
    }

    /// Makes one step.
    ///
    /// # Errors
    /// If the loss is no number any more, or LibTorch fails.
    pub fn step(&mut self) -> Result<Metrics, TrainError> {
        let rows = self.feed.batch(self.step)?;
        circuit_torch::guard(|| self.learn(&rows))
    }

    fn learn(&mut self, rows: &Rows) -> Result<Metrics, TrainError> {
        let step = self.step;
        let inputs: Vec<_> = rows.inputs.iter().zip(&self.scales).map(|(x, s)| x / s.input).collect();
        let outputs: Vec<_> = rows.outputs.iter().zip(&self.scales).map(|(y, s)| y / s.output).collect();
        let encoded = self.params.iter().zip(&inputs).map(|(p, x)| p.encode(x, self.settings.activation));
        let (acts, penalties): (Vec<_>, Vec<_>) = encoded.unzip();
        let errors: Vec<_> =
            reconstruct(&self.params, &acts, &inputs).iter().zip(&outputs).map(|(r, y)| y - r).collect();
        let mut loss = Tensor::zeros([], (Kind::Float, inputs[0].device()));
        for (error, y) in errors.iter().zip(&outputs) {
            let size = |t: &Tensor| t.square().mean_dim(-1, false, Kind::Float);
            loss += match self.settings.relative_error {
                false => error.square().mean(Kind::Float),
                // A row of nothing would count without end: to each, a share of the mean is added.
                true => (size(error) / (size(y) + SIZE_FLOOR)).mean(Kind::Float) * (1.0 + SIZE_FLOOR),
            };
        }
        for penalty in penalties.iter().flatten() {
            loss += penalty * self.settings.penalty(step);
        }
        let value = loss.double_value(&[]);
        if !value.is_finite() {
            return Err(TrainError::Diverged { step });
        }
        let weights: Vec<&Tensor> =
            self.params.iter().flat_map(|p| p.named().into_iter().map(|(_, t)| t)).collect();
        let gradients = Tensor::f_run_backward(&[&loss], &weights, false, false)?;
        no_grad(|| {
            self.adam(gradients);
            let explained = errors.iter().zip(&outputs).map(|(error, y)| {
                let around = y - y.mean_dim(0, true, None::<Kind>);
                let sum = |t: &Tensor| t.square().sum(Kind::Double).double_value(&[]);
                1.0 - sum(error) / sum(&around).max(1e-30)
            });
            let explained_variance = explained.collect();
            let n_rows = inputs[0].size()[0] as f64;
            let l0 = acts.iter().map(|a| a.count_nonzero(None).double_value(&[]) / n_rows).collect();
            for (fired, acts) in self.fired.iter_mut().zip(&acts) {
                let now = acts.ne(0.0).any_dim(0, false);
                *fired = fired.masked_fill(&now, step as i64 + 1);
            }
            let dead = self.dead();
            let share = |d: &Tensor| d.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
            let shares = dead.iter().map(share).collect();
            let due = (step + 1).is_multiple_of(self.settings.dead_after)
                && (step as f64) < REVIVE_UNTIL * self.settings.steps as f64;
            let revived = if due { self.revive(&dead, &inputs, &errors) } else { 0 };
            self.step += 1;
            let learning_rate = self.settings.rate(step);
            Ok(Metrics { step, loss: value, explained_variance, l0, dead: shares, revived, learning_rate })
        })
    }

    fn adam(&mut self, gradients: Vec<Tensor>) {
        let (b1, b2) = self.settings.betas;
        let t = self.step as i32 + 1;
        let (rate, c1, c2) = (self.settings.rate(self.step), 1.0 - b1.powi(t), 1.0 - b2.powi(t));
        let weights = self.params.iter().flat_map(|p| p.named().into_iter().map(|(_, t)| t.shallow_clone()));
        let weights: Vec<_> = weights.collect();
        let moments = self.moments.iter_mut().flatten();
        for ((mut weight, [mean, square]), gradient) in weights.into_iter().zip(moments).zip(gradients) {
            *mean = &*mean * b1 + &gradient * (1.0 - b1);
            *square = &*square * b2 + gradient.square() * (1.0 - b2);
            let change = &*mean / c1 / ((&*square / c2).sqrt() + EPSILON) * rate;
            weight.copy_(&(&weight - change));
        }
    }

    /// For each layer which features have not fired for long.
    fn dead(&self) -> Vec<Tensor> {
        let limit = self.step as i64 + 1 - self.settings.dead_after as i64;
        self.fired.iter().map(|fired| fired.le(limit)).collect()
    }

    /// Points dead features at rows that are badly explained; gives their number.
    fn revive(&mut self, dead: &[Tensor], inputs: &[Tensor], errors: &[Tensor]) -> usize {
        let mut revived = 0;
        for (l, dead) in dead.iter().enumerate() {
            let which = dead.nonzero().squeeze_dim(1);
            let n = which.size()[0];
            if n == 0 {
                continue;
            }
            revived += n as usize;
            // Rows are drawn by the size of their error.
            let sizes = errors[l].square().sum_dim_intlist(-1, false, Kind::Double).cumsum(0, Kind::Double);
            let total = sizes.get(-1).double_value(&[]);
            let mut chance = generator(self.settings.seed, Purpose::Revival, self.step * inputs.len() + l);
            let draws: Vec<f64> = (0..n).map(|_| chance.random::<f64>() * total).collect();
            let draws = Tensor::from_slice(&draws).to_device(sizes.device());
            let last = sizes.size()[0] - 1;
            let drawn = draws.searchsorted(&sizes, false, false, "left", None::<&Tensor>).clamp_max(last);
            let x = inputs[l].index_select(0, &drawn);
            let mean = inputs[l].mean_dim(0, true, None::<Kind>);
            let from = &x - &mean;
            let norm = from.square().sum_dim_intlist(-1, true, None::<Kind>).sqrt() + 1e-6;
            let encoder = from / &norm;
            // Fires in the outer half of the way from the mean to its row.
            let bias = -(&encoder * (&x + &mean) * 0.5).sum_dim_intlist(-1, false, None::<Kind>);
            let p = &self.params[l];
            let writes = (0..p.W_dec.size()[1] as usize).map(|j| errors[l + j].index_select(0, &drawn));
            let decoder = Tensor::stack(&writes.collect::<Vec<_>>(), 1) / norm.unsqueeze(-1) * REVIVED_WRITE;
            let put = |weight: &Tensor, rows: &Tensor| {
                let _ = weight.shallow_clone().index_copy_(0, &which, rows);
            };
            put(&p.W_enc, &encoder);
            put(&p.b_enc, &bias);
            put(&p.W_dec, &decoder);
            for ((name, _), moments) in p.named().into_iter().zip(&self.moments[l]) {
                if name != "b_dec" && name != "W_skip" {
                    for moment in moments {
                        let _ = moment.shallow_clone().index_fill_(0, &which, 0.0);
                    }
                }
            }
            self.fired[l] = self.fired[l].masked_fill(dead, self.step as i64 + 1);
        }
        revived
    }
}

/// A number that changes with the model's shape, its sites and its weights' ends, to tell runs apart.
fn fingerprint(model: &Model, sites: Sites) -> Result<u64, TrainError> {
    let mut sum = Fingerprint::default();
    let spec = model.spec();
    for number in [spec.n_layers(), spec.d_model, spec.d_vocab] {
        sum.add(number as u32);
    }
    sum.add_bytes(format!("{} {}", sites.reads, sites.writes).as_bytes());
    let head = model.W_U().get(-1).to_kind(Kind::Double).to_device(tch::Device::Cpu);
    for value in Vec::<f64>::try_from(head)? {
        sum.add_bytes(&value.to_le_bytes());
    }
    Ok(sum.finish())
}
