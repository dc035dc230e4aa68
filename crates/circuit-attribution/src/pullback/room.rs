//! Gradients on their way down, and the room that they and their products take.

use super::products;
use crate::AttributionError;
use circuit_model::Model;
use circuit_replacement::LocalReplacement;
use tch::{Kind, Tensor};

/// The three sizes of a tensor.
pub(super) fn sizes(tensor: &Tensor) -> [i64; 3] {
    let size = tensor.size();
    [size[0], size[1], size[2]]
}

/// Room for the gradients of one group of rows and for what their products pass through, taken once for all groups and layers:
/// memory that is taken anew comes as pages that the system clears first, which takes as long as a good part of the products.
pub(super) struct Room {
    gradients: Tensor,
    /// For gradients as factors of products, if those are of another type.
    factors: Option<Tensor>,
    first: Tensor,
    second: Tensor,
    /// For what attention's last product takes, if that is of another type than what the one before makes.
    values: Option<Tensor>,
}

impl Room {
    /// For gradients at so many positions, all rows taken together.
    pub(super) fn new(
        replacement: &LocalReplacement<'_>,
        positions: usize,
    ) -> Result<Self, AttributionError> {
        let (model, spec) = (replacement.model(), replacement.model().spec());
        let attention = || spec.layers.iter().map(|layer| &layer.attn);
        let heads = attention().map(|attn| attn.n_heads * attn.d_head).max().unwrap_or(0);
        let kv_heads = attention().map(|attn| attn.n_kv_heads * attn.d_head).max().unwrap_or(0);
        let (wide, factors, between) =
            (model.wide_kind(), products::kind(replacement), products::between(replacement));
        let flat = |numbers, kind| Tensor::f_empty([numbers as i64], (kind, model.device()));
        Ok(Self {
            gradients: flat(positions * spec.d_model, wide)?,
            factors: (factors != wide).then(|| flat(positions * spec.d_model, factors)).transpose()?,
            first: flat(positions * heads, between)?,
            second: flat(positions * heads, between)?,
            values: (factors != between).then(|| flat(positions * kv_heads, factors)).transpose()?,
        })
    }

    /// For so many sums.
    pub(super) fn sums(model: &Model, sums: usize) -> Result<Tensor, AttributionError> {
        Ok(Tensor::f_empty([sums as i64], (model.wide_kind(), model.device()))?)
    }

    /// Whether it is enough for so many numbers of gradients.
    pub(super) fn holds(&self, gradients: usize) -> bool {
        self.gradients.numel() >= gradients
    }

    /// Room for gradients, `[row, pos, d_model]`, all zero.
    pub(super) fn gradients(&self, rows: usize, n_pos: usize, d: usize) -> Tensor {
        view(&self.gradients, &[rows, n_pos, d].map(|n| n as i64)).zero_()
    }

    pub(super) fn first(&self, shape: &[i64]) -> Tensor {
        view(&self.first, shape)
    }

    pub(super) fn second(&self, shape: &[i64]) -> Tensor {
        view(&self.second, shape)
    }

    /// Where there is no room of its own for it, that of [`Room::second`].
    pub(super) fn values(&self, shape: &[i64]) -> Tensor {
        view(self.values.as_ref().unwrap_or(&self.second), shape)
    }
}

/// The beginning of a flat tensor in another shape.
pub(super) fn view(flat: &Tensor, shape: &[i64]) -> Tensor {
    flat.narrow(0, 0, shape.iter().product()).view(shape)
}

/// Gradients on their way down, `[row, pos, d_model]`: those of rows that have joined, then zeros where others will.
pub(super) struct Gradients<'r> {
    pub(super) all: Tensor,
    pub(super) n_joined: usize,
    pub(super) room: &'r Room,
}

impl<'r> Gradients<'r> {
    /// None has joined yet.
    pub(super) fn none(room: &'r Room, rows: usize, n_pos: usize, d: usize) -> Self {
        Self { all: room.gradients(rows, n_pos, d), n_joined: 0, room }
    }

    /// Those that have joined.
    pub(super) fn joined(&self) -> Tensor {
        self.all.narrow(0, 0, self.n_joined as i64)
    }

    /// Those that have joined, as factors of products; gone with the next call.
    pub(super) fn factors(&self) -> Result<Tensor, AttributionError> {
        let joined = self.joined();
        let Some(room) = &self.room.factors else { return Ok(joined) };
        let mut factors = view(room, &joined.size());
        factors.f_copy_(&joined)?;
        Ok(factors)
    }

    /// `h [row, d_model]` join, each `at [row]` its own position.
    pub(super) fn join(&mut self, (h, at): &(Tensor, Tensor)) -> Result<(), AttributionError> {
        let n = at.size()[0];
        if n > 0 {
            let nth = Tensor::f_arange(n, (Kind::Int64, h.device()))?;
            let mut joining = self.all.narrow(0, self.n_joined as i64, n);
            let _ = joining.f_index_put_(&[Some(&nth), Some(at)], h, false)?;
            self.n_joined += n as usize;
        }
        Ok(())
    }
}
