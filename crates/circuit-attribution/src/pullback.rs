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
use circuit_model::{Block, Model, Norm};
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

    /// `v [row, key, kv_head * d_head]` of the gradients `g [row, query, d_model]`, over the first `g.size()[1]` positions; both lie
    /// without gaps.
    fn mix(&self, g: &Tensor, v: &Tensor, room: &Room) -> Result<(), AttributionError> {
        let [rows, pos, d] = sizes(g);
        let (kv, group, d_head) = (self.kv_heads, self.group, self.d_head);
        let z = room.first(&[rows * pos, kv * group * d_head]);
        let _ = g.view([rows * pos, d]).f_mm_out(&z, &self.stream_to_z)?;
        // A head's pattern meets all rows at once: [key, query] with [query, row * d_head].
        let by_head = room.second(&[kv, group, pos, rows, d_head]);
        by_head.shallow_clone().f_copy_(&z.view([rows, pos, kv, group, d_head]).permute([2, 3, 1, 0, 4]))?;
        let mixed = room.first(&[kv, pos, rows * d_head]);
        let _ = self.pattern_to(pos).f_bmm_out(&mixed, &by_head.view([kv, group * pos, rows * d_head]))?;
        let mixed = mixed.view([kv, pos, rows, d_head]).permute([2, 1, 0, 3]);
        v.view([rows, pos, kv, d_head]).f_copy_(&mixed)?;
        Ok(())
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

    /// The same for rows `h [row, d_model]` that have just joined: each is non-zero at its own position (`at`) alone, so `A`
    /// meets one position, and the pattern one query.
    fn mix_joined(&self, h: &Tensor, at: &Tensor, v: &Tensor) -> Result<(), AttributionError> {
        let [rows, pos, _] = sizes(v);
        let (kv, group, d_head) = (self.kv_heads, self.group, self.d_head);
        let all = self.pattern.size()[1];
        let z = h.f_mm(&self.stream_to_z)?.view([rows, kv, group, d_head]);
        let pattern = self.pattern.view([kv, all, group, all]).narrow(1, 0, pos).f_index_select(3, at)?;
        let mixed = pattern.permute([3, 0, 1, 2]).f_matmul(&z)?; // [row, kv_head, key, d_head]
        v.view([rows, pos, kv, d_head]).f_copy_(&mixed.permute([0, 2, 1, 3]))?;
        Ok(())
    }
}

/// The three sizes of a tensor.
fn sizes(tensor: &Tensor) -> [i64; 3] {
    let size = tensor.size();
    [size[0], size[1], size[2]]
}

/// Room for the gradients of one group of rows and for what their products pass through, taken once for all groups and layers:
/// memory that is taken anew comes as pages that the system clears first, which takes as long as a good part of the products.
struct Room {
    gradients: Tensor,
    first: Tensor,
    second: Tensor,
}

impl Room {
    /// For so many rows over so many positions.
    fn new(model: &Model, rows: usize, n_pos: usize) -> Result<Self, AttributionError> {
        let spec = model.spec();
        let heads = spec.layers.iter().map(|layer| layer.attn.n_heads * layer.attn.d_head).max().unwrap_or(0);
        let flat =
            |width| Tensor::f_empty([(rows * n_pos * width) as i64], (model.wide_kind(), model.device()));
        Ok(Self { gradients: flat(spec.d_model)?, first: flat(heads)?, second: flat(heads)? })
    }

    /// Room for gradients, `[row, pos, d_model]`, all zero.
    fn gradients(&self, rows: usize, n_pos: usize, d: usize) -> Tensor {
        view(&self.gradients, &[rows, n_pos, d].map(|n| n as i64)).zero_()
    }

    fn first(&self, shape: &[i64]) -> Tensor {
        view(&self.first, shape)
    }

    fn second(&self, shape: &[i64]) -> Tensor {
        view(&self.second, shape)
    }
}

/// The beginning of a flat tensor in another shape.
fn view(flat: &Tensor, shape: &[i64]) -> Tensor {
    flat.narrow(0, 0, shape.iter().product()).view(shape)
}

/// Gradients on their way down, `[row, pos, d_model]`: those of rows that have joined, then zeros where others will.
struct Gradients<'r> {
    all: Tensor,
    n_joined: usize,
    room: &'r Room,
}

impl<'r> Gradients<'r> {
    /// None has joined yet.
    fn none(room: &'r Room, rows: usize, n_pos: usize, d: usize) -> Self {
        Self { all: room.gradients(rows, n_pos, d), n_joined: 0, room }
    }

    /// Those that have joined.
    fn joined(&self) -> Tensor {
        self.all.narrow(0, 0, self.n_joined as i64)
    }

    /// `h [row, d_model]` join, each at its own position.
    fn join(&mut self, h: &Tensor, at: &Tensor) -> Result<(), AttributionError> {
        let n = h.size()[0];
        let nth = Tensor::f_arange(n, (Kind::Int64, h.device()))?;
        let _ =
            self.all.narrow(0, self.n_joined as i64, n).f_index_put_(&[Some(&nth), Some(at)], h, false)?;
        self.n_joined += n as usize;
        Ok(())
    }
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
        let groups = self.cut(reads);
        let room = self.room(reads, &groups)?;
        for together in groups {
            let block =
                self.together(reads, &together, &room)?.to_kind(Kind::Float).to_device(tch::Device::Cpu);
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
        let groups = self.cut(reads);
        let room = self.room(reads, &groups)?;
        for together in groups {
            let block = self.together(reads, &together, &room)?.f_index_select(1, &places)?;
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

    /// Room for the largest of these groups.
    fn room(&self, reads: &[Read], groups: &[Vec<usize>]) -> Result<Room, AttributionError> {
        let size = |group: &Vec<usize>| group.len() * self.n_pos(reads, group);
        let largest = groups.iter().map(size).max().unwrap_or(0);
        circuit_torch::guard(|| Room::new(self.replacement.model(), largest, 1))
    }

    /// The positions that a group of rows sees together.
    fn n_pos(&self, reads: &[Read], group: &[usize]) -> usize {
        group.iter().map(|&i| self.place(&reads[i]).1 + 1).max().unwrap_or(0)
    }

    /// Takes one group of rows down through all layers; `[n_together, n_sources]`, position by position.
    fn together(&self, reads: &[Read], group: &[usize], room: &Room) -> Result<Tensor, AttributionError> {
        circuit_torch::guard(|| tch::no_grad(|| self.sweep(reads, group, room)))
    }

    fn sweep(&self, reads: &[Read], group: &[usize], room: &Room) -> Result<Tensor, AttributionError> {
        let model = self.replacement.model();
        let n_sources = self.replacement.by_position().n_sources();
        let sums =
            Tensor::f_zeros([group.len(), n_sources].map(|n| n as i64), (model.wide_kind(), model.device()))?;
        let n_pos = self.n_pos(reads, group);
        let mut g = Gradients::none(room, group.len(), n_pos, model.spec().d_model);

        // In the order in which they join: directions above the last layer, then of each layer its features, then reads of the
        // stream before it.
        let rows = group.iter().map(|&i| &reads[i]);
        let mut rows =
            rows.map(|read| (self.place(read).0, matches!(read, Read::Feature(_)), read)).peekable();
        let top = rows.peek().map_or(0, |row| row.0);
        let mut next = |layer, is_feature| {
            let next = std::iter::from_fn(|| rows.next_if(|row| (row.0, row.1) == (layer, is_feature)));
            next.map(|row| row.2).collect::<Vec<_>>()
        };
        self.join_targets(&mut g, &next(self.n_layers, false))?;
        for l in (0..self.n_layers.min(top + 1)).rev() {
            let layer = Layer::from(l);
            self.contract(&g.joined(), layer, &sums)?;
            // Features of the layer join after that: they do not see what their own layer writes.
            self.descend(layer, &mut g, &next(l, true))?;
            self.join_streams(&mut g, &next(l, false))?;
        }
        self.contract_tokens(&g.joined(), &sums)?;
        Ok(sums)
    }

    /// `A[row, token p] = g[p] · embedding`.
    fn contract_tokens(&self, g: &Tensor, sums: &Tensor) -> Result<(), AttributionError> {
        let n_pos = g.size()[1];
        let tokens = self.replacement.trace().token_vectors.narrow(0, 0, n_pos); // [pos, d_model]
        let on_tokens = g.transpose(0, 1).f_bmm(&tokens.unsqueeze(-1))?.squeeze_dim(-1).tr(); // [row, pos]
        sums.narrow(1, 0, n_pos).f_copy_(&on_tokens)?;
        Ok(())
    }

    /// `g[last] = P(gain_f · w) / s_f`.
    fn join_targets(&self, g: &mut Gradients<'_>, targets: &[&Read]) -> Result<(), AttributionError> {
        let model = self.replacement.model();
        let directions = targets.iter().map(|read| match read {
            Read::Direction(w) => w.to_device(model.device()).to_kind(model.wide_kind()),
            _ => unreachable!("only directions sit above the last layer"),
        });
        let directions: Vec<_> = directions.collect();
        if directions.is_empty() {
            return Ok(());
        }
        let last = g.all.size()[1] - 1;
        let scale = self.replacement.trace().final_scale.get(last);
        let pulled = model.final_norm().pull_back(&Tensor::f_stack(&directions, 0)?, &scale);
        g.join(&pulled, &Tensor::f_full([pulled.size()[0]], last, (Kind::Int64, pulled.device()))?)
    }

    /// Reads of the stream before a layer are gradients there as they are.
    fn join_streams(&self, g: &mut Gradients<'_>, streams: &[&Read]) -> Result<(), AttributionError> {
        for read in streams {
            let Read::Stream(_, pos, w) = read else { unreachable!("features have joined above attention") };
            let at = Tensor::f_full([1], pos.get() as i64, (Kind::Int64, g.all.device()))?;
            g.join(&w.to_device(g.all.device()).to_kind(g.all.kind()).unsqueeze(0), &at)?;
        }
        Ok(())
    }

    /// `A[row, source] += g[p] · write` for all that is written at a layer: one product per position.
    fn contract(&self, g: &Tensor, layer: Layer, sums: &Tensor) -> Result<(), AttributionError> {
        let [rows, n_pos, _] = sizes(g);
        if rows == 0 {
            return Ok(());
        }
        let sums = sums.narrow(0, 0, rows);
        let writers = self.replacement.transcoders().writers(layer.get());
        let writes = self.replacement.writes(layer);
        let mut first = 0;
        for p in 0..n_pos {
            let sources = self.replacement.by_position().groups(writers.clone(), Pos::from(p as usize));
            let (start, len) = (sources.start as i64, sources.len() as i64);
            let written = writes.narrow(0, first, len); // [source, d_model]
            let _ = sums.narrow(1, start, len).f_addmm_(&g.select(1, p), &written.tr())?;
            first += len;
        }
        Ok(())
    }

    /// From below a layer's MLP to below its attention: rows of the layer's features join, all pass skip and attention.
    fn descend(
        &self,
        layer: Layer,
        g: &mut Gradients<'_>,
        features: &[&Read],
    ) -> Result<(), AttributionError> {
        let attention = self.attention(layer.get());
        let (above, joining) = (g.n_joined as i64, features.len() as i64);
        if above + joining == 0 {
            return Ok(());
        }
        let [_, n_pos, d] = sizes(&g.all);
        let width = attention.kv_heads * attention.d_head;
        let v = g.room.second(&[above + joining, n_pos, width]);
        if above > 0 {
            self.through_skip(layer, &g.joined())?;
            attention.mix(&g.joined(), &v.narrow(0, 0, above), g.room)?;
        }
        if joining > 0 {
            let (h, at) = self.feature_gradients(layer, features);
            attention.mix_joined(&h, &at, &v.narrow(0, above, joining))?;
            g.join(&h, &at)?;
        }
        let rows = (above + joining) * n_pos;
        let _ = g.joined().view([rows, d]).f_addmm_(&v.view([rows, width]), &attention.value_to_stream)?;
        Ok(())
    }

    /// `g += norm_2^T(W_skip^T g)` where the layer's transcoder has a skip.
    fn through_skip(&self, layer: Layer, g: &Tensor) -> Result<(), AttributionError> {
        let block = &self.replacement.model().blocks()[layer.get()];
        let frozen = &self.replacement.trace().layers[layer.get()];
        if let Some(W_skip) = &self.replacement.transcoders().layers()[layer.get()].W_skip {
            let scale = frozen.mlp_scale.narrow(0, 0, g.size()[1]); // [pos, 1]
            let skipped = self.stream_to_write_site(block, frozen, g).f_matmul(W_skip)?;
            let _ = g.shallow_clone().f_add_(&self.read_site_to_stream(block, &skipped, &scale))?;
        }
        Ok(())
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
                norm.pull_back(g, &scale.narrow(0, 0, g.size()[1]))
            }
            _ => g.shallow_clone(),
        }
    }
}
