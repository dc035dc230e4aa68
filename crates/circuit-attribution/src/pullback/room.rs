//! Gradients on their way down, and the room that they and their products take.

use crate::AttributionError;
use circuit_model::Model;
use tch::{Kind, Tensor};

/// The three sizes of a tensor.
pub(super) fn sizes(tensor: &Tensor) -> [i64; 3] {
    let size = tensor.size();
    [size[0], size[1], size[2]]
}

/// Room for the gradients of one group of rows and for what their products pass through, taken once for all groups and layers:
/// memory that is taken anew comes as pages that the system clears first, which takes as long as a good part of the products.
pub(super) struct Room {
    sums: Tensor,
    gradients: Tensor,
    first: Tensor,
    second: Tensor,
}

impl Room {
    /// For gradients at so many positions, all rows taken together, and for so many sums.
    pub(super) fn new(model: &Model, positions: usize, sums: usize) -> Result<Self, AttributionError> {
        let spec = model.spec();
        let heads = spec.layers.iter().map(|layer| layer.attn.n_heads * layer.attn.d_head).max().unwrap_or(0);
        let flat = |numbers| Tensor::f_empty([numbers as i64], (model.wide_kind(), model.device()));
        Ok(Self {
            sums: flat(sums)?,
            gradients: flat(positions * spec.d_model)?,
            first: flat(positions * heads)?,
            second: flat(positions * heads)?,
        })
    }

    /// Whether it is enough for so many numbers of gradients and sums.
    pub(super) fn holds(&self, gradients: usize, sums: usize) -> bool {
        self.gradients.numel() >= gradients && self.sums.numel() >= sums
    }

    /// Room for sums, `[row, n]`, all zero.
    pub(super) fn sums(&self, rows: usize, n: usize) -> Tensor {
        view(&self.sums, &[rows as i64, n as i64]).zero_()
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
}

/// The beginning of a flat tensor in another shape.
fn view(flat: &Tensor, shape: &[i64]) -> Tensor {
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
