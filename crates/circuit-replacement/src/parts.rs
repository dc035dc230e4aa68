//! MLP outputs taken apart: which features are active, what they write at which layer, and what is left over.
//!
//! All at the transcoders' sites; how writes get from there into the residual stream is not known here. A feature may write
//! at several layers, so layers are encoded first, then written, then compared with what the model computed. What is written is most
//! of what there is: it is kept, or made anew, a layer at a time, whenever it is asked for ([`Parts::writes`]), to the same numbers.

use crate::ReplacementError;
use circuit_index::{FeatureId, Pos, SourceOrder, SumOrder};
use circuit_torch::{TorchError, runtime};
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
    writes: Writes,
    /// `[n]` for each layer: at which position each of what is written there is.
    pub(crate) positions: Vec<Tensor>,
    /// `[pos, d_model]` for each layer: output less reconstruction, zero at ignored positions.
    pub(crate) errors: Vec<Tensor>,
    /// For each layer the fraction of variance that is left over.
    pub(crate) unexplained: Vec<f64>,
}

/// What is written at each layer, or what it is made from.
#[derive(Debug)]
enum Writes {
    /// As [`Parts::writes`] has it.
    Kept(Vec<Vec<Tensor>>),
    /// Those that write, layer by layer, and how much is done at once.
    Anew(Vec<ActiveFeatures>, Cuts),
}

impl Parts {
    /// Takes `outputs [pos, d_model]` apart with the features found in `inputs [pos, d_model]` ([`encode`]), one of each per layer.
    /// What is kept of what is written at a layer is what `keep` makes of it (`[n, d_model]`, and each row's position).
    pub(crate) fn new(
        set: &TranscoderSet,
        found: Vec<ActiveFeatures>,
        inputs: &[Tensor],
        outputs: &[Tensor],
        ignored: usize,
        cuts: crate::Cuts,
        keep: impl Fn(usize, &Tensor, &Tensor) -> Tensor,
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
        let positions = positions_of(set, &sum_order, &inputs[0]);
        let all_written = match cuts.keep_writes {
            true => written(set, &found, &sum_order, &positions, &inputs[0], cuts)?,
            false => Vec::new(),
        };
        let mut all_written = all_written.into_iter();

        let (mut kept, mut errors, mut unexplained) = (Vec::new(), Vec::new(), Vec::new());
        for (l, transcoder) in set.layers().iter().enumerate() {
            let anew = || written_at(set, &found, &sum_order, l, n_pos, &inputs[0], cuts.encode);
            let mut writes = all_written.next().unwrap_or_else(anew);
            let error = &outputs[l] - transcoder.reconstruct(&writes, &positions[l], &inputs[l]);
            // No error nodes where there are no features.
            let _ = error.narrow(0, 0, ignored.min(n_pos) as i64).zero_();
            if !bool::try_from(error.isfinite().all())? {
                let culprit = format!(" at layer {l}: decoder rows of active features hold NaN or infinity");
                return Err(ReplacementError::NotFinite { what: "reconstruction errors", culprit });
            }
            unexplained.push(unexplained_share(&outputs[l], &error, ignored)?);
            if cuts.keep_writes {
                put_errors(&mut writes, set, &sum_order, l, &error);
                let writes = keep(l, &writes, &positions[l]);
                // Each position's on their own, component by component: products of few rows with few sources, which is what
                // they are kept for, take that at up to twice the speed of sources one by one, and a third faster than a whole
                // layer's components.
                let by_position = by_position(set, &sum_order, l, n_pos, &writes);
                kept.push(by_position.map(|writes| by_component(&writes)).collect());
            }
            errors.push(error);
        }
        let activations = found.iter().map(|features| features.values.shallow_clone()).collect();
        let writes = match cuts.keep_writes {
            true => Writes::Kept(kept),
            false => Writes::Anew(found, cuts.encode),
        };
        Ok(Self { active, activations, order, sum_order, writes, positions, errors, unexplained })
    }

    /// For each of the first positions `[n, d_model]`: what is written there at a layer, in the order of [`SumOrder`]. Errors of layers
    /// below are among them and zero: they write nothing here. What is not kept goes through `keep` now.
    pub(crate) fn writes(
        &self,
        set: &TranscoderSet,
        layer: usize,
        n_pos: usize,
        keep: impl FnOnce(usize, &Tensor, &Tensor) -> Tensor,
    ) -> Vec<Tensor> {
        match &self.writes {
            Writes::Kept(kept) => kept[layer][..n_pos].iter().map(Tensor::shallow_clone).collect(),
            Writes::Anew(found, cuts) => {
                let errors = self.errors[layer].narrow(0, 0, n_pos as i64);
                let mut writes = written_at(set, found, &self.sum_order, layer, n_pos, &errors, *cuts);
                put_errors(&mut writes, set, &self.sum_order, layer, &errors);
                let writes = keep(layer, &writes, &self.positions[layer].narrow(0, 0, writes.size()[0]));
                by_position(set, &self.sum_order, layer, n_pos, &writes).collect()
            }
        }
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
        // After each layer, so that no more than one layer's candidates are held at a time; nor more copies of weights than one
        // layer's, which the allocator would keep, and not always use for the next.
        set.choose(&mut found)?;
        if !transcoder.W_enc.is_ready(input.kind()) {
            runtime::trim();
        }
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
        let mut rows = transcoder.decoder_rows(&piece(&features.indices));
        rows *= piece(&features.values).view([-1, 1, 1]);
        for j in 0..n_outputs {
            take(j, start..end, &rows.select(1, j as i64));
        }
        start = end;
    }
}

/// At which position each of what is written at a layer is, for all layers.
fn positions_of(set: &TranscoderSet, sum_order: &SumOrder, like: &Tensor) -> Vec<Tensor> {
    let positions = (0..set.layers().len()).map(|output| {
        let n_at = n_at(set, sum_order, output, sum_order.tokens().len());
        let positions = (0..).zip(n_at).flat_map(|(pos, n)| std::iter::repeat_n(pos, n as usize));
        Tensor::from_slice(&positions.collect::<Vec<i64>>()).to_device(like.device())
    });
    positions.collect()
}

/// What features write at each layer; zeros for errors, which are not known yet. Each decoder row is read once. On a CPU so many layers
/// are read beside one another, if they are small and share nothing.
fn written(
    set: &TranscoderSet,
    found: &[ActiveFeatures],
    sum_order: &SumOrder,
    positions: &[Tensor],
    like: &Tensor,
    cuts: crate::Cuts,
) -> Result<Vec<Tensor>, ReplacementError> {
    let (n_layers, d_model) = (found.len(), like.size()[1]);
    let nothing = |n| Tensor::zeros([n, d_model], (like.kind(), like.device()));
    let writes: Vec<Tensor> = positions.iter().map(|positions| nothing(positions.size()[0])).collect();
    let layers = set.layers().iter().zip(found).enumerate();
    let jobs = layers.map(|(l, (transcoder, features))| {
        let outputs = l..n_layers.min(l + transcoder.n_outputs());
        let places = outputs.clone().map(|output| {
            let own = |own: Range<usize>| own.start..own.end - 1;
            places_of(sum_order, set, output, l, sum_order.tokens().len(), own).to_device(like.device())
        });
        WritingLayer {
            transcoder: transcoder.shallow_clone(),
            features: features.shallow_clone(),
            places: places.collect(),
            writes: writes[outputs].iter().map(Tensor::shallow_clone).collect(),
        }
    });
    let together = cuts.workers.min(n_layers);
    // All of them together hold no more than one piece of a large layer, and no copies of weights.
    let small = |layer: &WritingLayer| {
        let numbers = layer.features.indices.numel() * d_model as usize * together;
        let alone = layer.transcoder.n_outputs() == 1 && layer.transcoder.W_dec.is_ready(like.kind());
        alone && numbers <= cuts.encode.weights / 8
    };
    let mut jobs: Vec<_> = jobs.collect();
    if together > 1 && like.device() == Device::Cpu && jobs.iter().all(small) {
        let mut result = Ok(());
        let work = |(): &mut (), mut layer: WritingLayer| {
            circuit_torch::guard(|| tch::no_grad(|| layer.write(cuts.encode)))
        };
        runtime::side_by_side(&mut vec![(); together], jobs, work, |done| {
            result = done;
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        result?;
    } else {
        jobs.iter_mut().try_for_each(|layer| layer.write(cuts.encode))?;
    }
    Ok(writes)
}

/// A layer whose features write, and where.
struct WritingLayer {
    transcoder: Transcoder,
    features: ActiveFeatures,
    /// For each layer that is written at: the places of the features,
    places: Vec<Tensor>,
    /// and what is written there, filled in place.
    writes: Vec<Tensor>,
}

impl WritingLayer {
    fn write(&mut self, cuts: Cuts) -> Result<(), TorchError> {
        let Self { transcoder, features, places, writes } = self;
        each_write(transcoder, features, cuts, |j, piece, rows| {
            if let (Some(places), Some(writes)) = (places.get(j), writes.get_mut(j)) {
                let _ = writes.index_copy_(0, &places.narrow(0, piece.start, rows.size()[0]), rows);
            }
        });
        Ok(())
    }
}

/// The same at one layer, and at the first positions alone.
fn written_at(
    set: &TranscoderSet,
    found: &[ActiveFeatures],
    sum_order: &SumOrder,
    output: usize,
    n_pos: usize,
    like: &Tensor,
    cuts: Cuts,
) -> Tensor {
    let (d_model, n) = (like.size()[1], n_at(set, sum_order, output, n_pos).sum());
    let mut writes = Tensor::zeros([n, d_model], (like.kind(), like.device()));
    let step = (cuts.weights as i64 / 8 / d_model.max(1)).max(1);
    for l in set.writers(output) {
        let places = places_of(sum_order, set, output, l, n_pos, |own| own.start..own.end - 1);
        let places = places.to_device(like.device());
        // By position: those at the first positions come first.
        let n = places.size()[0];
        for start in (0..n).step_by(step as usize) {
            let piece = |t: &Tensor| t.narrow(0, start, step.min(n - start));
            let rows = set.layers()[l].decoder_rows_at(output - l, &piece(&found[l].indices));
            let _ = writes.index_copy_(0, &piece(&places), &(rows * piece(&found[l].values).unsqueeze(-1)));
        }
    }
    writes
}

/// The same numbers `[n, d_model]`, with all sources' first component first. Always a copy: a view of one row, which lies as it should, would
/// keep all of its layer.
fn by_component(writes: &Tensor) -> Tensor {
    let (n, d_model) = (writes.size()[0], writes.size()[1]);
    let mut turned = Tensor::empty([d_model, n], (writes.kind(), writes.device()));
    turned.copy_(&writes.tr());
    turned.tr()
}

/// Puts a layer's errors `[pos, d_model]` into what is written there.
fn put_errors(writes: &mut Tensor, set: &TranscoderSet, sum_order: &SumOrder, layer: usize, errors: &Tensor) {
    let n_pos = errors.size()[0] as usize;
    let places = places_of(sum_order, set, layer, layer, n_pos, |own| own.end - 1..own.end);
    let _ = writes.index_copy_(0, &places.to_device(errors.device()), errors);
}

/// How many write at a layer and each of the first positions, errors among them.
fn n_at(set: &TranscoderSet, sum_order: &SumOrder, output: usize, n_pos: usize) -> impl Iterator<Item = i64> {
    (0..n_pos).map(move |pos| sum_order.groups(set.writers(output), Pos::from(pos)).len() as i64)
}

/// What is written at a layer and the first positions, `[n, d_model]`, position by position.
fn by_position(
    set: &TranscoderSet,
    sum_order: &SumOrder,
    output: usize,
    n_pos: usize,
    written: &Tensor,
) -> impl Iterator<Item = Tensor> {
    n_at(set, sum_order, output, n_pos).scan(0, move |first, n| {
        *first += n;
        Some(written.narrow(0, *first - n, n))
    })
}

/// Where a part of each of a layer's groups stands, position by position, among all that is written at the layer `output`.
fn places_of(
    sum_order: &SumOrder,
    set: &TranscoderSet,
    output: usize,
    layer: usize,
    n_pos: usize,
    part: impl Fn(Range<usize>) -> Range<usize>,
) -> Tensor {
    let (mut places, mut first) = (Vec::new(), 0);
    for pos in (0..n_pos).map(Pos::from) {
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
