//! The forward pass: one block for every family, reading only the description.
//!
//! `mid = x + attn(norm(x))`, `out = mid + mlp(norm(mid))`, each output through a norm of its own where the description has
//! one. Every named value passes a [`Visitor`]. Weights ask for no gradient, so LibTorch's autograd has nothing to record, unless
//! a visitor brings in a tensor that does ask for one: tests compare the pull-back with autograd that way.

use crate::ModelError;
use crate::cache::{Grown, KvCache};
use crate::hooks::Visitor;
use crate::model::{Block, Model, TokenBatch};
use crate::norm::wide;
use crate::pattern::{mask, pattern, scores, soft_cap};
use crate::rope::RopeTables;
use crate::spec::{AttnSpec, Reach, RopeSpec};
use circuit_index::{Layer, LayerSite, Site};
use std::ops::Range;
use std::sync::atomic::Ordering;
use tch::Tensor;

impl Model {
    /// Logits `[batch, pos, d_vocab]`, after any soft cap, in the type of the weights.
    ///
    /// # Errors
    /// If the visitor needs a site that this model does not have or fails itself, or LibTorch fails (for example for want of
    /// memory).
    pub fn forward(&self, tokens: &TokenBatch, visitor: &mut dyn Visitor) -> Result<Tensor, ModelError> {
        self.check_needs(visitor)?;
        circuit_torch::guard(|| self.run(tokens, Pass::new(0..tokens.n_pos(), None), visitor))
    }

    /// The same for tokens that follow on what `cache` holds: logits `[batch, new pos, d_vocab]` of these tokens alone, whose keys
    /// and values the cache then holds too. The visitor sees values of the new positions; attention scores and patterns
    /// are `[batch, head, new pos, all pos]`.
    ///
    /// # Errors
    /// As [`Self::forward`], and if the cache is another model's, holds other batch rows, or has no room for as many tokens. The
    /// cache then stays as it was.
    pub fn forward_cached(
        &self,
        tokens: &TokenBatch,
        cache: &mut KvCache,
        visitor: &mut dyn Visitor,
    ) -> Result<Tensor, ModelError> {
        self.check_needs(visitor)?;
        cache.check(self, tokens)?;
        let positions = cache.n_pos()..cache.n_pos() + tokens.n_pos();
        let mut grown = Grown::new(cache);
        let pass = Pass::new(positions, Some(&mut grown));
        let logits = circuit_torch::guard(|| self.run(tokens, pass, visitor))?;
        cache.commit(grown, tokens);
        Ok(logits)
    }

    fn check_needs(&self, visitor: &dyn Visitor) -> Result<(), ModelError> {
        let sites = self.spec().sites();
        match visitor.needs().into_iter().find(|site| !sites.contains(site)) {
            Some(site) => Err(ModelError::NoSuchSite { site, n_layers: self.spec().n_layers() }),
            None => Ok(()),
        }
    }

    fn run(
        &self,
        tokens: &TokenBatch,
        mut pass: Pass<'_>,
        visitor: &mut dyn Visitor,
    ) -> Result<Tensor, ModelError> {
        let mut x = visitor.visit(Site::Embed, self.embed(tokens.ids()))?; // [batch, pos, d_model]
        if let Some(W_pos) = &self.W_pos {
            let positions = W_pos.narrow(0, pass.start(), pass.n_new()).expand_as(&x);
            x = &x + visitor.visit(Site::PosEmbed, positions)?;
        }
        // Pages of mapped weights are taken layer by layer, once: one by one, each would be an interruption.
        let taken = self.taken.swap(true, Ordering::Relaxed);
        for (l, block) in self.blocks.iter().enumerate() {
            if !taken {
                block.always_read().for_each(circuit_torch::populate);
            }
            let at = |site| Site::Block(Layer::from(l), site);
            x = visitor.visit(at(LayerSite::ResidPre), x)?;
            let attn_out = attention(block, &x, &mut pass, &at, visitor)?;
            let mid = visitor.visit(at(LayerSite::ResidMid), x + attn_out)?;
            let mlp_out = mlp(block, &mid, &at, visitor)?;
            x = visitor.visit(at(LayerSite::ResidPost), mid + mlp_out)?;
        }
        let x = self.final_norm.forward(&x, Site::FinalNormScale, Some(Site::FinalNormalized), visitor)?;
        let x = visitor.visit(Site::UnembedIn, x)?;
        if !taken {
            circuit_torch::populate(&self.W_U);
        }
        let logits = visitor.visit(Site::LogitsBeforeCap, x.linear(&self.W_U, None::<&Tensor>))?;
        Ok(soft_cap(logits, self.spec().unembed.soft_cap))
    }

    /// What the token embedding adds, `[.., d_model]` for ids `[..]`.
    fn embed(&self, ids: &Tensor) -> Tensor {
        let rows = Tensor::embedding(&self.W_E, ids, -1, false, false);
        match self.spec().embed.scale {
            // The factor is rounded to the type of the weights, as the published models were trained.
            Some(scale) => rows * Tensor::from(scale).to_kind(self.kind()).to_device(self.device()),
            None => rows,
        }
    }
}

/// The positions that a pass reads, what came before them, and what several layers use alike: rotary tables and masks.
struct Pass<'a> {
    positions: Range<usize>,
    grown: Option<&'a mut Grown>,
    ropes: Vec<(RopeSpec, usize, RopeTables)>,
    masks: Vec<(Reach, Tensor)>,
}

impl<'a> Pass<'a> {
    fn new(positions: Range<usize>, grown: Option<&'a mut Grown>) -> Self {
        Self { positions, grown, ropes: Vec::new(), masks: Vec::new() }
    }

    /// The first position that is read.
    fn start(&self) -> i64 {
        self.positions.start as i64
    }

    /// How many are read.
    fn n_new(&self) -> i64 {
        self.positions.len() as i64
    }

    /// Keys and values of all positions up to the last one read.
    fn all_keys_and_values(&mut self, k: Tensor, v: Tensor) -> [Tensor; 2] {
        match &mut self.grown {
            Some(grown) => grown.extend([&k, &v]),
            None => [k, v],
        }
    }

    fn rope(&mut self, spec: &RopeSpec, d_head: usize, like: &Tensor) -> &RopeTables {
        let found = self.ropes.iter().position(|(s, d, _)| s == spec && *d == d_head);
        let i = found.unwrap_or_else(|| {
            self.ropes.push((*spec, d_head, RopeTables::new(spec, self.positions.clone(), d_head, like)));
            self.ropes.len() - 1
        });
        &self.ropes[i].2
    }

    /// `[query, key]`, true where the query does not see the key. The first query stands at the start, the first key at 0.
    fn mask(&mut self, reach: Reach, device: tch::Device) -> &Tensor {
        let found = self.masks.iter().position(|(r, _)| *r == reach);
        let i = found.unwrap_or_else(|| {
            self.masks.push((reach, mask(reach, &self.positions, device)));
            self.masks.len() - 1
        });
        &self.masks[i].1
    }
}

/// What attention adds to the stream, `[batch, pos, d_model]`.
fn attention(
    block: &Block,
    x: &Tensor,
    pass: &mut Pass<'_>,
    at: &impl Fn(LayerSite) -> Site,
    visitor: &mut dyn Visitor,
) -> Result<Tensor, ModelError> {
    let (attn, spec) = (&block.attn, &block.spec.attn);
    let &[batch, pos, _] = x.size().as_slice() else { unreachable!("the stream is [batch, pos, d_model]") };
    let (heads, kv_heads, d_head) = (spec.n_heads as i64, spec.n_kv_heads as i64, spec.d_head as i64);

    let x = block.attn_norm.forward(
        x,
        at(LayerSite::AttnNormScale),
        Some(at(LayerSite::AttnNormalized)),
        visitor,
    )?;
    let x = visitor.visit(at(LayerSite::AttnIn), x)?;
    let q = visitor.visit(at(LayerSite::Q), attn.q.forward(&x).view([batch, pos, heads, d_head]))?;
    let k = visitor.visit(at(LayerSite::K), attn.k.forward(&x).view([batch, pos, kv_heads, d_head]))?;
    let v = visitor.visit(at(LayerSite::V), attn.v.forward(&x).view([batch, pos, kv_heads, d_head]))?;
    let (q, k) = match &attn.qk_norm {
        Some([q_norm, k_norm]) => (
            q_norm.forward(&q, at(LayerSite::QNormScale), None, visitor)?,
            k_norm.forward(&k, at(LayerSite::KNormScale), None, visitor)?,
        ),
        None => (q, k),
    };
    let (q, k) = rotate(q, k, spec, pass);
    let q = visitor.visit(at(LayerSite::RotQ), q)?;
    let k = visitor.visit(at(LayerSite::RotK), k)?;
    let [k, v] = pass.all_keys_and_values(k, v);
    let keys = k.size()[1];

    let scores = scores(spec, &q, &k, pass.mask(spec.reach, x.device()));
    let scores = visitor.visit(at(LayerSite::AttnScores), scores)?;
    let pattern = visitor.visit(at(LayerSite::Pattern), pattern(scores, attn.sinks.as_ref()))?; // [batch, head, query, key]

    let grouped = pattern.view([batch, kv_heads, heads / kv_heads, pos, keys]);
    let z = grouped.matmul(&v.transpose(1, 2).unsqueeze(2)).view([batch, heads, pos, d_head]).transpose(1, 2);
    let z = visitor.visit(at(LayerSite::Z), z.contiguous())?; // [batch, pos, head, d_head]
    let out =
        visitor.visit(at(LayerSite::AttnRawOut), attn.out.forward(&z.view([batch, pos, heads * d_head])))?;
    let out = match &block.attn_post_norm {
        Some(norm) => norm.forward(&out, at(LayerSite::AttnPostScale), None, visitor)?,
        None => out,
    };
    visitor.visit(at(LayerSite::AttnOut), out)
}

fn rotate(q: Tensor, k: Tensor, spec: &AttnSpec, pass: &mut Pass<'_>) -> (Tensor, Tensor) {
    let Some(rope) = &spec.rope else { return (q, k) };
    let kind = q.kind();
    let (q, k) = (q.to_kind(wide(kind)), k.to_kind(wide(kind)));
    let tables = pass.rope(rope, spec.d_head, &q);
    (tables.rotate(&q).to_kind(kind), tables.rotate(&k).to_kind(kind))
}

/// What the MLP adds to the stream, `[batch, pos, d_model]`.
fn mlp(
    block: &Block,
    mid: &Tensor,
    at: &impl Fn(LayerSite) -> Site,
    visitor: &mut dyn Visitor,
) -> Result<Tensor, ModelError> {
    let x = block.mlp_norm.forward(
        mid,
        at(LayerSite::MlpNormScale),
        Some(at(LayerSite::MlpNormalized)),
        visitor,
    )?;
    let x = visitor.visit(at(LayerSite::MlpIn), x)?;
    let out = block.mlp.forward(&block.spec.mlp, &x, &mut |site, value| visitor.visit(at(site), value))?;
    let out = visitor.visit(at(LayerSite::MlpRawOut), out)?;
    let out = match &block.mlp_post_norm {
        Some(norm) => norm.forward(&out, at(LayerSite::MlpPostScale), None, visitor)?,
        None => out,
    };
    visitor.visit(at(LayerSite::MlpOut), out)
}
