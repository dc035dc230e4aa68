//! The frozen pull-back: rows of direct effects, from the top layer down. The heart of the project.
//!
//! With patterns, denominators and MLP outputs held the model is linear, so an edge is an inner product: what the target
//! reads, pulled back to where the source writes, times what the source writes. For one row with its gradient `g [pos, d]`:
//!
//! ```text
//! target:       g[last] = P(gain_f · w) / s_f
//! for l = L-1 .. 0:
//!   contract:   A[row, source] += g[p] · write     (sources that write at layer l and position p)
//!   join:       g += read, brought from the feature-input site into the stream   (rows of features of layer l; skips)
//!   attention:  z = norm_post^T(g) W_O ;  v = pattern^T z ;  g += norm_1^T(v W_V)
//! tokens:       A[row, token p] = g[p] · embedding
//! ```
//!
//! Per layer the norms are folded into the two matrices and the pattern once ([`Attention`]), so that a step is three
//! products: `g += pattern' ᵀ(g A) B`. Many rows go down together; a row joins when its layer is reached, and at its own
//! layer meets `A` at its own position only.
//!
//! A feature writes at one layer or, of a cross-layer set, at several: its effect is the sum over them. Sums stand position
//! by position ([`circuit_index::PositionOrder`]), where all that write at one layer and position are neighbours: so they are
//! one matrix and one product, from however many layers they come, and no gradient is gathered. In the end rows are put into
//! the order in which what they see is a prefix ([`circuit_index::SourceOrder`]): below a row's own layer, features have then
//! written all that it can see. Nothing here is LibTorch autograd; that both agree is a test. Not here: which rows, and in
//! which order.

mod heads;

use crate::AttributionError;
use circuit_index::{ActiveIndex, Layer, LayerSite, Pos};
use circuit_model::{Block, Norm};
use circuit_replacement::{FrozenLayer, LocalReplacement};
use tch::{Kind, Tensor};

/// What a row reads.
#[derive(Debug)]
pub enum Read {
    /// The pre-activation of an active feature.
    Feature(ActiveIndex),
    /// A direction `[d_model]` at the input of the unembedding, at the last position.
    Direction(Tensor),
    /// A direction `[d_model]` in the residual stream before a layer, at a position.
    Stream(Layer, Pos, Tensor),
}

impl Read {
    /// The same read; a direction's numbers are shared.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        match self {
            Self::Feature(i) => Self::Feature(*i),
            Self::Direction(w) => Self::Direction(w.shallow_clone()),
            Self::Stream(layer, pos, w) => Self::Stream(*layer, *pos, w.shallow_clone()),
        }
    }
}

/// The linear model that remains of one prompt when everything is held, ready to be gone through backwards.
pub struct PullBack<'a> {
    replacement: &'a LocalReplacement<'a>,
    /// Attention of the layers, unless it is to be folded anew each time.
    attention: Option<Vec<Attention>>,
    n_layers: usize,
    reads_at: LayerSite,
    writes_at: LayerSite,
}

/// Attention of one layer with patterns and denominators held, as the three factors of `g += pattern'ᵀ (g A) B`.
struct Attention {
    /// `A [d_model, head * d_head]`: from the stream through the norm after attention and `W_O`.
    stream_to_z: Tensor,
    /// `[kv_head, key, group * query]`: the pattern, each entry over the denominators at its two ends.
    pattern: Tensor,
    /// `B [kv_head * d_head, d_model]`: through `W_V` and the norm before attention.
    value_to_stream: Tensor,
    kv_heads: i64,
    group: i64,
    d_head: i64,
}

impl Attention {
    /// The same; its numbers are shared.
    fn shallow_clone(&self) -> Self {
        let [stream_to_z, pattern, value_to_stream] =
            [&self.stream_to_z, &self.pattern, &self.value_to_stream].map(Tensor::shallow_clone);
        Self { stream_to_z, pattern, value_to_stream, ..*self }
    }

    /// That of a layer, folded.
    fn of(replacement: &LocalReplacement<'_>, layer: usize) -> Self {
        let (block, frozen) = (&replacement.model().blocks()[layer], &replacement.trace().layers[layer]);
        let wide = frozen.pattern.kind();
        let spec = &block.spec.attn;
        let (kv_heads, d_head) = (spec.n_kv_heads as i64, spec.d_head as i64);
        let group = (spec.n_heads / spec.n_kv_heads) as i64;
        let n_pos = frozen.pattern.size()[1];

        // Both norms are linear with their denominators held. Gain and centring go into the matrices,
        //   g ↦ P(gain·g) W_O = g (gain ⊙ P W_O)       v ↦ P(gain·(v W_V)) = v P(gain ⊙ W_V)
        // and the denominators, one per position, into the pattern.
        let W_O = block.attn.out.weight.to_kind(wide);
        let stream_to_z = match &block.attn_post_norm {
            Some(norm) => norm.centre(&W_O.tr()).tr() * norm.gain().unsqueeze(-1),
            None => W_O,
        };
        let value_to_stream = fold_norm(&block.attn.v.weight.to_kind(wide), &block.attn_norm);
        let mut pattern = &frozen.pattern / frozen.attn_scale.view([1, 1, n_pos]); // [head, query, key]
        if let Some(scale) = &frozen.attn_post_scale {
            pattern /= scale.view([1, n_pos, 1]);
        }
        let pattern = pattern.view([kv_heads, group * n_pos, n_pos]).transpose(1, 2).contiguous();
        Self { stream_to_z, pattern, value_to_stream, kv_heads, group, d_head }
    }

    /// `v [key, row, kv_head * d_head]` of the gradients `g [query, row, d_model]`, over the first `g.size()[0]` positions.
    fn mix(&self, g: &Tensor) -> Tensor {
        let (pos, rows) = (g.size()[0], g.size()[1]);
        let (kv, group, d_head) = (self.kv_heads, self.group, self.d_head);
        let z = g.matmul(&self.stream_to_z).view([pos, rows, kv, group, d_head]);
        let z = z.permute([2, 3, 0, 1, 4]).reshape([kv, group * pos, rows * d_head]);
        let all = self.pattern.size()[1];
        let pattern = match pos == all {
            true => self.pattern.shallow_clone(),
            false => {
                let pattern = self.pattern.view([kv, all, group, all]);
                pattern.narrow(1, 0, pos).narrow(3, 0, pos).reshape([kv, pos, group * pos])
            }
        };
        let v = pattern.bmm(&z).view([kv, pos, rows, d_head]);
        v.permute([1, 2, 0, 3]).reshape([pos, rows, kv * d_head])
    }

    /// The same for rows `h [row, d_model]` that have just joined: each is non-zero at its own position (`at`) alone, so `A`
    /// meets one position, and the pattern one query.
    fn mix_joined(&self, h: &Tensor, at: &Tensor, pos: i64) -> Tensor {
        let rows = h.size()[0];
        let (kv, group, d_head) = (self.kv_heads, self.group, self.d_head);
        let all = self.pattern.size()[1];
        let z = h.matmul(&self.stream_to_z).view([rows, kv, group, d_head]);
        let pattern = self.pattern.view([kv, all, group, all]).narrow(1, 0, pos).index_select(3, at);
        let pattern = pattern.permute([3, 0, 1, 2]); // [row, kv_head, key, group]
        let v = pattern.matmul(&z); // [row, kv_head, key, d_head]
        v.permute([2, 0, 1, 3]).reshape([pos, rows, kv * d_head])
    }
}

/// `h [row, d_model]` as gradients `[pos, row, d_model]`: each row at its own position, zero elsewhere.
fn at_positions(h: &Tensor, at: &Tensor, pos: i64) -> Tensor {
    let mut g = Tensor::zeros([pos, h.size()[0], h.size()[1]], (h.kind(), h.device()));
    let nth = Tensor::arange(h.size()[0], (Kind::Int64, h.device()));
    let _ = g.index_put_(&[Some(at), Some(&nth)], h, false);
    g
}

/// `P(gain ⊙ W)` for rows of `W [.., d_model]`: the transpose of a norm folded into a matrix that writes into the stream.
fn fold_norm(matrix: &Tensor, norm: &Norm) -> Tensor {
    norm.centre(&(matrix * norm.gain()))
}

impl<'a> PullBack<'a> {
    /// Prepares the attention layers of a prompt.
    ///
    /// # Errors
    /// If LibTorch fails, for example for want of memory.
    pub fn new(replacement: &'a LocalReplacement<'a>) -> Result<Self, AttributionError> {
        let info = replacement.transcoders().info();
        circuit_torch::guard(|| {
            let n_layers = replacement.model().blocks().len();
            let fold = |l| Attention::of(replacement, l);
            let attention =
                tch::no_grad(|| replacement.cuts().keep_folded.then(|| (0..n_layers).map(fold).collect()));
            Ok(Self { replacement, attention, n_layers, reads_at: info.reads, writes_at: info.writes })
        })
    }

    /// The prompt's replacement model.
    #[must_use]
    pub fn replacement(&self) -> &'a LocalReplacement<'a> {
        self.replacement
    }

    /// Attention of a layer: as it is kept, or folded anew.
    fn attention(&self, layer: usize) -> Attention {
        match &self.attention {
            Some(kept) => kept[layer].shallow_clone(),
            None => Attention::of(self.replacement, layer),
        }
    }

    /// The layer below which a row's sources are written, and the position up to which it sees.
    fn place(&self, read: &Read) -> (usize, usize) {
        match read {
            Read::Feature(i) => {
                let feature = self.replacement.active()[i.get()];
                (feature.layer.get(), feature.pos.get())
            }
            Read::Direction(_) => (self.n_layers, self.replacement.n_pos() - 1),
            Read::Stream(layer, pos, _) => (layer.get(), pos.get()),
        }
    }

    /// Where a row stands among those that go down with it: the order in which they join. Reads of the stream before a layer
    /// join below its attention, so after its features.
    fn joins(&self, read: &Read) -> impl Ord {
        let (layer, pos) = self.place(read);
        std::cmp::Reverse((layer, !matches!(read, Read::Stream(..)), pos))
    }

    /// Rows of direct effects on `reads`, each over the sources it can see: a prefix of
    /// [`circuit_index::SourceOrder`]. `done` is told after each product how many rows are finished.
    ///
    /// # Errors
    /// If LibTorch fails, for example for want of memory.
    pub fn rows(
        &self,
        reads: &[Read],
        mut done: impl FnMut(usize),
    ) -> Result<Vec<Vec<f32>>, AttributionError> {
        let mut rows = vec![Vec::new(); reads.len()];
        self.each_row(reads, &mut done, |read, row| {
            rows[read] = row.to_vec();
            Ok(())
        })?;
        Ok(rows)
    }

    /// The same, each handed to `take` (with the place of its read) as soon as it is known, in any order: so that no more rows are
    /// held than go down together.
    ///
    /// # Errors
    /// As [`PullBack::rows`], and what `take` says.
    pub fn each_row(
        &self,
        reads: &[Read],
        mut done: impl FnMut(usize),
        mut take: impl FnMut(usize, &[f32]) -> Result<(), AttributionError>,
    ) -> Result<(), AttributionError> {
        let by_position = self.replacement.by_position();
        let mut sums = vec![0.0; by_position.n_sources()];
        let mut row = Vec::with_capacity(by_position.n_sources());
        for together in self.cut(reads) {
            let block = self.together(reads, &together)?.to_kind(Kind::Float).to_device(tch::Device::Cpu);
            for (nth, &read) in together.iter().enumerate() {
                block.get(nth as i64).f_copy_data(&mut sums, by_position.n_sources())?;
                row.clear();
                let pieces = by_position.visible_from(self.place(&reads[read]).0);
                pieces.for_each(|piece| row.extend_from_slice(&sums[piece]));
                take(read, &row)?;
            }
            done(together.len());
        }
        Ok(())
    }

    /// The same rows as one tensor `[n_reads, n_sources]` in the type of the computation, zero where a row sees nothing.
    ///
    /// # Errors
    /// As [`PullBack::rows`].
    pub fn dense_rows(&self, reads: &[Read]) -> Result<Tensor, AttributionError> {
        let by_position = self.replacement.by_position();
        let places = by_position.visible_from(self.n_layers).flatten().map(|place| place as i64);
        let places =
            Tensor::from_slice(&places.collect::<Vec<_>>()).to_device(self.replacement.model().device());
        let all = Tensor::zeros(
            [reads.len() as i64, by_position.n_sources() as i64],
            (self.replacement.model().wide_kind(), self.replacement.model().device()),
        );
        for together in self.cut(reads) {
            let block = self.together(reads, &together)?.f_index_select(1, &places)?;
            for (nth, &read) in together.iter().enumerate() {
                all.get(read as i64).f_copy_(&block.get(nth as i64))?;
            }
        }
        Ok(all)
    }

    /// Which rows go down together: rows of like position, since all of a group are carried over as many positions as its
    /// last one needs. Within a group they stand in the order in which they join. How rows are cut changes no result.
    fn cut(&self, reads: &[Read]) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..reads.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(self.place(&reads[i]).1));
        let mut groups: Vec<_> =
            order.chunks(self.replacement.cuts().rows.max(1)).map(<[usize]>::to_vec).collect();
        for group in &mut groups {
            group.sort_by_key(|&i| self.joins(&reads[i]));
        }
        groups
    }

    /// Takes one group of rows down through all layers; `[n_together, n_sources]`, position by position.
    fn together(&self, reads: &[Read], group: &[usize]) -> Result<Tensor, AttributionError> {
        circuit_torch::guard(|| tch::no_grad(|| self.sweep(reads, group)))
    }

    fn sweep(&self, reads: &[Read], group: &[usize]) -> Result<Tensor, AttributionError> {
        let model = self.replacement.model();
        let like = (model.wide_kind(), model.device());
        let places: Vec<_> = group.iter().map(|&i| self.place(&reads[i])).collect();
        let top = places[0].0;
        let n_pos = places.iter().map(|p| p.1 + 1).max().unwrap_or(0) as i64;
        let d = model.spec().d_model as i64;

        let sums =
            Tensor::zeros([group.len() as i64, self.replacement.by_position().n_sources() as i64], like);
        let mut joined = places.iter().take_while(|p| p.0 == self.n_layers).count();
        let directions = group[..joined].iter().map(|&i| match &reads[i] {
            Read::Direction(w) => w,
            _ => unreachable!("only directions sit above the last layer"),
        });
        let directions: Vec<_> = directions.collect();
        let mut g = self.target_gradients(&directions, n_pos, d, like)?; // [pos, row, d_model]
        for l in (0..self.n_layers.min(top + 1)).rev() {
            let layer = Layer::from(l);
            if joined > 0 {
                self.contract(&g, layer, &sums);
            }
            // Features of layer l join now: they do not see what their own layer writes.
            let here: Vec<_> = (joined..group.len()).take_while(|&i| places[i].0 == l).collect();
            let is_feature = |&&i: &&usize| matches!(reads[group[i]], Read::Feature(_));
            let (features, streams) = here.split_at(here.iter().take_while(is_feature).count());
            let features: Vec<_> = features.iter().map(|&i| &reads[group[i]]).collect();
            g = self.descend(layer, g, &features);
            if !streams.is_empty() {
                let streams: Vec<_> = streams.iter().map(|&i| &reads[group[i]]).collect();
                g = Tensor::f_cat(&[g, self.stream_gradients(&streams, n_pos, d, like)?], 1)?;
            }
            joined += here.len();
        }
        self.contract_tokens(&g, &sums)?;
        Ok(sums)
    }

    /// `A[row, token p] = g[p] · embedding`.
    fn contract_tokens(&self, g: &Tensor, sums: &Tensor) -> Result<(), AttributionError> {
        let n_pos = g.size()[0];
        let tokens = self.replacement.trace().token_vectors.narrow(0, 0, n_pos); // [pos, d_model]
        let on_tokens = g.bmm(&tokens.unsqueeze(-1)).squeeze_dim(-1).tr(); // [row, pos]
        sums.narrow(1, 0, n_pos).f_copy_(&on_tokens)?;
        Ok(())
    }

    /// `g[last] = P(gain_f · w) / s_f`.
    fn target_gradients(
        &self,
        directions: &[&Tensor],
        n_pos: i64,
        d: i64,
        like: (Kind, tch::Device),
    ) -> Result<Tensor, AttributionError> {
        let g = Tensor::zeros([n_pos, directions.len() as i64, d], like);
        if !directions.is_empty() {
            let directions: Vec<_> = directions.iter().map(|w| w.to_device(like.1).to_kind(like.0)).collect();
            let last = n_pos - 1;
            let scale = self.replacement.trace().final_scale.get(last);
            let pulled =
                self.replacement.model().final_norm().pull_back(&Tensor::f_stack(&directions, 0)?, &scale);
            g.get(last).f_copy_(&pulled)?;
        }
        Ok(g)
    }

    /// Reads of the stream before a layer are gradients there as they are.
    fn stream_gradients(
        &self,
        streams: &[&Read],
        n_pos: i64,
        d: i64,
        like: (Kind, tch::Device),
    ) -> Result<Tensor, AttributionError> {
        let g = Tensor::f_zeros([n_pos, streams.len() as i64, d], like)?;
        for (row, read) in streams.iter().enumerate() {
            let Read::Stream(_, pos, w) = read else { unreachable!("features have joined above attention") };
            g.get(pos.get() as i64).get(row as i64).f_copy_(w)?;
        }
        Ok(g)
    }

    /// `A[row, source] += g[p] · write` for all that is written at a layer: one product per position.
    fn contract(&self, g: &Tensor, layer: Layer, sums: &Tensor) {
        let sums = sums.narrow(0, 0, g.size()[1]);
        let writers = self.replacement.transcoders().writers(layer.get());
        let writes = self.replacement.writes(layer);
        let mut first = 0;
        for p in 0..g.size()[0] {
            let sources = self.replacement.by_position().groups(writers.clone(), Pos::from(p as usize));
            let (start, len) = (sources.start as i64, sources.len() as i64);
            let written = writes.narrow(0, first, len); // [source, d_model]
            let _ = sums.narrow(1, start, len).addmm_(&g.get(p), &written.tr());
            first += len;
        }
    }

    /// From below a layer's MLP to below its attention: rows of the layer's features join, all pass skip and attention.
    fn descend(&self, layer: Layer, g: Tensor, features: &[&Read]) -> Tensor {
        let (pos, d) = (g.size()[0], g.size()[2]);
        let attention = self.attention(layer.get());
        let mut g = self.through_skip(layer, g);
        let mut v = Vec::new();
        if g.size()[1] > 0 {
            v.push(attention.mix(&g));
        }
        if !features.is_empty() {
            let (h, at) = self.feature_gradients(layer, features);
            v.push(attention.mix_joined(&h, &at, pos));
            g = Tensor::cat(&[g, at_positions(&h, &at, pos)], 1);
        }
        if v.is_empty() {
            return g;
        }
        let v = Tensor::cat(&v, 1);
        let rows = g.size()[1];
        let mut flat = g.view([pos * rows, d]);
        let _ = flat.addmm_(&v.view([pos * rows, -1]), &attention.value_to_stream);
        flat.view([pos, rows, d])
    }

    /// `g += norm_2^T(W_skip^T g)` where the layer's transcoder has a skip.
    fn through_skip(&self, layer: Layer, g: Tensor) -> Tensor {
        let block = &self.replacement.model().blocks()[layer.get()];
        let frozen = &self.replacement.trace().layers[layer.get()];
        match &self.replacement.transcoders().layers()[layer.get()].W_skip {
            Some(W_skip) if g.size()[1] > 0 => {
                let scale = frozen.mlp_scale.narrow(0, 0, g.size()[0]).unsqueeze(1);
                let skipped = self.stream_to_write_site(block, frozen, &g).matmul(W_skip);
                g + self.read_site_to_stream(block, &skipped, &scale)
            }
            _ => g,
        }
    }

    /// What features of a layer read of the stream before its MLP, `[row, d_model]`, and at which positions, `[row]`.
    fn feature_gradients(&self, layer: Layer, features: &[&Read]) -> (Tensor, Tensor) {
        let block = &self.replacement.model().blocks()[layer.get()];
        let frozen = &self.replacement.trace().layers[layer.get()];
        let features = features.iter().map(|read| match read {
            Read::Feature(i) => self.replacement.active()[i.get()],
            _ => unreachable!("only features join here"),
        });
        let (indices, at): (Vec<_>, Vec<_>) =
            features.map(|f| (i64::from(f.index.0), i64::from(f.pos.0))).unzip();
        let on_device =
            |numbers: &[i64]| Tensor::from_slice(numbers).to_device(self.replacement.model().device());
        let (indices, at) = (on_device(&indices), on_device(&at));
        let rows = self.replacement.transcoders().layers()[layer.get()].encoder_rows(&indices);
        (self.read_site_to_stream(block, &rows, &frozen.mlp_scale.index_select(0, &at)), at)
    }

    /// From the feature-input site into the stream before the MLP's norm.
    fn read_site_to_stream(&self, block: &Block, r: &Tensor, mlp_scale: &Tensor) -> Tensor {
        match self.reads_at {
            LayerSite::MlpIn => block.mlp_norm.pull_back(r, mlp_scale),
            LayerSite::MlpNormalized => block.mlp_norm.centre(r) / mlp_scale,
            _ => r.shallow_clone(), // hook_resid_mid is the stream itself
        }
    }

    /// From the stream to the feature-output site: through the norm after the MLP, where the site lies before it.
    fn stream_to_write_site(&self, block: &Block, frozen: &FrozenLayer, g: &Tensor) -> Tensor {
        match (self.writes_at, &block.mlp_post_norm, &frozen.mlp_post_scale) {
            (LayerSite::MlpRawOut, Some(norm), Some(scale)) => {
                norm.pull_back(g, &scale.narrow(0, 0, g.size()[0]).unsqueeze(1))
            }
            _ => g.shallow_clone(),
        }
    }
}
