//! MLP outputs taken apart: which features are active, what they write at which layer, and what is left over.
//!
//! All at the transcoders' sites; how writes get from there into the residual stream is not known here. A feature may write
//! at several layers, so layers are encoded first, then written, then compared with what the model computed.

use crate::ReplacementError;
use circuit_index::{FeatureId, Pos, SourceOrder, SumOrder};
use circuit_torch::runtime;
use circuit_transcoder::{ActiveFeatures, Cuts, Transcoder, TranscoderSet};
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use tch::{Device, Kind, Tensor};

/// The MLP outputs of one prompt, taken apart. Tensors have the type of the inputs.
#[derive(Debug)]
pub(crate) struct Parts {
    /// All active features, ascending.
    pub(crate) active: Vec<FeatureId>,
    /// Their activations, layer by layer.
    pub(crate) activations: Vec<Tensor>,
    pub(crate) order: SourceOrder,
    pub(crate) sum_order: SumOrder,
    /// `[n, d_model]` for each layer: what is written there, in the order of [`SumOrder`]. Errors of layers below are
    /// among them and zero: they write nothing here.
    pub(crate) writes: Vec<Tensor>,
    /// `[n]` for each layer: at which position each of these is written.
    pub(crate) positions: Vec<Tensor>,
    /// `[pos, d_model]` for each layer: output less reconstruction, zero at ignored positions.
    pub(crate) errors: Vec<Tensor>,
    /// For each layer the fraction of variance that is left over.
    pub(crate) unexplained: Vec<f64>,
}

impl Parts {
    /// Takes `outputs [pos, d_model]` apart with the features found in `inputs [pos, d_model]` ([`encode`]), one of each per layer.
    pub(crate) fn new(
        set: &TranscoderSet,
        found: Vec<ActiveFeatures>,
        inputs: &[Tensor],
        outputs: &[Tensor],
        ignored: usize,
        cuts: Cuts,
    ) -> Result<Self, ReplacementError> {
        let (n_layers, n_pos) = (inputs.len(), inputs[0].size()[0] as usize);
        let mut active = Vec::new();
        for (l, features) in found.iter().enumerate() {
            let (positions, indices) = (to_vec(&features.positions)?, to_vec(&features.indices)?);
            active.extend(
                positions.iter().zip(&indices).map(|(&p, &f)| FeatureId::new(l, p as usize, f as usize)),
            );
        }
        let order = SourceOrder::new(n_layers, n_pos, &active);
        let sum_order = match set.layers().iter().all(|layer| layer.n_outputs() == 1) {
            true => SumOrder::one_layer(&order),
            false => SumOrder::several_layers(&order),
        };
        let (mut writes, positions) = written(set, &found, &sum_order, &inputs[0], cuts);

        let (mut errors, mut unexplained) = (Vec::new(), Vec::new());
        for (l, transcoder) in set.layers().iter().enumerate() {
            let error = &outputs[l] - transcoder.reconstruct(&writes[l], &positions[l], &inputs[l]);
            // No error nodes where there are no features.
            let _ = error.narrow(0, 0, ignored.min(n_pos) as i64).zero_();
            if !bool::try_from(error.isfinite().all())? {
                let culprit = format!(" at layer {l}: decoder rows of active features hold NaN or infinity");
                return Err(ReplacementError::NotFinite { what: "reconstruction errors", culprit });
            }
            unexplained.push(unexplained_share(&outputs[l], &error, ignored)?);
            let places = places_of(&sum_order, set, l, l, |own| own.end - 1..own.end);
            let _ = writes[l].index_copy_(0, &places.to_device(error.device()), &error);
            errors.push(error);
        }
        let activations = found.into_iter().map(|features| features.values).collect();
        Ok(Self { active, activations, order, sum_order, writes, positions, errors, unexplained })
    }
}

/// The active features of each layer on `inputs [pos, d_model]`; on a CPU so many layers beside one another, if they are small.
pub(crate) fn encode(
    set: &TranscoderSet,
    inputs: &[Tensor],
    ignored: usize,
    cuts: Cuts,
    workers: usize,
) -> Result<Vec<ActiveFeatures>, ReplacementError> {
    let mut found = Vec::new();
    let (n_pos, d_model) = inputs[0].size2()?;
    // All of them together hold no more than one large layer would, and no copies of weights.
    let together = workers.min(inputs.len());
    let small = |layer: &Transcoder| {
        let features = layer.n_features() * together;
        let fits =
            features * d_model as usize <= cuts.weights && features * n_pos as usize <= cuts.pre_activations;
        fits && layer.W_enc.is_ready(inputs[0].kind())
    };
    if together > 1 && inputs[0].device() == Device::Cpu && set.layers().iter().all(small) {
        let layers = set.layers().iter().zip(inputs).enumerate();
        let jobs =
            layers.map(|(l, (transcoder, input))| (l, transcoder.shallow_clone(), input.shallow_clone()));
        let work = |(): &mut (), (l, transcoder, input): (usize, Transcoder, Tensor)| {
            tch::no_grad(|| (l, transcoder.encode_in(&input, ignored, l, cuts)))
        };
        let mut layers = BTreeMap::new();
        runtime::side_by_side(&mut vec![(); together], jobs.collect(), work, |(l, features)| {
            layers.insert(l, features);
            ControlFlow::Continue(())
        });
        for features in layers.into_values() {
            found.push(features?);
        }
        set.choose(&mut found)?;
        return Ok(found);
    }
    for (l, (transcoder, input)) in set.layers().iter().zip(inputs).enumerate() {
        found.push(transcoder.encode_in(input, ignored, l, cuts)?);
        // After each layer, so that no more than one layer's candidates are held at a time.
        set.choose(&mut found)?;
    }
    Ok(found)
}

/// Calls `take` with what the active features of a layer write j layers above it: j, which of them, and their rows
/// `[n, d_model]`. Goes on piece by piece, so that few decoder rows are held at a time.
fn each_write(
    transcoder: &Transcoder,
    features: &ActiveFeatures,
    cuts: Cuts,
    mut take: impl FnMut(usize, Range<i64>, &Tensor),
) {
    let n_outputs = transcoder.n_outputs();
    // Rows are only moved: an eighth of what a product takes is enough.
    let step = (cuts.weights as i64 / 8 / (n_outputs as i64 * transcoder.b_dec.size()[0]).max(1)).max(1);
    let n_active = features.indices.size()[0];
    let mut start = 0;
    while start < n_active {
        let end = n_active.min(start + step);
        let piece = |t: &Tensor| t.narrow(0, start, end - start);
        let rows =
            transcoder.decoder_rows(&piece(&features.indices)) * piece(&features.values).view([-1, 1, 1]);
        for j in 0..n_outputs {
            take(j, start..end, &rows.select(1, j as i64));
        }
        start = end;
    }
}

/// What features write at each layer, and at which positions; zeros for errors, which are not known yet.
fn written(
    set: &TranscoderSet,
    found: &[ActiveFeatures],
    sum_order: &SumOrder,
    like: &Tensor,
    cuts: Cuts,
) -> (Vec<Tensor>, Vec<Tensor>) {
    let &[n_pos, d_model] = like.size().as_slice() else { unreachable!("inputs are [pos, d_model]") };
    let n_layers = found.len();
    let positions = (0..n_layers).map(|output| {
        let n_at = |pos| sum_order.groups(set.writers(output), Pos::from(pos as usize)).len();
        let positions: Vec<i64> = (0..n_pos).flat_map(|pos| std::iter::repeat_n(pos, n_at(pos))).collect();
        Tensor::from_slice(&positions).to_device(like.device())
    });
    let positions: Vec<Tensor> = positions.collect();
    let mut writes: Vec<Tensor> = positions
        .iter()
        .map(|positions| Tensor::zeros([positions.size()[0], d_model], (like.kind(), like.device())))
        .collect();
    for (l, (transcoder, features)) in set.layers().iter().zip(found).enumerate() {
        let outputs = (l..n_layers).take(transcoder.n_outputs());
        let places = outputs.map(|output| places_of(sum_order, set, output, l, |own| own.start..own.end - 1));
        let places: Vec<Tensor> = places.map(|places| places.to_device(like.device())).collect();
        each_write(transcoder, features, cuts, |j, piece, rows| {
            if let Some(places) = places.get(j) {
                let _ = writes[l + j].index_copy_(0, &places.narrow(0, piece.start, rows.size()[0]), rows);
            }
        });
    }
    (writes, positions)
}

/// Where a part of each of a layer's groups stands, position by position, among all that is written at the layer `output`.
fn places_of(
    sum_order: &SumOrder,
    set: &TranscoderSet,
    output: usize,
    layer: usize,
    part: impl Fn(Range<usize>) -> Range<usize>,
) -> Tensor {
    let (mut places, mut first) = (Vec::new(), 0);
    for pos in sum_order.tokens().map(Pos::from) {
        let all = sum_order.groups(set.writers(output), pos);
        let own = part(sum_order.groups(layer..layer + 1, pos));
        places.extend(own.map(|place| (first + place - all.start) as i64));
        first += all.len();
    }
    Tensor::from_slice(&places)
}

fn to_vec(t: &Tensor) -> Result<Vec<i64>, ReplacementError> {
    Ok(Vec::try_from(t.to_device(Device::Cpu))?)
}

pub(crate) fn unexplained_share(
    output: &Tensor,
    error: &Tensor,
    ignored: usize,
) -> Result<f64, ReplacementError> {
    let kept = output.size()[0] - ignored as i64;
    if kept <= 0 {
        return Ok(0.0);
    }
    let output = output.narrow(0, ignored as i64, kept).to_kind(Kind::Double);
    let error = error.narrow(0, ignored as i64, kept).to_kind(Kind::Double);
    let of = |t: &Tensor| f64::try_from(t.square().sum(Kind::Double));
    let (whole, varied) = (of(&output)?, of(&(&output - output.mean_dim(0, true, Kind::Double)))?);
    // On a single position, or equal ones, nothing varies but by rounding: compare with the output itself.
    let total = if varied > 1e-9 * whole { varied } else { whole };
    let left = f64::try_from(error.square().sum(Kind::Double))?;
    Ok(if total > 0.0 { left / total } else { 0.0 })
}
