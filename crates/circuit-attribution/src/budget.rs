//! What tracing a prompt will need, from sizes alone: the largest amounts of memory phase by phase, and what is read.
//!
//! [`Job::phases`] follows the engine step by step; whoever changes what the engine holds changes this module with it (a test
//! compares both on the demo). Nothing is read and no LibTorch is touched, so that a plan for a model that does not fit costs
//! nothing. The number of active features is known only once a prompt is encoded: a plan is made for an assumed one, and again
//! for the true one. Not here: what a machine has, and what to do about it.

mod rows;

use crate::AttributeConfig;
use circuit_index::LayerSite;
use circuit_model::WeightSizes;
use circuit_model::spec::{Gate, LayerSpec, ModelSpec, NormPlaces};
use circuit_replacement::Cuts;
use circuit_torch::Access;
use circuit_transcoder::{LayerSizes, PartSizes, SetSizes};
use tch::Kind;

/// Touching one page of a mapped file maps its neighbours too: Linux maps 64 KiB at once.
const AROUND: u64 = 64 << 10;

/// The parts of the work, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Weights are opened.
    Open,
    /// The model runs.
    Forward,
    /// Active features are found.
    Encode,
    /// What they write is read, and what they leave over computed.
    Write,
    /// Targets are chosen.
    Targets,
    /// Norms are folded into patterns and matrices.
    PullBack,
    /// Rows are computed and ranked.
    Rows,
    /// Rows become those of the graph.
    Graph,
    /// The graph is pruned and written.
    Prune,
}

impl Step {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Forward => "forward",
            Self::Encode => "encode",
            Self::Write => "writes and errors",
            Self::Targets => "targets",
            Self::PullBack => "pull-back",
            Self::Rows => "rows",
            Self::Graph => "graph",
            Self::Prune => "prune and write",
        }
    }
}

/// A prompt to be traced, as far as memory is concerned.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The model.
    pub spec: &'a ModelSpec,
    /// Its weights.
    pub weights: &'a WeightSizes,
    /// The transcoders.
    pub set: &'a SetSizes,
    /// The type of the weights in memory.
    pub kind: Kind,
    /// Whether the work is done on a GPU.
    pub on_gpu: bool,
    /// Number of tokens.
    pub n_pos: usize,
    /// Leading positions without features.
    pub ignored: usize,
    /// Active features of each layer.
    pub active: Vec<u64>,
    /// Number of targets.
    pub n_targets: usize,
    /// Which features get rows, and in what rounds.
    pub config: AttributeConfig,
    /// How much is done at once, and what is kept.
    pub cuts: Cuts,
    /// Bytes of rows that memory may hold while they are ranked; further ones are on disk.
    pub rows_in_memory: u64,
}

/// Bytes of memory, at the most, in a phase of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// What is done.
    pub step: Step,
    /// Allocated on the GPU; 0 where none is used.
    pub device: u64,
    /// Allocated by the process.
    pub host: u64,
    /// Pages of mapped files: the system takes them back when memory is short, and reads them again.
    pub mapped: u64,
}

impl Phase {
    /// What the process holds: allocated and mapped.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.host + self.mapped
    }
}

/// Bytes in their three places, while they are counted.
#[derive(Clone, Copy, Default)]
struct Tally {
    device: u64,
    host: u64,
    mapped: u64,
}

impl std::ops::Add for Tally {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            device: self.device.saturating_add(other.device),
            host: self.host.saturating_add(other.host),
            mapped: self.mapped.saturating_add(other.mapped),
        }
    }
}

impl Tally {
    fn phase(self, step: Step) -> Phase {
        Phase { step, device: self.device, host: self.host, mapped: self.mapped }
    }

    fn times(self, n: u64) -> Self {
        Self { device: self.device * n, host: self.host * n, mapped: self.mapped * n }
    }

    /// Each place at its largest.
    fn most(self, other: Self) -> Self {
        Self {
            device: self.device.max(other.device),
            host: self.host.max(other.host),
            mapped: self.mapped.max(other.mapped),
        }
    }
}

/// Bytes read from files, by what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The model's weights.
    pub weights: u64,
    /// Encoders, all of them.
    pub encoders: u64,
    /// Decoder rows of active features.
    pub decoder_rows: u64,
}

impl Job<'_> {
    /// Active features in all.
    #[must_use]
    pub fn n_active(&self) -> u64 {
        self.active.iter().sum()
    }

    /// Features that get rows.
    #[must_use]
    pub fn n_selected(&self) -> u64 {
        self.config.n_selected(self.n_active() as usize) as u64
    }

    /// Rows and columns of the graph.
    #[must_use]
    pub fn graph_shape(&self) -> (u64, u64) {
        let (selected, layers) = (self.n_selected(), self.set.layers.len() as u64);
        (selected + self.n_targets as u64, selected + (layers + 1) * self.n_pos as u64)
    }

    /// What will be read.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let layers = || self.set.layers.iter().zip(&self.active);
        Reading {
            weights: self.weights.read,
            encoders: layers().map(|(layer, _)| layer.encoder.bytes).sum(),
            decoder_rows: layers().map(|(layer, &n)| self.rows_touched(layer, n, 4096)).sum(),
        }
    }

    /// The most that is held in each phase, first to last, without what the process holds before it begins.
    #[must_use]
    pub fn phases(&self) -> Vec<Phase> {
        let open = self.opened();
        let traced = open + self.trace();
        let taken = traced + self.sources();
        let pulled = taken + self.pull_back();
        let ranking = self.ranking();
        let graph = self.on_host(self.graph_bytes());
        vec![
            (open + self.while_opening()).phase(Step::Open),
            (open
                + self.trace_beside_logits()
                + self.while_attending(self.cuts.keep_patterns).most(self.while_running_mlp()))
            .most(traced + self.while_making_logits())
            .phase(Step::Forward),
            (traced + self.on_device(self.active_bytes()) + self.while_encoding()).phase(Step::Encode),
            (taken + self.while_writing()).phase(Step::Write),
            (taken + self.while_choosing_targets()).phase(Step::Targets),
            (pulled + self.while_folding()).phase(Step::PullBack),
            (pulled + ranking + self.while_pulling()).phase(Step::Rows),
            (taken + self.while_collecting()).phase(Step::Graph),
            (open + graph + self.while_pruning()).phase(Step::Prune),
        ]
    }

    /// What the search for a better input site needs beside all that there is before rows: some layers are encoded once more.
    #[must_use]
    pub fn second_look(&self) -> Phase {
        let taken = self.opened() + self.trace() + self.sources();
        (taken + self.while_encoding()).phase(Step::Encode)
    }

    fn on_device(&self, bytes: u64) -> Tally {
        match self.on_gpu {
            true => Tally { device: bytes, ..Tally::default() },
            false => self.on_host(bytes),
        }
    }

    fn on_host(&self, bytes: u64) -> Tally {
        Tally { host: bytes, ..Tally::default() }
    }

    fn mapped(&self, bytes: u64) -> Tally {
        Tally { mapped: bytes, ..Tally::default() }
    }

    /// Bytes of a number of the weights.
    fn narrow(&self) -> u64 {
        self.kind.elt_size_in_bytes() as u64
    }

    /// Bytes of a number of the computation.
    fn wide(&self) -> u64 {
        self.narrow().max(4)
    }

    /// Bytes of a number of a narrow copy beside a wide one, where they differ.
    fn narrow_beside_wide(&self) -> u64 {
        if self.narrow() == self.wide() { 0 } else { self.narrow() }
    }

    fn pos(&self) -> u64 {
        self.n_pos as u64
    }

    /// Positions with features.
    fn open_pos(&self) -> u64 {
        self.n_pos.saturating_sub(self.ignored) as u64
    }

    fn d(&self) -> u64 {
        self.spec.d_model as u64
    }

    fn n_layers(&self) -> u64 {
        self.set.layers.len() as u64
    }

    /// Numbers in a layer's pattern.
    fn pattern(&self, layer: &LayerSpec) -> u64 {
        layer.attn.n_heads as u64 * self.pos() * self.pos()
    }

    fn largest_pattern(&self) -> u64 {
        self.spec.layers.iter().map(|layer| self.pattern(layer)).max().unwrap_or(0)
    }

    fn all_patterns(&self) -> u64 {
        self.spec.layers.iter().map(|layer| self.pattern(layer)).sum()
    }

    // Model and set.

    /// Weights, biases, thresholds, skips; what of the set had to be unpacked.
    fn opened(&self) -> Tally {
        let small = |layer: &LayerSizes| {
            let vectors = layer.n_features as u64 * (1 + u64::from(layer.thresholds));
            (vectors + self.d() + u64::from(layer.skip) * self.d() * self.d()) * self.wide()
        };
        let unpacked = |part: &PartSizes| if part.access == Access::Deflated { part.bytes } else { 0 };
        let layers = &self.set.layers;
        self.on_device(self.weights.allocated + layers.iter().map(small).sum::<u64>())
            + self.mapped(self.weights.mapped - self.untouched())
            + self.on_host(layers.iter().map(|l| unpacked(&l.encoder) + unpacked(&l.decoder)).sum())
    }

    /// Mapped rows of the embedding that no token asks for.
    fn untouched(&self) -> u64 {
        let row = (self.d() * self.narrow()).next_multiple_of(AROUND);
        self.weights.rows_alone.saturating_sub(self.pos() * row)
    }

    /// A weight is in the file and converted at the same time.
    fn while_opening(&self) -> Tally {
        self.mapped(self.weights.largest)
    }

    // The forward pass.

    /// What a run leaves behind, but for the logits: patterns or what makes them, what encoders read, what they stand for, token
    /// vectors.
    fn trace_beside_logits(&self) -> Tally {
        let stream = self.pos() * self.d();
        let read = match self.set.reads {
            LayerSite::MlpNormalized => self.wide(),
            _ => self.narrow(),
        };
        let heads = |layer: &LayerSpec| {
            (layer.attn.n_heads + layer.attn.n_kv_heads) as u64 * layer.attn.d_head as u64
        };
        let queries_and_keys = || self.pos() * self.spec.layers.iter().map(heads).sum::<u64>();
        let patterns =
            self.narrow() * if self.cuts.keep_patterns { self.all_patterns() } else { queries_and_keys() };
        let sites = self.n_layers() * stream * (read + self.narrow());
        self.on_device(patterns + sites + stream * (self.wide() + self.narrow_beside_wide()))
    }

    fn trace(&self) -> Tally {
        self.trace_beside_logits() + self.on_device(self.pos() * self.spec.d_vocab as u64 * self.wide())
    }

    /// The making of a pattern from queries and keys, the pattern itself included: steps of the scores, then scores and pattern in the
    /// wide type.
    fn while_making_pattern(&self) -> u64 {
        let of = |layer: &LayerSpec| {
            let scores = if layer.attn.soft_cap.is_some() { 3 } else { 2 } * self.narrow();
            let softmax = if layer.attn.sinks { 4 } else { 2 } * self.wide();
            self.pattern(layer) * scores.max(softmax)
        };
        self.spec.layers.iter().map(of).max().unwrap_or(0)
    }

    /// A pattern in the making, unless it counts as one of those that are kept; masks; queries, keys, values.
    fn while_attending(&self, counted: bool) -> Tally {
        let counted = if counted { self.largest_pattern() * self.narrow() } else { 0 };
        let pattern = self.while_making_pattern().saturating_sub(counted);
        let heads = |layer: &LayerSpec| {
            (layer.attn.n_heads + 2 * layer.attn.n_kv_heads) as u64 * layer.attn.d_head as u64
        };
        let heads = self.spec.layers.iter().map(heads).max().unwrap_or(0);
        let around = self.pos() * (3 * heads + 6 * self.d()) * self.wide();
        self.on_device(pattern + 4 * self.pos() * self.pos() + around)
    }

    fn while_running_mlp(&self) -> Tally {
        let of = |layer: &LayerSpec| {
            let mlp = &layer.mlp;
            let parts = if mlp.gate == Gate::None { 2 } else { 4 };
            // One expert is unpacked at a time, and sees a share of the positions.
            let unpacked = mlp.experts.map_or(0, |_| 3 * mlp.d_mlp as u64 * self.d() * (self.narrow() + 4));
            parts * self.pos() * mlp.d_mlp as u64 * self.narrow() + unpacked
        };
        let inner = self.spec.layers.iter().map(of).max().unwrap_or(0);
        self.on_device(inner + 6 * self.pos() * self.d() * self.wide())
    }

    /// A soft cap's steps, or the search for what is not finite, beside the logits that stay.
    fn while_making_logits(&self) -> Tally {
        let cap = if self.spec.unembed.soft_cap.is_some() { 2 * self.narrow() } else { 0 };
        let search = self.wide() + 3 + self.narrow_beside_wide();
        self.on_device(self.pos() * self.spec.d_vocab as u64 * cap.max(search))
    }

    // Features, their writes, errors.

    /// Position, index, value and id of each active feature; inputs and outputs in the wide type.
    fn active_bytes(&self) -> u64 {
        let copies = if self.narrow_beside_wide() == 0 {
            0
        } else {
            2 * self.n_layers() * self.pos() * self.d() * self.wide()
        };
        self.n_active() * (28 + self.wide()) + copies
    }

    /// An encoder or a piece of it, and the pre-activations of some positions in their forms.
    fn while_encoding(&self) -> Tally {
        let of = |layer: &LayerSizes| {
            let (features, wide) = (layer.n_features as u64, self.wide());
            let piece = (features * self.d()).min(self.cuts.encode.weights as u64);
            let positions =
                (self.cuts.encode.pre_activations as u64 / features.max(1)).clamp(1, self.open_pos().max(1));
            let dense = positions * features;
            let forms = match (layer.thresholds, self.set.at_most) {
                (true, _) => 3 * wide + 1,
                (_, Some(_)) => 3 * wide,
                _ => 2 * wide + 3,
            };
            (self.weights_in_use(&layer.encoder, piece, features * self.d()) + self.on_device(dense * forms))
                .times(self.encoded_together())
        };
        self.set.layers.iter().map(of).fold(Tally::default(), Tally::most)
    }

    /// How many layers are encoded beside one another: on a CPU, if they are small and their encoders are used where they lie.
    fn encoded_together(&self) -> u64 {
        let together = (self.cuts.workers as u64).min(self.n_layers());
        let small = |layer: &LayerSizes| {
            let features = layer.n_features as u64 * together;
            let (encoder, cuts) = (&layer.encoder, self.cuts.encode);
            let ready = encoder.access == Access::Mapped
                && !encoder.turned
                && encoder.kind.is_some_and(|kind| kind.elt_size_in_bytes() as u64 == self.wide());
            ready
                && features * self.d() <= cuts.weights as u64
                && features * self.pos() <= cuts.pre_activations as u64
        };
        if !self.on_gpu && self.set.layers.iter().all(small) { together.max(1) } else { 1 }
    }

    /// Some numbers of a matrix of so many, on their way from the file into a product.
    fn weights_in_use(&self, part: &PartSizes, numbers: u64, of: u64) -> Tally {
        let stored = (part.bytes / of.max(1)).max(1);
        let in_file = numbers * stored;
        let wide = part.kind.is_some_and(|kind| kind.elt_size_in_bytes() as u64 == self.wide());
        let converted = if wide { 0 } else { numbers * self.wide() }
            + if part.turned { numbers * self.wide() } else { 0 };
        let copied = if part.access == Access::Misaligned { in_file } else { 0 };
        // What is stored the other way round has a part in every page.
        let touched = if part.turned { part.bytes } else { in_file };
        let pages = if part.access == Access::Deflated { 0 } else { touched };
        // The next piece is on its way to a GPU while it computes with one.
        let moved = if self.on_gpu { 2 * in_file } else { 0 };
        self.mapped(pages) + self.on_host(copied + moved) + self.on_device(converted + moved)
    }

    /// What is written at each layer, errors among it: one group of each layer that writes there.
    fn written(&self) -> Vec<u64> {
        let reach = |l: usize, output: usize| output >= l && output < l + self.set.layers[l].n_outputs;
        let group = |l: usize| self.active[l] + self.pos();
        let layers = 0..self.set.layers.len();
        layers.clone().map(|output| layers.clone().filter(|&l| reach(l, output)).map(group).sum()).collect()
    }

    /// Active features, what all sources write if that is kept, errors.
    fn sources(&self) -> Tally {
        let written: u64 = self.written().iter().sum();
        let errors = self.n_layers() * self.pos() * self.d() * self.wide();
        let kept = if self.cuts.keep_writes { self.d() * self.factor() } else { 0 };
        self.on_device(written * (kept + 8) + errors + self.active_bytes())
            // Orders of the sources, on either side.
            + self.on_host(self.n_layers() * self.pos() * 16)
    }

    /// Decoder rows on their way into what is written, and what is written at a layer where that is not kept; where it is, it is wide
    /// before it is rounded; a layer's way through the norm after the MLP; errors.
    fn while_writing(&self) -> Tally {
        let rows = self.decoder_rows_in_use().most(self.on_device(self.through_norm()));
        let rounded_away: u64 =
            self.written().into_iter().sum::<u64>() * self.d() * (self.wide() - self.factor());
        self.anew(!self.cuts.keep_writes, self.most_written())
            + self.anew(self.cuts.keep_writes, rounded_away)
            + rows.most(self.on_device(6 * self.pos() * self.d() * 8))
    }

    /// What is written at a layer, at the most, in bytes.
    fn most_written(&self) -> u64 {
        self.written().into_iter().max().unwrap_or(0) * self.d() * self.wide()
    }

    /// Copies of that on its way through the norm after the MLP, where the output site lies before it.
    fn through_norm(&self) -> u64 {
        match (self.set.writes, self.spec.layers.first().map(|l| &l.norms)) {
            (LayerSite::MlpRawOut, Some(NormPlaces::PrePost { .. })) => 3 * self.most_written(),
            _ => 0,
        }
    }

    /// Bytes that count only where something is made anew.
    fn anew(&self, made: bool, bytes: u64) -> Tally {
        if made { self.on_device(bytes) } else { Tally::default() }
    }

    /// A piece of the decoder rows of active features.
    fn decoder_rows_in_use(&self) -> Tally {
        let of = |(layer, &n): (&LayerSizes, &u64)| {
            // Those of one layer alone, where what is written there is made.
            let outputs = if self.cuts.keep_writes { layer.n_outputs as u64 } else { 1 };
            let row = outputs * self.d();
            let numbers = (n * row).min((self.cuts.encode.weights as u64 / 8).max(row));
            let stored =
                layer.decoder.bytes / (layer.n_features as u64 * layer.n_outputs as u64 * self.d()).max(1);
            let wide = 2 * self.wide() + if stored == self.wide() { 0 } else { stored };
            let places = n * outputs * 16;
            let pages = if layer.decoder.access == Access::Deflated {
                0
            } else {
                self.rows_touched(layer, numbers / row.max(1), AROUND)
            };
            self.on_device(numbers * wide + places) + self.mapped(pages)
        };
        self.set.layers.iter().zip(&self.active).map(of).fold(Tally::default(), Tally::most)
    }

    /// Bytes of the file behind the decoder rows of so many features, in pieces of at least so many.
    fn rows_touched(&self, layer: &LayerSizes, n: u64, at_least: u64) -> u64 {
        let row = layer.decoder.bytes / (layer.n_features as u64).max(1);
        n.saturating_mul(row.next_multiple_of(at_least)).min(layer.decoder.bytes)
    }

    fn while_choosing_targets(&self) -> Tally {
        // The mean over the vocabulary is taken in the wide type.
        let copy = if self.narrow_beside_wide() == 0 || self.on_gpu {
            0
        } else {
            self.spec.d_vocab as u64 * self.d() * self.wide()
        };
        self.on_device(copy + self.spec.d_vocab as u64 * 4 * self.wide())
    }
}
