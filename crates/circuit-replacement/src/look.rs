//! Whether transcoders read the right site of the model: how well they would do at the others.
//!
//! A wrong site is a common fault of a set's configuration, and its graphs look like any. A few positions of the first layers tell
//! sites apart; what could be read there is kept from the run. Not here: what to say about it.

use crate::parts::{encode, unexplained_share};
use crate::{LocalReplacement, ReplacementError};
use circuit_index::{Layer, LayerSite, Site};
use circuit_model::Model;
use circuit_transcoder::{ActiveFeatures, Transcoder};
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// All sites that a transcoder can read.
const SITES: [LayerSite; 3] = [LayerSite::ResidMid, LayerSite::MlpNormalized, LayerSite::MlpIn];
/// Layers that are looked at,
const LAYERS: usize = 3;
/// and positions in each.
const POSITIONS: usize = 6;

/// What a run had at each of the sites, at a few positions of the first layers.
#[derive(Debug)]
pub(crate) struct Samples {
    /// The positions.
    positions: Tensor,
    /// `[position, d_model]` of each layer and site, wide.
    values: Vec<[Tensor; 3]>,
}

impl Samples {
    /// What is to be recorded for them.
    pub(crate) fn sites(n_layers: usize) -> impl Iterator<Item = Site> {
        let layers = 0..n_layers.min(LAYERS);
        layers.flat_map(|l| SITES.map(|site| Site::Block(Layer::from(l), site)))
    }

    /// Samples of the recorded values `[1, pos, d_model]`, of positions with features.
    pub(crate) fn of(values: &BTreeMap<Site, Tensor>, model: &Model, ignored: usize) -> Self {
        let n_pos = values[&Site::Embed].size()[1] as usize;
        let kept = n_pos.saturating_sub(ignored);
        let few = kept.min(POSITIONS);
        let few: Vec<_> = (0..few).map(|i| (n_pos - 1 - i * kept / few) as i64).collect();
        let positions = Tensor::from_slice(&few).to_device(model.device());
        let at = |l: usize, site| {
            let value = values[&Site::Block(Layer::from(l), site)].select(0, 0);
            value.index_select(0, &positions).to_kind(model.wide_kind())
        };
        let layers = 0..model.spec().n_layers().min(LAYERS);
        let values = layers.map(|l| SITES.map(|site| at(l, site))).collect();
        Self { positions, values }
    }
}

/// What [`LocalReplacement::best_input_site`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BestSite {
    /// The site.
    pub site: LayerSite,
    /// The mean fraction that is left unexplained when it is read.
    pub unexplained: f64,
    /// The same at the site that is read now.
    pub now: f64,
}

impl LocalReplacement<'_> {
    /// The input site under which the set explains this prompt best, tried over all sites a transcoder can read; with the mean
    /// unexplained fraction there, and at the site that is read now. For telling a user that the wrong site is read. A
    /// sample of positions and the first layers tell sites apart; all would take longer than the attribution.
    ///
    /// # Errors
    /// If LibTorch fails, for example for want of memory.
    pub fn best_input_site(&self) -> Result<BestSite, ReplacementError> {
        circuit_torch::guard(|| tch::no_grad(|| self.look()))
    }

    fn look(&self) -> Result<BestSite, ReplacementError> {
        let Samples { positions, values } = &self.trace().samples;
        let reads = self.transcoders().info().reads;
        let few = |t: &Tensor| t.index_select(0, positions).to_kind(self.model().wide_kind());
        let outputs: Vec<_> =
            self.trace().layers[..values.len()].iter().map(|layer| few(&layer.feature_output)).collect();
        let mean = |left: &dyn Fn(usize) -> Tensor| {
            let share = |(l, output)| unexplained_share(output, &left(l), 0);
            let shares = outputs.iter().enumerate().map(share).sum::<Result<f64, _>>()?;
            Ok::<_, ReplacementError>(shares / outputs.len() as f64)
        };
        let now = mean(&|l| few(self.errors(Layer::from(l))))?;
        // The others' rows one below the other: weights are read once for all.
        let others: Vec<usize> = (0..SITES.len()).filter(|&i| SITES[i] != reads).collect();
        let stacked = |l: usize| Tensor::cat(&others.iter().map(|&i| &values[l][i]).collect::<Vec<_>>(), 0);
        let inputs: Vec<_> = (0..values.len()).map(stacked).collect();
        let targets: Vec<_> = outputs.iter().map(|o| o.repeat([others.len() as i64, 1])).collect();
        let left = self.left_over(&inputs, &targets)?;
        let n = positions.size()[0];
        let mut best = BestSite { site: reads, unexplained: now, now };
        for (nth, &site) in others.iter().enumerate() {
            let unexplained = mean(&|l| left[l].narrow(0, nth as i64 * n, n))?;
            if unexplained < best.unexplained {
                best = BestSite { site: SITES[site], unexplained, ..best };
            }
        }
        Ok(best)
    }

    /// What the transcoders leave of `outputs [n, d_model]` of the first layers when they read `inputs [n, d_model]`.
    fn left_over(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Result<Vec<Tensor>, ReplacementError> {
        let layers = &self.transcoders().layers()[..inputs.len()];
        let mut left = Vec::new();
        for ((transcoder, input), output) in layers.iter().zip(inputs).zip(outputs) {
            let nothing = Tensor::zeros([0, output.size()[1]], (output.kind(), output.device()));
            let nowhere = Tensor::zeros([0], (Kind::Int64, output.device()));
            left.push(output - transcoder.reconstruct(&nothing, &nowhere, input));
        }
        let (cuts, workers) = (self.cuts().encode, self.cuts().workers);
        for (l, features) in encode(self.transcoders(), inputs, 0, cuts, workers)?.iter().enumerate() {
            subtract(&layers[l], features, cuts.weights / 64, &mut left[l..]);
        }
        Ok(left)
    }
}

/// Takes what features write at their layer and those above from what is left there, `[n, d_model]` each. At a wrong site a good part
/// of all features can be active, and the same ones at many positions: each decoder row is read once, so many numbers at a time.
fn subtract(transcoder: &Transcoder, features: &ActiveFeatures, numbers: usize, left: &mut [Tensor]) {
    let (unique, nth) = features.indices.internal_unique(true, true);
    let (rows, n) = (left[0].size()[0], unique.size()[0]);
    let mut activations = Tensor::zeros([rows, n], (features.values.kind(), features.values.device()));
    let _ = activations.index_put_(&[Some(&features.positions), Some(&nth)], &features.values, false);
    let step = (numbers as i64 / (transcoder.n_outputs() as i64 * left[0].size()[1]).max(1)).max(1);
    for start in (0..n).step_by(step as usize) {
        let len = step.min(n - start);
        let written = transcoder.decoder_rows(&unique.narrow(0, start, len));
        for (j, left) in left.iter_mut().take(transcoder.n_outputs()).enumerate() {
            *left -= activations.narrow(1, start, len).matmul(&written.select(1, j as i64));
        }
    }
}
