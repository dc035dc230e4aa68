//! One forward pass with edits: a visitor that holds what is to be held and writes what edits add.
//!
//! An edit of a feature from `a` to `a'` adds `(a' - a) · W_dec` to what the transcoder stands for, at each layer where the feature
//! writes. `a` is the activation of this very pass, so that effects of lower layers count; where layers are held it is that of the
//! undisturbed run. At ignored positions it counts as 0. Held layers keep their undisturbed output, but a linear skip passes the
//! change of its input through. Not here: which edits, and how they were given.

use crate::edit::{Change, Planned};
use circuit_index::{Layer, LayerSite, Site};
use circuit_model::{ModelError, Visitor};
use circuit_transcoder::{Transcoder, TranscoderSet};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// What is held at its undisturbed value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Attention patterns.
    pub(crate) patterns: bool,
    /// Norm denominators, those over heads included.
    pub(crate) denominators: bool,
    /// The outputs of these layers' transcoders.
    pub(crate) layers: Range<usize>,
}

impl Held {
    /// Whether a site keeps its undisturbed value.
    pub(crate) fn holds(&self, site: Site) -> bool {
        match site {
            Site::Block(_, LayerSite::Pattern) => self.patterns,
            Site::FinalNormScale => self.denominators,
            Site::Block(
                _,
                LayerSite::AttnNormScale
                | LayerSite::AttnPostScale
                | LayerSite::QNormScale
                | LayerSite::KNormScale
                | LayerSite::MlpNormScale
                | LayerSite::MlpPostScale,
            ) => self.denominators,
            _ => false,
        }
    }
}

/// What an edit writes: `[n, d_model]` into these rows and positions.
struct Write {
    rows: Tensor,
    positions: Tensor,
    values: Tensor,
}

/// Which edits acted, and which of them changed an activation. An edit is named by its row and its place among the row's edits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    acted: BTreeSet<(usize, usize)>,
    changed: BTreeSet<(usize, usize)>,
}

impl Seen {
    /// Takes in what another pass saw.
    pub(crate) fn add(&mut self, other: &Self) {
        self.acted.extend(&other.acted);
        self.changed.extend(&other.changed);
    }

    /// The edits of a row that acted and changed nothing anywhere.
    pub(crate) fn unchanged(&self, row: usize) -> Vec<usize> {
        let of_row = self.acted.range((row, 0)..(row + 1, 0));
        of_row.filter(|edit| !self.changed.contains(edit)).map(|&(_, nth)| nth).collect()
    }
}

/// One forward pass with edits, as a visitor of its sites.
pub(crate) struct EditedPass<'a> {
    pub(crate) set: &'a TranscoderSet,
    pub(crate) wide: Kind,
    pub(crate) held: &'a Held,
    /// Values of the undisturbed run, `[batch, ..]`: of what is held, of what encoders read, and of held layers' outputs.
    pub(crate) undisturbed: &'a BTreeMap<Site, Tensor>,
    pub(crate) edits: &'a [Planned],
    /// How many leading positions have no features.
    pub(crate) ignored: usize,
    /// The position of the first token of this pass.
    pub(crate) first: usize,
    /// What is still to be written at each layer.
    pending: BTreeMap<usize, Vec<Write>>,
    input_change: Option<Tensor>,
    /// Which edits changed something.
    pub(crate) seen: Seen,
    /// What each layer's encoders read, `[batch, pos, d_model]`.
    pub(crate) inputs: Vec<Tensor>,
}

impl<'a> EditedPass<'a> {
    pub(crate) fn new(
        set: &'a TranscoderSet,
        wide: Kind,
        held: &'a Held,
        undisturbed: &'a BTreeMap<Site, Tensor>,
        edits: &'a [Planned],
        ignored: usize,
        first: usize,
    ) -> Self {
        let (pending, inputs, seen) = (BTreeMap::new(), Vec::new(), Seen::default());
        Self {
            set,
            wide,
            held,
            undisturbed,
            edits,
            ignored,
            first,
            pending,
            input_change: None,
            seen,
            inputs,
        }
    }

    /// What the edits of a layer write, here and above, once it is known what its encoders read.
    fn edit(&mut self, layer: usize, input: &Tensor) {
        let edits: Vec<&Planned> = self.edits.iter().filter(|e| e.layer == layer).collect();
        if edits.is_empty() {
            return;
        }
        let device = input.device();
        let on_device = |numbers: Vec<i64>| Tensor::from_slice(&numbers).to_device(device);
        let rows = on_device(edits.iter().map(|e| e.row as i64).collect());
        let positions = on_device(edits.iter().map(|e| (e.pos - self.first) as i64).collect());
        let features = on_device(edits.iter().map(|e| i64::from(e.feature.0)).collect());
        let transcoder = &self.set.layers()[layer];
        let active = |of: &Tensor| {
            let x = of.index(&[Some(&rows), Some(&positions)]).to_kind(self.wide);
            let counted: Vec<_> = edits.iter().map(|e| f64::from(u8::from(e.pos >= self.ignored))).collect();
            let counted = Tensor::from_slice(&counted).to_kind(self.wide).to_device(device);
            transcoder.activations_at(&x, &features) * counted
        };
        let site = Site::Block(Layer::from(layer), self.set.info().reads);
        let undisturbed = self.undisturbed.get(&site).map(active);
        let now = match &undisturbed {
            Some(undisturbed) if !self.held.layers.is_empty() => undisturbed.shallow_clone(),
            _ => active(input),
        };
        let amount = |read: fn(&Change) -> f64| {
            let amounts: Vec<_> = edits.iter().map(|e| read(&e.change)).collect();
            Tensor::from_slice(&amounts).to_kind(self.wide).to_device(device)
        };
        // new = set + scale · undisturbed + keep · now + add
        let set = amount(|c| if let Change::Set(x) = c { *x } else { 0.0 });
        let scale = amount(|c| if let Change::Scale(x) = c { *x } else { 0.0 });
        let add = amount(|c| if let Change::Add(x) = c { *x } else { 0.0 });
        let keep = amount(|c| if matches!(c, Change::Add(_)) { 1.0 } else { 0.0 });
        let scaled = undisturbed.as_ref().map_or_else(|| now.shallow_clone(), Tensor::shallow_clone) * scale;
        let delta = set + scaled + add + &now * keep - &now;
        // A feature that is active and keeps its value was asked to (a factor of 1): only silent ones are worth a word.
        let silent = now.eq(0.0).logical_and(&delta.eq(0.0)).to_device(Device::Cpu);
        for (i, edit) in edits.iter().enumerate() {
            self.seen.acted.insert((edit.row, edit.nth));
            if silent.int64_value(&[i as i64]) == 0 {
                self.seen.changed.insert((edit.row, edit.nth));
            }
        }
        let written = transcoder.decoder_rows(&features) * delta.view([-1, 1, 1]); // [n, n_outputs, d_model]
        for (j, output) in (layer..self.set.layers().len()).take(transcoder.n_outputs()).enumerate() {
            if self.held.layers.is_empty() || self.held.layers.contains(&output) {
                self.pending.entry(output).or_default().push(Write {
                    rows: rows.shallow_clone(),
                    positions: positions.shallow_clone(),
                    values: written.select(1, j as i64),
                });
            }
        }
    }

    /// The output of a layer's transcoder site: held or computed, with what edits write.
    fn output(&mut self, layer: usize, computed: Tensor) -> Tensor {
        let site = Site::Block(Layer::from(layer), self.set.info().writes);
        let mut value = match self.held.layers.contains(&layer) {
            true => {
                held_output(&self.set.layers()[layer], &self.undisturbed[&site], self.input_change.take())
            }
            false => computed,
        };
        for write in self.pending.remove(&layer).unwrap_or_default() {
            let values = write.values.to_kind(value.kind());
            value = value.index_put(&[Some(&write.rows), Some(&write.positions)], &values, true);
        }
        value
    }
}

/// A held layer's output: the undisturbed one, and what a skip makes of the change of its input.
fn held_output(transcoder: &Transcoder, undisturbed: &Tensor, change: Option<Tensor>) -> Tensor {
    match (&transcoder.W_skip, change) {
        (Some(W_skip), Some(change)) => {
            let passed = change.linear(&W_skip.to_kind(change.kind()), None::<&Tensor>);
            undisturbed + passed.to_kind(undisturbed.kind())
        }
        _ => undisturbed.shallow_clone(),
    }
}

impl Visitor for EditedPass<'_> {
    fn visit(&mut self, site: Site, mut value: Tensor) -> Result<Tensor, ModelError> {
        if self.held.holds(site) {
            value = self.undisturbed[&site].expand_as(&value);
        }
        let Site::Block(layer, part) = site else { return Ok(value) };
        let (layer, info) = (layer.get(), self.set.info());
        if part == info.reads {
            if self.held.layers.contains(&layer) {
                self.input_change = Some(&value - &self.undisturbed[&site]);
            }
            self.edit(layer, &value);
            self.inputs.push(value.shallow_clone());
        } else if part == info.writes {
            value = self.output(layer, value);
        }
        Ok(value)
    }
}
