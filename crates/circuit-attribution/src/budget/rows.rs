//! What rows need: layers folded or made anew, gradients on their way down, rows while they are ranked, and those of the graph.
//!
//! Not here: what a prompt leaves behind before that ([`super`]).

use super::{AROUND, Job, Tally};
use circuit_model::spec::LayerSpec;
use circuit_replacement::{Cuts, Products};
use circuit_transcoder::LayerSizes;

impl Job<'_> {
    /// A layer's folded pattern and matrices.
    pub(super) fn folded(&self, (layer, sizes): (&LayerSpec, &LayerSizes)) -> u64 {
        let (attn, d) = (&layer.attn, self.d());
        let rounded = self.factor() != self.wide();
        let copied = rounded || self.narrow_beside_wide() > 0 || layer.norms.attn_post().is_some();
        let out = if copied { attn.n_heads as u64 * attn.d_head as u64 * d } else { 0 };
        let skip = if sizes.skip { d * d } else { 0 };
        let factors = attn.n_kv_heads as u64 * attn.d_head as u64 * d + out;
        self.pattern(layer) * self.between() + factors * self.factor() + skip * self.wide()
    }

    /// Bytes of a factor of the pull-back's products.
    pub(super) fn factor(&self) -> u64 {
        match self.cuts.products {
            Products::Wide => self.wide(),
            Products::Bfloat16 => 2,
        }
    }

    /// Bytes of a number of the pattern, and of what its product takes and makes.
    fn between(&self) -> u64 {
        if self.on_gpu { self.factor() } else { self.wide() }
    }

    /// How many groups of rows go down beside one another.
    fn workers(&self, groups: u64) -> u64 {
        let workers = if self.on_gpu { 1 } else { self.cuts.beside() as u64 };
        workers.min(groups).max(1)
    }

    /// Whether attention's products take patterns and gradients where they lie, as a thread alone does; otherwise these are copied
    /// into the order of heads.
    fn in_place(&self) -> bool {
        self.workers(u64::MAX) > 1 && self.wide() == 4
    }

    /// What is written at a layer, at the most, once more, where products need it rounded.
    fn rounded_writes(&self) -> u64 {
        if self.factor() == self.wide() { 0 } else { self.most_written() / self.wide() * self.factor() }
    }

    /// Bytes of the folded patterns and matrices of all layers, where they are kept.
    #[must_use]
    pub fn folded_bytes(&self) -> u64 {
        if self.cuts.keep_folded { self.layers().map(|layer| self.folded(layer)).sum() } else { 0 }
    }

    pub(super) fn layers(&self) -> impl Iterator<Item = (&LayerSpec, &LayerSizes)> {
        self.spec.layers.iter().zip(&self.set.layers)
    }

    pub(super) fn pull_back(&self) -> Tally {
        self.on_device(self.folded_bytes())
    }

    /// The making of a layer's folded pattern, but for the result.
    pub(super) fn while_folding(&self) -> Tally {
        let pattern = if self.cuts.keep_patterns { 0 } else { self.while_making_pattern() };
        let forms = if self.between() == self.wide() { 1 } else { 2 };
        self.on_device(pattern.max(forms * self.largest_pattern() * self.wide()))
    }

    /// A layer, as far as it is made anew for each group of rows, and what its making takes beside.
    pub(super) fn level(&self) -> Tally {
        let Cuts { keep_folded, keep_writes, .. } = self.cuts;
        let folded = self.layers().map(|layer| self.folded(layer)).max().unwrap_or(0);
        // A part of a kept pattern may be copied for rows that see a part of the positions.
        let part = if self.in_place() { 0 } else { self.largest_pattern() * self.between() };
        let part = self.on_device(part);
        let folding = if keep_folded { part } else { part.most(self.while_folding()) };
        let writing = self.decoder_rows_in_use().most(self.on_device(self.through_norm()));
        let writing = if keep_writes { Tally::default() } else { writing };
        self.anew(!keep_folded, folded)
            + self.anew(!keep_writes, self.most_written() + self.rounded_writes())
            + folding.most(writing)
    }

    /// Sources of rows.
    pub(super) fn n_sources(&self) -> u64 {
        self.n_active() + (self.n_layers() + 1) * self.pos()
    }

    /// Bytes of all rows while features are ranked that memory holds, and the disk.
    pub(super) fn ranked_bytes(&self) -> (u64, u64) {
        let all = self.usual_rows();
        let held = all.min(self.rows_in_memory);
        (held, all - held)
    }

    /// Bytes of rows on disk, as the plan has them.
    #[must_use]
    pub fn rows_on_disk(&self) -> u64 {
        self.ranked_bytes().1
    }

    /// Values of all rows while features are ranked: each sees layers below its own and positions up to its own. Which features
    /// will be chosen is not known: they are taken to be as long as the average.
    pub(super) fn ranked_values(&self) -> u64 {
        let (targets, average, _) = self.row_lengths();
        targets + average
    }

    /// Bytes of all rows while features are ranked, as the plan has them.
    #[must_use]
    pub fn usual_rows(&self) -> u64 {
        4 * self.ranked_values()
    }

    /// Bytes of all rows while features are ranked, if those with the longest were chosen.
    #[must_use]
    pub fn longest_rows(&self) -> u64 {
        let (targets, _, longest) = self.row_lengths();
        4 * (targets + longest)
    }

    /// Values of the target rows; of as many feature rows of average length; of the longest.
    pub(super) fn row_lengths(&self) -> (u64, u64, u64) {
        let (n, selected) = (self.n_active(), self.n_selected());
        let targets = self.n_targets as u64 * self.n_sources();
        if n == 0 {
            return (targets, 0, 0);
        }
        // Features of a layer, and what one at the last position sees; positions are taken to be alike.
        let mut below = self.pos();
        let mut layers = Vec::new();
        for &active in &self.active {
            layers.push((active as f64, below as f64));
            below += active + self.pos();
        }
        let all: f64 = layers.iter().map(|(active, seen)| active * seen / 2.0).sum();
        let average = all / n as f64 * selected as f64;
        // The longest `selected` rows: those longer than some length. A row of layer l at the share x of the prompt sees x of
        // what the layer sees, so longer than t are the shares above t / seen.
        let longer = |t: f64| -> (f64, f64) {
            layers.iter().fold((0.0, 0.0), |(count, sum), &(active, seen)| {
                let share = (1.0 - t / seen).max(0.0);
                (count + active * share, sum + active * share * (seen + t) / 2.0)
            })
        };
        let (mut low, mut high) = (0.0, below as f64);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if longer(middle).0 > selected as f64 { low = middle } else { high = middle }
        }
        (targets, average as u64, (longer(low).1 as u64).max(average as u64))
    }

    /// The rows so far, and the influence that they imply.
    pub(super) fn ranking(&self) -> Tally {
        let (held, on_disk) = self.ranked_bytes();
        // One row on its way to the disk or back.
        let buffer = if on_disk > 0 { self.n_sources() * 4 } else { 0 };
        self.on_host(held + buffer + self.n_sources() * 20 + self.n_active() * 40)
    }

    /// Rows on their way down: gradients at each position in their forms, their sums, and one row on the host.
    pub(super) fn while_pulling(&self) -> Tally {
        // No round at all is refused where rows are asked for.
        let round = self.config.round(self.n_active() as usize).unwrap_or(0) as u64;
        let asked_for = self.n_selected().min(round).max(self.n_targets as u64);
        let rows = (self.cuts.together(asked_for as usize) as u64).min(asked_for);
        let (d, wide) = (self.d(), self.wide());
        let of = |layer: &LayerSpec| {
            let attn = &layer.attn;
            let kv = attn.n_kv_heads as u64 * attn.d_head as u64;
            // Room for gradients, for what heads make of them, and for both as factors.
            let factors = if self.factor() == wide { 0 } else { d * self.factor() };
            let values = if self.factor() == self.between() { 0 } else { kv * self.factor() };
            let made = if self.in_place() { kv } else { attn.n_heads as u64 * attn.d_head as u64 };
            d * wide + factors + values + made * self.between()
        };
        // What heads see of rows above a layer.
        let seen = |layer: &LayerSpec| layer.attn.n_heads as u64 * layer.attn.d_head as u64 * self.between();
        let seen = self.spec.layers.iter().map(seen).max().unwrap_or(0);
        // What rows that join at one layer make beside that. Features of a group are taken to be spread over layers as all are.
        let joining = |layer: &LayerSpec| {
            let in_place = !self.on_gpu && wide == 4;
            let mixed = if in_place { 0 } else { layer.attn.n_kv_heads * layer.attn.d_head };
            (mixed + layer.attn.n_heads) as u64 * self.between()
        };
        let joining = self.spec.layers.iter().map(joining).max().unwrap_or(0);
        let of_one_layer = self.active.iter().copied().max().unwrap_or(0);
        let share = (rows * of_one_layer).div_ceil(self.n_active().max(1));
        let join_at_once = share.max(rows.min(self.n_targets as u64));
        // Rows of the lowest layer are above none; but room on a GPU is taken whole.
        let lowest = rows * self.active.first().copied().unwrap_or(0) / self.n_active().max(1);
        let above = if self.on_gpu { rows } else { (rows - lowest).max(rows.min(self.n_targets as u64)) };
        let mut width = self.spec.layers.iter().map(of).max().unwrap_or(0);
        if self.set.layers.iter().any(|layer| layer.skip) {
            width += 3 * d * wide;
        }
        let workers = self.workers(asked_for.div_ceil(rows.max(1)));
        let gradients = workers * self.pos() * (rows * width + above * seen + join_at_once * joining);
        // On a GPU the next sums are computed while the last ones are fetched.
        let at_once = workers * if self.on_gpu { 2 } else { 1 };
        let sums = at_once * rows * if self.on_gpu { self.n_sources() } else { self.usual_width() };
        // Where workers have groups of their own, one row of each is copied at a time.
        let landed = if workers > 1 { workers * self.n_sources() } else { sums };
        self.on_device(gradients + sums * wide)
            + self.level()
            + self.on_host(landed * 4)
            + self
                .mapped(self.set.layers.iter().map(|l| l.encoder.bytes.min(rows * AROUND)).max().unwrap_or(0))
    }

    /// Sums of a row of a feature that are touched, on average: what its layer sees, at all positions.
    fn usual_width(&self) -> u64 {
        let (mut below, mut touched) = (self.pos() as f64, 0.0);
        for &active in &self.active {
            touched += active as f64 * below;
            below += (active + self.pos()) as f64;
        }
        if self.n_active() == 0 { self.n_sources() } else { (touched / self.n_active() as f64) as u64 }
    }

    /// Bytes of the graph's rows that are touched. A row sees selected features, errors and tokens below its layer; what stays
    /// zero was never written, and memory that was never written is none.
    pub(super) fn graph_bytes(&self) -> u64 {
        let (rows, columns) = self.graph_shape();
        let share = self.n_selected() as f64 / self.n_active().max(1) as f64;
        let (mut below, mut touched) = (self.pos() as f64, 0.0);
        for &active in &self.active {
            let selected = active as f64 * share;
            touched += selected * below;
            below += selected + self.pos() as f64;
        }
        let targets = self.n_targets as u64 * columns;
        // Page by page.
        let pages = 4 * (touched as u64 + targets) + rows * 4096;
        pages.min(rows.saturating_mul(columns).saturating_mul(4))
    }

    /// Rows by active sources become rows by selected ones. Each is dropped as soon as it is copied, but they are small, and the
    /// allocator keeps them.
    pub(super) fn while_collecting(&self) -> Tally {
        self.on_host(self.ranked_bytes().0 + self.graph_bytes() + self.n_sources() * 8 + self.n_active() * 12)
    }

    /// Rows of what is kept, again, with removed features merged into errors; kept edges.
    pub(super) fn while_pruning(&self) -> Tally {
        self.on_host(self.graph_bytes() / 4)
    }
}
