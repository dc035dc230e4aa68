//! What to do to which feature where, and turning that into single places of a prompt. No tensors here.

use crate::InterventionError;
use circuit_index::{FeatureIndex, Layer, Pos};
use circuit_transcoder::TranscoderSet;
use std::collections::BTreeSet;

/// Where a feature is edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Positions {
    /// At one position.
    At(Pos),
    /// From a position to before another; without an end also at every position that is generated.
    Slice(Pos, Option<Pos>),
}

/// What becomes of a feature's activation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// It becomes this.
    Set(f64),
    /// It becomes this many times what it is in the undisturbed run.
    Scale(f64),
    /// This is added to what it is.
    Add(f64),
}

/// An edit of one feature. Removing it is setting it to 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// The feature's layer.
    pub layer: Layer,
    /// The feature.
    pub feature: FeatureIndex,
    /// Where.
    pub positions: Positions,
    /// What becomes of it.
    pub change: Change,
}

/// An edit at one position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Planned {
    pub(crate) row: usize,
    /// Which of the row's edits this is a part of.
    pub(crate) nth: usize,
    pub(crate) layer: usize,
    pub(crate) feature: FeatureIndex,
    pub(crate) pos: usize,
    pub(crate) change: Change,
}

impl Edit {
    /// Checks an edit against the transcoders: whether there is such a feature, and whether the number is one.
    pub(crate) fn check(&self, set: &TranscoderSet) -> Result<(), InterventionError> {
        let n_layers = set.layers().len();
        let Some(transcoder) = set.layers().get(self.layer.get()) else {
            return Err(InterventionError::NoSuchLayer { layer: self.layer, n_layers });
        };
        if self.feature.get() >= transcoder.n_features() {
            return Err(InterventionError::NoSuchFeature {
                layer: self.layer,
                feature: self.feature,
                n_features: transcoder.n_features(),
            });
        }
        let (Change::Set(value) | Change::Scale(value) | Change::Add(value)) = self.change;
        // Steering vectors are made in fp32 at least.
        if !(value as f32).is_finite() {
            return Err(InterventionError::Value { layer: self.layer, feature: self.feature, value });
        }
        if let Positions::Slice(start, Some(end)) = self.positions
            && end <= start
        {
            return Err(InterventionError::EmptySlice { start, end });
        }
        Ok(())
    }

    /// The positions of a prompt of `n_pos` tokens at which it is edited.
    fn places(&self, n_pos: usize) -> Result<std::ops::Range<usize>, InterventionError> {
        let (first, end) = match self.positions {
            Positions::At(pos) => (pos.get(), pos.get() + 1),
            Positions::Slice(start, end) => (start.get(), end.map_or(n_pos.max(start.get()), Pos::get)),
        };
        // An open slice may begin behind the prompt: it then acts on generated tokens alone.
        let behind = end > n_pos || (first >= n_pos && !self.is_open());
        if behind {
            return Err(InterventionError::NoSuchPosition { pos: Pos::from(end - 1), n_pos });
        }
        Ok(first..end)
    }

    /// Whether it acts on generated tokens too.
    fn is_open(&self) -> bool {
        matches!(self.positions, Positions::Slice(_, None))
    }

    /// Whether it acts on a generated token at a position.
    pub(crate) fn starts_by(&self, pos: usize) -> bool {
        matches!(self.positions, Positions::Slice(start, None) if start.get() <= pos)
    }
}

/// All edits of a row's prompt, position by position.
pub(crate) fn plan(
    row: usize,
    edits: &[Edit],
    n_pos: usize,
    set: &TranscoderSet,
) -> Result<Vec<Planned>, InterventionError> {
    let (mut planned, mut seen) = (Vec::new(), BTreeSet::new());
    for (nth, edit) in edits.iter().enumerate() {
        edit.check(set)?;
        for pos in edit.places(n_pos)? {
            if !seen.insert((edit.layer, edit.feature, pos)) {
                return Err(InterventionError::Twice {
                    layer: edit.layer,
                    feature: edit.feature,
                    pos: Pos::from(pos),
                });
            }
            let (layer, feature, change) = (edit.layer.get(), edit.feature, edit.change);
            planned.push(Planned { row, nth, layer, feature, pos, change });
        }
    }
    Ok(planned)
}
