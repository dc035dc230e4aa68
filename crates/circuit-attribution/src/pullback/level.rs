//! One layer, ready for gradients to go down through: skip, attention, and what sources write there.
//!
//! Everything that patterns and denominators held make linear is folded into matrices once for each prompt. A level holds all that
//! a row meets at its layer and nothing else, so that several threads can have their own. Where what sources write is not kept, a
//! level is kept without it, and gets it each time ([`Level::with_writes`]). Not here: in which order levels are gone through, and
//! how rows join ([`super`]).

use super::products::{self, product, products_by_position};
use super::room::{Room, in_place, sizes};
use crate::AttributionError;
use circuit_index::{Layer, LayerSite, Pos};
use circuit_model::{Block, Norm};
use circuit_replacement::LocalReplacement;
use std::ops::Range;
use std::sync::Arc;
use tch::Tensor;

/// A layer with all that gradients meet there.
pub(super) struct Level {
    pub(super) attention: Attention,
    skip: Option<Skip>,
    /// For each position `[d_model, source]`: what is written into the stream there; no position where that is made each time.
    writes: Vec<Tensor>,
    /// For each position, where the effects of these sources are summed up,
    groups: Arc<[Range<usize>]>,
    /// and whether nothing else is, there.
    alone: bool,
}

impl Level {
    /// That of a layer, folded; with what is written there, where that is kept.
    pub(super) fn of(replacement: &LocalReplacement<'_>, layer: Layer) -> Result<Self, AttributionError> {
        let writers = replacement.transcoders().writers(layer.get());
        let groups = |pos| replacement.sum_order().groups(writers.clone(), Pos::from(pos));
        let level = Self {
            attention: Attention::of(replacement, layer)?,
            skip: Skip::of(replacement, layer.get()),
            writes: Vec::new(),
            groups: (0..replacement.n_pos()).map(groups).collect(),
            alone: replacement.sum_order().is_of_one_layer(),
        };
        match replacement.cuts().keep_writes {
            true => level.with_writes(replacement, layer, replacement.n_pos()),
            false => Ok(level),
        }
    }

    /// The same with what is written there at the first positions.
    pub(super) fn with_writes(
        self,
        replacement: &LocalReplacement<'_>,
        layer: Layer,
        n_pos: usize,
    ) -> Result<Self, AttributionError> {
        let written = replacement.writes(layer, n_pos)?;
        Ok(Self { writes: written.iter().map(Tensor::tr).collect(), ..self })
    }

    /// The same; its numbers are shared.
    pub(super) fn shallow_clone(&self) -> Self {
        Self {
            attention: self.attention.shallow_clone(),
            skip: self.skip.as_ref().map(Skip::shallow_clone),
            writes: self.writes.iter().map(Tensor::shallow_clone).collect(),
            groups: Arc::clone(&self.groups),
            alone: self.alone,
        }
    }

    /// `A[row, source] += g[p] · write` for all that is written here: one product per position. `g [row, pos, d_model]` as factors, `sums
    /// [row, n]`. Where nothing else is summed up there, it need not be zero before.
    pub(super) fn contract(&self, g: &Tensor, sums: &Tensor) -> Result<(), AttributionError> {
        let [rows, n_pos, _] = sizes(g);
        if rows == 0 {
            return Ok(());
        }
        let (sums, n) = (sums.narrow(0, 0, rows), n_pos as usize);
        products_by_position(&sums, &self.groups[..n], g, &self.writes[..n], !self.alone)?;
        // Gradients do not reach later positions: what is written there has no effect.
        if let (true, [first, ..]) = (self.alone, &self.groups[n..]) {
            let end = self.groups.last().map_or(first.start, |last| last.end);
            let _ = sums.narrow(1, first.start as i64, (end - first.start) as i64).f_zero_()?;
        }
        Ok(())
    }

    /// `g += norm_2^T(W_skip^T g)` where the layer's transcoder has a skip; says whether it has.
    pub(super) fn pass_skip(&self, g: &Tensor) -> Result<bool, AttributionError> {
        let Some(Skip { matrix, scale }) = &self.skip else { return Ok(false) };
        let skipped = g.f_matmul(matrix)? / scale.narrow(0, 0, g.size()[1]);
        let _ = g.shallow_clone().f_add_(&skipped)?;
        Ok(true)
    }
}

/// A transcoder's linear skip between the norms around the MLP, with their denominators held.
struct Skip {
    /// `[d_model, d_model]`.
    matrix: Tensor,
    /// `[pos, 1]`: the denominators.
    scale: Tensor,
}

impl Skip {
    fn of(replacement: &LocalReplacement<'_>, layer: usize) -> Option<Self> {
        let W_skip = replacement.transcoders().layers()[layer].W_skip.as_ref()?;
        let (block, frozen) = (&replacement.model().blocks()[layer], &replacement.trace().layers[layer]);
        let info = replacement.transcoders().info();
        let W_skip = W_skip.to_kind(frozen.mlp_scale.kind());
        // Down through the norm after the MLP where the output site lies before it, through W_skip, and through the norm before.
        let (matrix, above) = match (info.writes, &block.mlp_post_norm, &frozen.mlp_post_scale) {
            (LayerSite::MlpRawOut, Some(norm), Some(scale)) => (unfold_norm(&W_skip, norm), Some(scale)),
            _ => (W_skip, None),
        };
        let matrix = read_to_stream(info.reads, block, &matrix);
        let below = (info.reads != LayerSite::ResidMid).then_some(&frozen.mlp_scale);
        let scale = match (above, below) {
            (Some(above), Some(below)) => above * below,
            (Some(one), None) | (None, Some(one)) => one.shallow_clone(),
            (None, None) => frozen.mlp_scale.ones_like(),
        };
        Some(Self { matrix, scale })
    }

    fn shallow_clone(&self) -> Self {
        Self { matrix: self.matrix.shallow_clone(), scale: self.scale.shallow_clone() }
    }
}

/// Reads `r [.., d_model]` at the feature-input site, as gradients in the stream before the MLP's norm; its denominators apart.
pub(super) fn read_to_stream(site: LayerSite, block: &Block, r: &Tensor) -> Tensor {
    match site {
        LayerSite::MlpIn => fold_norm(r, &block.mlp_norm),
        LayerSite::MlpNormalized => block.mlp_norm.normalized_to_input(r),
        _ => r.shallow_clone(), // hook_resid_mid is the stream itself
    }
}

/// `P(gain ⊙ W)` for rows of `W [.., d_model]`: the transpose of a norm folded into a matrix that writes into the stream.
fn fold_norm(matrix: &Tensor, norm: &Norm) -> Tensor {
    norm.centre(&(matrix * norm.gain()))
}

/// `gain ⊙ P W` for columns of `W [d_model, ..]`: the transpose of a norm folded into a matrix that reads the stream.
fn unfold_norm(matrix: &Tensor, norm: &Norm) -> Tensor {
    norm.centre(&matrix.tr()).tr() * norm.gain().unsqueeze(-1)
}

/// Attention of one layer with patterns and denominators held, as the three factors of `g += pattern'ᵀ (g A) B`.
pub(super) struct Attention {
    /// `A [d_model, head * d_head]`: from the stream through the norm after attention and `W_O`.
    pub(super) stream_to_z: Tensor,
    /// `[kv_head, key, group * query]`: the pattern, each entry over the denominators at its two ends.
    pub(super) pattern: Tensor,
    /// `B [kv_head * d_head, d_model]`: through `W_V` and the norm before attention.
    pub(super) value_to_stream: Tensor,
    pub(super) kv_heads: i64,
    pub(super) group: i64,
    pub(super) d_head: i64,
}

impl Attention {
    /// The same; its numbers are shared.
    fn shallow_clone(&self) -> Self {
        let [stream_to_z, pattern, value_to_stream] =
            [&self.stream_to_z, &self.pattern, &self.value_to_stream].map(Tensor::shallow_clone);
        Self { stream_to_z, pattern, value_to_stream, ..*self }
    }

    /// That of a layer, folded.
    fn of(replacement: &LocalReplacement<'_>, layer: Layer) -> Result<Self, AttributionError> {
        let (model, trace) = (replacement.model(), replacement.trace());
        let (block, frozen) = (&model.blocks()[layer.get()], &trace.layers[layer.get()]);
        let wide = model.wide_kind();
        let spec = &block.spec.attn;
        let (kv_heads, d_head) = (spec.n_kv_heads as i64, spec.d_head as i64);
        let group = (spec.n_heads / spec.n_kv_heads) as i64;
        let n_pos = replacement.n_pos() as i64;

        // Both norms are linear with their denominators held. Gain and centring go into the matrices,
        //   g ↦ P(gain·g) W_O = g (gain ⊙ P W_O)       v ↦ P(gain·(v W_V)) = v P(gain ⊙ W_V)
        // and the denominators, one per position, into the pattern.
        let W_O = block.attn.out.weight.to_kind(wide);
        let stream_to_z = match &block.attn_post_norm {
            Some(norm) => unfold_norm(&W_O, norm),
            None => W_O,
        };
        let value_to_stream = fold_norm(&block.attn.v.weight.to_kind(wide), &block.attn_norm);
        let mut pattern = trace.pattern(layer)? / frozen.attn_scale.view([1, 1, n_pos]); // [head, query, key]
        if let Some(scale) = &frozen.attn_post_scale {
            pattern /= scale.view([1, n_pos, 1]);
        }
        let pattern = pattern.view([kv_heads, group * n_pos, n_pos]).transpose(1, 2).contiguous();
        let [stream_to_z, value_to_stream] =
            [stream_to_z, value_to_stream].map(|factor| factor.to_kind(products::kind(replacement)));
        let pattern = pattern.to_kind(products::between(replacement));
        Ok(Self { stream_to_z, pattern, value_to_stream, kv_heads, group, d_head })
    }

    /// `z [n, head * d_head]` of gradients `g [n, d_model]` (as factors).
    pub(super) fn z(&self, g: &Tensor, room: &Room) -> Result<Tensor, AttributionError> {
        let z = room.z(&[g.size()[0], self.kv_heads * self.group * self.d_head]);
        product(&z, g, &self.stream_to_z)?;
        Ok(z)
    }

    /// `v [row, key, kv_head * d_head]` of `z [row * query, head * d_head]`, over the first positions; both lie without gaps.
    /// Both are the beginning of their room; `z` may be overwritten.
    pub(super) fn mix(&self, z: &Tensor, v: &Tensor, room: &Room) -> Result<(), AttributionError> {
        let [rows, pos, _] = sizes(v);
        let (kv, group, d_head) = (self.kv_heads, self.group, self.d_head);
        let z = z.view([rows, pos, kv, group, d_head]);
        let mut v = v.view([rows, pos, kv, d_head]);
        // A thread alone takes row by row, each in a cache and none of it copied.
        if in_place(z.kind(), z.device()) {
            let pattern = self.pattern_by_head(pos).f_unsqueeze(0)?;
            let pattern = pattern.f_expand([rows, kv, group, pos, pos], false)?;
            let z_by_head = z.permute([0, 2, 3, 1, 4]); // [row, kv_head, group, query, d_head]
            if circuit_torch::summed_products(&mut v.permute([0, 2, 1, 3]), &pattern, &z_by_head)? {
                return Ok(());
            }
        }
        // A GPU, or many threads, take large products: a head's pattern meets all rows at once, [key, query] with [query, row * d_head].
        let by_head = room.by_head(&[kv, group, pos, rows, d_head])?;
        by_head.shallow_clone().f_copy_(&z.permute([2, 3, 1, 0, 4]))?;
        let mixed = room.z(&[kv, pos, rows * d_head]);
        let _ = self.pattern_to(pos).f_bmm_out(&mixed, &by_head.view([kv, group * pos, rows * d_head]))?;
        v.f_copy_(&mixed.view([kv, pos, rows, d_head]).permute([2, 1, 0, 3]))?;
        Ok(())
    }

    /// The pattern among the first `pos` positions, `[kv_head, group, key, query]`, where it lies.
    fn pattern_by_head(&self, pos: i64) -> Tensor {
        let (kv, group, all) = (self.kv_heads, self.group, self.pattern.size()[1]);
        let pattern = self.pattern.view([kv, all, group, all]);
        pattern.narrow(1, 0, pos).narrow(3, 0, pos).permute([0, 2, 1, 3])
    }

    /// The pattern among the first `pos` positions, `[kv_head, key, group * query]`.
    fn pattern_to(&self, pos: i64) -> Tensor {
        let (kv, group, all) = (self.kv_heads, self.group, self.pattern.size()[1]);
        match pos == all {
            true => self.pattern.shallow_clone(),
            false => {
                let pattern = self.pattern.view([kv, all, group, all]);
                pattern.narrow(1, 0, pos).narrow(3, 0, pos).reshape([kv, pos, group * pos])
            }
        }
    }

    /// `v [row, key, kv_head * d_head]` of `z [row, head * d_head]` for rows that are about to join, each non-zero at its own position
    /// (`at`) alone: so the pattern meets one query.
    pub(super) fn mix_joining(&self, z: &Tensor, at: &Tensor, v: &Tensor) -> Result<(), AttributionError> {
        let [rows, pos, _] = sizes(v);
        let (kv, group, d_head, all) = (self.kv_heads, self.group, self.d_head, self.pattern.size()[1]);
        let pattern = self.pattern.view([kv, all, group, all]).narrow(1, 0, pos).f_index_select(3, at)?;
        let mut v = v.view([rows, pos, kv, d_head]).permute([0, 2, 1, 3]);
        // Both as matrices for each head: [key, 1] with [1, d_head].
        let by_head = pattern.permute([3, 0, 2, 1]).unsqueeze(-1);
        let z_by_head = z.view([rows, kv, group, 1, d_head]);
        if !circuit_torch::summed_products(&mut v, &by_head, &z_by_head)? {
            v.f_copy_(&pattern.permute([3, 0, 1, 2]).f_matmul(&z_by_head.squeeze_dim(3))?)?;
        }
        Ok(())
    }
}
