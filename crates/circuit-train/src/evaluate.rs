//! How good a set is: what it explains of each layer, how many features that takes, and what the model still knows when its
//! MLPs are replaced.

use crate::activations::{Sites, batches};
use crate::{Corpus, TrainError};
use circuit_index::{Layer, Site, TokenId};
use circuit_model::{Hooks, Model, ModelError, TokenBatch, Visitor};
use circuit_torch::TorchError;
use circuit_transcoder::TranscoderSet;
use serde::Serialize;
use tch::{Device, Kind, Tensor};

/// One layer's figures.
#[derive(Clone, Debug, Serialize)]
pub struct LayerEvaluation {
    /// The share of the outputs' variance that is explained, on what the unchanged model computes.
    pub explained_variance: f64,
    /// Mean number of active features of a row.
    pub l0: f64,
    /// Features that never fired.
    pub dead: usize,
    /// All features.
    pub features: usize,
}

/// A set's figures.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Layer by layer.
    pub layers: Vec<LayerEvaluation>,
    /// Rows that were looked at.
    pub rows: usize,
    /// Mean next-token loss of the model, in nats.
    pub loss: f64,
    /// The same with every MLP replaced by its transcoder.
    pub loss_replaced: f64,
    /// The same with every MLP's output set to zero.
    pub loss_without: f64,
}

/// What becomes of MLP outputs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outputs {
    /// They stay, and are compared.
    Kept,
    /// Reconstructions stand in.
    Replaced,
    /// Nothing is written.
    Zero,
}

/// Sums of one layer.
struct Sums {
    error: f64,
    squares: f64,
    sum: Tensor,
    active: f64,
    fired: Tensor,
}

/// Looks at each MLP's input and output on the way, and changes outputs.
struct Replacing<'a> {
    set: &'a TranscoderSet,
    outputs: Outputs,
    /// `[batch * pos]`: rows that count.
    rows: Tensor,
    inputs: Vec<Tensor>,
    acts: Vec<Tensor>,
    sums: &'a mut Vec<Sums>,
}

impl Replacing<'_> {
    fn reconstruction(&self, layer: usize) -> Result<Tensor, TorchError> {
        let transcoder = &self.set.layers()[layer];
        let mut sum = Tensor::zeros_like(&self.inputs[layer]) + &transcoder.b_dec;
        for l in self.set.writers(layer) {
            let W_dec =
                self.set.layers()[l].W_dec.narrow(1, (layer - l) as i64, 1)?.to_tensor()?.squeeze_dim(1);
            sum += self.acts[l].matmul(&W_dec.to_device(sum.device()).to_kind(sum.kind()));
        }
        Ok(match &transcoder.W_skip {
            Some(W_skip) => sum + self.inputs[layer].linear(W_skip, None::<&Tensor>),
            None => sum,
        })
    }
}

impl Visitor for Replacing<'_> {
    fn visit(&mut self, site: Site, value: Tensor) -> Result<Tensor, ModelError> {
        let Site::Block(layer, at) = site else { return Ok(value) };
        let (l, info) = (layer.get(), self.set.info());
        if at == info.reads {
            let transcoder = &self.set.layers()[l];
            let x = value.to_kind(transcoder.b_enc.kind()).flatten(0, 1);
            self.acts.push(transcoder.activate(&transcoder.pre_activations(&x)));
            self.inputs.push(x);
        }
        if at != info.writes {
            return Ok(value);
        }
        match self.outputs {
            Outputs::Kept => {
                let y = value.to_kind(self.inputs[l].kind()).flatten(0, 1).index_select(0, &self.rows);
                let error = &y - self.reconstruction(l)?.index_select(0, &self.rows);
                let acts = self.acts[l].index_select(0, &self.rows);
                let total = |t: &Tensor| t.square().sum(Kind::Double).double_value(&[]);
                let sums = &mut self.sums[l];
                sums.error += total(&error);
                sums.squares += total(&y);
                sums.sum += y.sum_dim_intlist(0, false, Kind::Double);
                sums.active += acts.count_nonzero(None).double_value(&[]);
                sums.fired = sums.fired.logical_or(&acts.ne(0.0).any_dim(0, false));
                Ok(value)
            }
            Outputs::Replaced | Outputs::Zero => {
                let new = match self.outputs {
                    Outputs::Zero => Tensor::zeros_like(&self.inputs[l]),
                    _ => self.reconstruction(l)?,
                };
                let flat = value.flatten(0, 1);
                let rows = new.index_select(0, &self.rows).to_kind(value.kind());
                Ok(flat.index_copy(0, &self.rows, &rows).view_as(&value))
            }
        }
    }
}

/// Judges a set on a corpus.
///
/// # Errors
/// If the model and the set do not fit, or LibTorch fails.
pub fn evaluate(
    model: &Model,
    set: &TranscoderSet,
    corpus: &Corpus,
    mut progress: impl FnMut(usize),
) -> Result<Evaluation, TrainError> {
    let sites = Sites { reads: set.info().reads, writes: set.info().writes };
    check_sites(model, sites)?;
    let device = model.device();
    let d = model.spec().d_model as i64;
    let sums = set.layers().iter().map(|t| Sums {
        error: 0.0,
        squares: 0.0,
        sum: Tensor::zeros([d], (Kind::Double, device)),
        active: 0.0,
        fired: Tensor::zeros([t.n_features() as i64], (Kind::Bool, device)),
    });
    let mut sums: Vec<Sums> = sums.collect();
    let (mut losses, mut n_predicted, mut n_rows) = ([0.0; 3], 0.0, 0.0);
    for group in batches((0..corpus.len()).map(|d| corpus.length(d))) {
        progress(group.start);
        let documents = group.map(|d| corpus.document(d)).collect::<Result<Vec<_>, _>>()?;
        let documents: Vec<&[TokenId]> = documents.iter().map(Vec::as_slice).collect();
        let batch = TokenBatch::of_prompts(&documents, model)?;
        let rows = rows_that_count(&documents, corpus.ignored(), batch.n_pos(), device);
        n_rows += rows.numel() as f64;
        for (i, outputs) in [Outputs::Kept, Outputs::Replaced, Outputs::Zero].into_iter().enumerate() {
            let mut visitor = Replacing {
                set,
                outputs,
                rows: rows.shallow_clone(),
                inputs: Vec::new(),
                acts: Vec::new(),
                sums: &mut sums,
            };
            let logits = model.forward(&batch, &mut visitor)?;
            let (sum, n) = circuit_torch::guard(|| Ok::<_, TrainError>(next_token(&logits, &documents)))?;
            losses[i] += sum;
            n_predicted += if i == 0 { n } else { 0.0 };
        }
    }
    let layers = sums.iter().map(|s| {
        let around = s.squares - s.sum.square().sum(Kind::Double).double_value(&[]) / n_rows;
        LayerEvaluation {
            explained_variance: 1.0 - s.error / around.max(1e-30),
            l0: s.active / n_rows,
            dead: s.fired.logical_not().count_nonzero(None).int64_value(&[]) as usize,
            features: s.fired.numel(),
        }
    });
    let [loss, loss_replaced, loss_without] = losses.map(|sum| sum / f64::max(n_predicted, 1.0));
    Ok(Evaluation { layers: layers.collect(), rows: n_rows as usize, loss, loss_replaced, loss_without })
}

/// The most probable token behind each prompt, as the model says it, or with its MLPs replaced by a set.
///
/// # Errors
/// If the model and the set do not fit, or LibTorch fails.
pub fn predict(
    model: &Model,
    set: Option<&TranscoderSet>,
    prompts: &[Vec<TokenId>],
    ignored: usize,
) -> Result<Vec<TokenId>, TrainError> {
    if let Some(info) = set.map(TranscoderSet::info) {
        check_sites(model, Sites { reads: info.reads, writes: info.writes })?;
    }
    let mut said = Vec::new();
    for group in batches(prompts.iter().map(Vec::len)) {
        let group: Vec<&[TokenId]> = prompts[group].iter().map(Vec::as_slice).collect();
        let batch = TokenBatch::of_prompts(&group, model)?;
        let width = batch.n_pos();
        let logits = match set {
            None => model.forward(&batch, &mut Hooks::new())?,
            Some(set) => {
                let rows = rows_that_count(&group, ignored, width, model.device());
                let (inputs, acts) = (Vec::new(), Vec::new());
                let sums = &mut Vec::new();
                let mut visitor = Replacing { set, outputs: Outputs::Replaced, rows, inputs, acts, sums };
                model.forward(&batch, &mut visitor)?
            }
        };
        let ends = group.iter().enumerate().map(|(i, prompt)| (i * width + prompt.len() - 1) as i64);
        let ends = Tensor::from_slice(&ends.collect::<Vec<_>>()).to_device(model.device());
        let best = circuit_torch::guard(|| {
            Ok::<_, TrainError>(logits.flatten(0, 1).index_select(0, &ends).argmax(-1, false))
        })?;
        said.extend(Vec::<i64>::try_from(best)?.into_iter().map(|id| TokenId(id as u32)));
    }
    Ok(said)
}

/// Which of `[batch * pos]` are not ignored or filled up.
fn rows_that_count(documents: &[&[TokenId]], ignored: usize, width: usize, device: Device) -> Tensor {
    let rows = documents.iter().enumerate();
    let rows = rows.flat_map(|(i, doc)| (ignored..doc.len()).map(move |p| (i * width + p) as i64));
    Tensor::from_slice(&rows.collect::<Vec<_>>()).to_device(device)
}

/// Summed loss of the next tokens, and their number. What follows the special token alone is no prediction.
fn next_token(logits: &Tensor, documents: &[&[TokenId]]) -> (f64, f64) {
    let width = logits.size()[1] as usize;
    let pairs = documents.iter().enumerate().flat_map(|(i, doc)| {
        doc.windows(2)
            .enumerate()
            .skip(1)
            .map(move |(p, pair)| ((i * width + p) as i64, i64::from(pair[1].0)))
    });
    let (rows, next): (Vec<i64>, Vec<i64>) = pairs.unzip();
    if rows.is_empty() {
        return (0.0, 0.0);
    }
    let on = |v: &[i64]| Tensor::from_slice(v).to_device(logits.device());
    let chosen = logits.flatten(0, 1).index_select(0, &on(&rows)).to_kind(Kind::Float);
    let log = chosen.log_softmax(-1, None::<Kind>).gather(1, &on(&next).unsqueeze(1), false);
    (-log.sum(Kind::Double).double_value(&[]), rows.len() as f64)
}

/// The sites must be the model's.
fn check_sites(model: &Model, sites: Sites) -> Result<(), TrainError> {
    let known = model.spec().sites();
    for site in [sites.reads, sites.writes].map(|s| Site::Block(Layer(0), s)) {
        if !known.contains(&site) {
            return Err(ModelError::NoSuchSite { site, n_layers: model.spec().n_layers() }.into());
        }
    }
    Ok(())
}
