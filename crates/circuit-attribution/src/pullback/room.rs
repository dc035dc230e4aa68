//! Gradients on their way down, and the room that they and their products take.

use super::products;
use crate::AttributionError;
use circuit_model::Model;
use circuit_replacement::LocalReplacement;
use tch::{Device, Kind, Tensor};

/// The three sizes of a tensor.
pub(super) fn sizes(tensor: &Tensor) -> [i64; 3] {
    let size = tensor.size();
    [size[0], size[1], size[2]]
}

/// Whether attention's products take `z` of a type on a device where it lies, as a thread alone does best
/// ([`circuit_torch::summed_products`]).
pub(super) fn in_place(kind: Kind, device: Device) -> bool {
    kind == Kind::Float && device == Device::Cpu && tch::get_num_threads() == 1
}

/// Room for the gradients of one group of rows and for what their products pass through, taken once for all groups and layers:
/// memory that is taken anew comes as pages that the system clears first, which takes as long as a good part of the products.
pub(super) struct Room {
    gradients: Tensor,
    /// For gradients as factors of products, if those are of another type.
    factors: Option<Tensor>,
    z: Tensor,
    /// For `v`; before it is made for `z` by heads, where that is needed.
    v: Tensor,
    /// For `v` as a factor, if that is of another type.
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
        let made = if in_place(between, model.device()) { kv_heads } else { heads };
        let flat = |numbers, kind| Tensor::f_empty([numbers as i64], (kind, model.device()));
        Ok(Self {
            gradients: flat(positions * spec.d_model, wide)?,
            factors: (factors != wide).then(|| flat(positions * spec.d_model, factors)).transpose()?,
            z: flat(positions * heads, between)?,
            v: flat(positions * made, between)?,
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

    pub(super) fn z(&self, shape: &[i64]) -> Tensor {
        view(&self.z, shape)
    }

    pub(super) fn v(&self, shape: &[i64]) -> Tensor {
        view(&self.v, shape)
    }

    /// The beginning of the room for `v`, which is not made yet; or new room, where less was taken since products were to be in place:
    /// if there are more threads by now, or LibTorch does not show its BLAS.
    pub(super) fn by_head(&self, shape: &[i64]) -> Result<Tensor, AttributionError> {
        Ok(match self.v.numel() >= shape.iter().product::<i64>() as usize {
            true => view(&self.v, shape),
            false => self.v.f_new_empty(shape, (self.v.kind(), self.v.device()))?,
        })
    }

    /// `v` as a factor of a product; gone with the next call.
    pub(super) fn as_factor(&self, v: Tensor) -> Result<Tensor, AttributionError> {
        let Some(room) = &self.values else { return Ok(v) };
        let mut factor = view(room, &v.size());
        factor.f_copy_(&v)?;
        Ok(factor)
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

    /// What `then` makes of the gradients of rows that have joined, at each position, and below them of rows `h [row, d_model]` that are
    /// about to, as factors `[n, d_model]`: so small a number of rows is best multiplied together with others. Those that have joined
    /// are as [`Gradients::factors`] left them.
    pub(super) fn with_joining<R>(
        &self,
        h: &Tensor,
        then: impl FnOnce(&Tensor) -> Result<R, AttributionError>,
    ) -> Result<R, AttributionError> {
        let [_, n_pos, d] = sizes(&self.all);
        let (joined, joining) = (self.n_joined as i64 * n_pos, h.size()[0]);
        let room = self.room.factors.as_ref().unwrap_or(&self.room.gradients);
        let all = view(room, &[joined + joining, d]);
        if joining == 0 {
            return then(&all);
        }
        // For a moment, where the first of them will have their gradients.
        let mut below = all.narrow(0, joined, joining);
        below.f_copy_(h)?;
        let made = then(&all);
        let _ = below.f_zero_()?;
        made
    }

    /// Rows join, each at its own position.
    pub(super) fn join(&mut self, Joining { h, places, .. }: &Joining) -> Result<(), AttributionError> {
        let n = h.size()[0];
        if n > 0 {
            let [_, n_pos, d] = sizes(&self.all);
            let mut joining = self.all.narrow(0, self.n_joined as i64, n).view([n * n_pos, d]);
            let _ = joining.f_index_copy_(0, places, h)?;
            self.n_joined += n as usize;
        }
        Ok(())
    }
}

/// Rows that join together.
pub(super) struct Joining {
    /// `[row, d_model]`: their gradients,
    pub(super) h: Tensor,
    /// `[row]`: at which position each,
    pub(super) at: Tensor,
    /// and `[row]`: which that is of all positions of these rows, row after row.
    pub(super) places: Tensor,
}

impl Joining {
    /// So many of them from the n-th on.
    pub(super) fn narrow(&self, first: usize, n: usize) -> Self {
        let [h, at, places] = [&self.h, &self.at, &self.places].map(|t| t.narrow(0, first as i64, n as i64));
        Self { h, at, places }
    }
}
