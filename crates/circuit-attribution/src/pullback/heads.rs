//! Which heads carry an edge: a row of direct effects split at one layer's attention.
//!
//! Between a source and what reads it, the stream passes the attention of every layer in between, and there either a head's
//! values or none of them: `mid = x + Σ_h head_h(x)`. With patterns and denominators held each way is linear, so an edge is the sum of its
//! heads' shares and of what bypasses this layer's attention:
//!
//! ```text
//! above:      g at the stream after the attention of layer l, as for any row
//! head h:     g_h = norm_1^T((pattern_h^T (norm_post^T(g) W_O^h)) W_V^h)
//! bypass:     g
//! below:      each of them goes down on its own, and contracts with the sources
//! ```
//!
//! What sources write at layer l or above has no way through this attention and is part of the bypass. Not here: how rows are
//! chosen and cut.

use super::level::Attention;
use super::room::{Gradients, Room};
use super::{PullBack, Read, descend};
use crate::AttributionError;
use circuit_index::Layer;
use tch::Tensor;

impl Attention {
    /// What each head makes of a gradient `g [pos, d_model]` after attention: `[head, pos, d_model]` before it.
    fn by_head(&self, g: &Tensor) -> Tensor {
        let (pos, d_model) = (g.size()[0], g.size()[1]);
        let (kv, group, d_head, all) = (self.kv_heads, self.group, self.d_head, self.pattern.size()[1]);
        let z = g
            .to_kind(self.stream_to_z.kind())
            .matmul(&self.stream_to_z)
            .view([pos, kv, group, d_head])
            .permute([1, 2, 0, 3])
            .to_kind(self.pattern.kind());
        let pattern = self.pattern.view([kv, all, group, all]).narrow(1, 0, pos).narrow(3, 0, pos);
        let v = pattern.permute([0, 2, 1, 3]).matmul(&z); // [kv_head, group, key, d_head]
        let value_to_stream = self.value_to_stream.view([kv, 1, d_head, d_model]);
        v.to_kind(value_to_stream.kind()).matmul(&value_to_stream).view([kv * group, pos, d_model])
    }
}

impl PullBack<'_> {
    /// One row of direct effects split by the heads of a layer, `[n_heads + 1, n_sources]` in the type of the computation and in
    /// [`circuit_index::SourceOrder`]: the effect that passes through each head, and last what bypasses this layer's attention.
    /// Summed over the first dimension it is the row of [`PullBack::dense_rows`].
    ///
    /// # Errors
    /// If the layer's attention lies above what is read or is none of the model's, or LibTorch fails.
    pub fn row_by_head(&self, read: &Read, layer: Layer) -> Result<Tensor, AttributionError> {
        // A feature reads above its own layer's attention; a read of the stream before a layer, below it.
        let reached = match read {
            Read::Feature(_) => self.place(read).0 + 1,
            Read::Direction(_) | Read::Stream(..) => self.place(read).0,
        };
        if layer.get() >= reached {
            return Err(AttributionError::NotBetween { layer, reached });
        }
        circuit_torch::guard(|| tch::no_grad(|| self.split(read, layer)))
    }

    fn split(&self, read: &Read, split_at: Layer) -> Result<Tensor, AttributionError> {
        let model = self.replacement.model();
        let like = (model.wide_kind(), model.device());
        let (top, pos) = self.place(read);
        let n_pos = pos + 1;
        let n_heads = model.blocks()[split_at.get()].spec.attn.n_heads as i64;
        let n_sources = self.replacement.sum_order().n_sources() as i64;
        let sums = Tensor::f_zeros([n_heads + 1, n_sources], like)?;
        let bypass = sums.narrow(0, n_heads, 1);

        let group = self.groups(std::slice::from_ref(read))?.remove(0);
        let room = Room::new(self.replacement, (n_heads as usize + 1) * n_pos)?;
        let mut g = Gradients::none(&room, 1, n_pos, model.spec().d_model);
        let joining = group.joining.narrow(0, 1);
        match read {
            Read::Feature(_) if top > split_at.get() => {
                descend(&*self.level(top, n_pos)?, &mut g, &joining)?;
            }
            _ => g.join(&joining)?,
        }
        let nothing = group.joining.narrow(0, 0);
        for l in (split_at.get()..top).rev() {
            let level = self.level(l, n_pos)?;
            level.contract(&g.factors()?, &bypass)?;
            match l == split_at.get() {
                true => level.pass_skip(&g.joined()).map(|_| ())?,
                false => descend(&level, &mut g, &nothing)?,
            }
        }
        let alone = g.joined().get(0); // [pos, d_model]
        let by_head = self.level(split_at.get(), n_pos)?.attention.by_head(&alone);
        let parts = Tensor::f_cat(&[by_head, alone.unsqueeze(0)], 0)?;
        let mut g = Gradients::none(&room, n_heads as usize + 1, n_pos, model.spec().d_model);
        g.all.f_copy_(&parts)?;
        g.n_joined = n_heads as usize + 1;
        for l in (0..split_at.get()).rev() {
            let level = self.level(l, n_pos)?;
            level.contract(&g.factors()?, &sums)?;
            descend(&level, &mut g, &nothing)?;
        }
        self.descent(&[])?.contract_tokens(&g.joined(), &sums)?;
        let places = self.replacement.sum_order().visible_from(self.n_layers).flatten();
        let places: Vec<_> = places.map(|place| place as i64).collect();
        Ok(sums.f_index_select(1, &Tensor::from_slice(&places).to_device(like.1))?)
    }
}
