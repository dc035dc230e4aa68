//! Which features to attribute next, when there is no time for all of them.
//!
//! The engine computes rows in rounds (docs/method.md, "Which rows are computed"). Between rounds the influence of every source is
//! estimated from the rows there are: `I = w · (M + M² + …)` with `M[t, s] = |A[t, s]| / max(Σ_s |A[t, s]|, 1e-8)` for rows that are
//! known and 0 for the others (the floor is that of `compute_partial_influences` in the Python circuit-tracer). The best
//! features without a row come next. As in the influence module, backward substitution makes this exact and cheap: each
//! row is summed once, when it comes, and read once per round.
//!
//! Rows come in [`SourceOrder`], where what layer `l` can see is a prefix. Of it, a row at position `p` keeps only positions up
//! to `p`: attention is causal, so the rest is zero. All rows are kept once, unnormalised; at the end they become the
//! graph's rows. They are in memory, or, where they are to take no more than so much of it, the further ones in a file
//! ([`row_file`]), which changes no bit of anything. No tensors here, and no decision on how many rows there are to be.

mod row_file;

use crate::Rows;
use crate::influence::{add_abs, sum_abs};
use circuit_index::{ActiveIndex, FeatureId, Layer, Node, NodeLayout, Pos, SourceOrder};
use rayon::prelude::*;
use row_file::RowFile;
pub use row_file::RowFileError;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// What a row's sum of absolute effects is at least taken to be.
const SUM_FLOOR: f64 = 1e-8;

/// Rows of direct effects as they become known, and the influence they imply.
#[derive(Debug)]
pub struct Ranking {
    reach: Arc<Reach>,
    active: Arc<[FeatureId]>,
    /// Weight and row of each target.
    targets: Vec<(f64, Row)>,
    /// The rows of features; ascending, which is also ascending by layer.
    features: BTreeMap<ActiveIndex, Row>,
    store: Store,
}

impl Ranking {
    /// No rows yet, for a prompt of `n_pos` tokens on which these features are active.
    ///
    /// # Panics
    /// If there is no token, `active` is not strictly ascending, or it names a layer or position that is not there.
    #[must_use]
    pub fn new(n_layers: usize, n_pos: usize, active: Vec<FeatureId>) -> Self {
        assert!(n_pos > 0, "a prompt has at least one token");
        let reach = Reach::new(SourceOrder::new(n_layers, n_pos, &active), n_layers, n_pos).into();
        let active = active.into();
        Self { reach, active, targets: Vec::new(), features: BTreeMap::new(), store: Store::default() }
    }

    /// The same, with at most so many bytes of rows in memory: further ones go to an unnamed file in a folder.
    ///
    /// # Errors
    /// If there can be no file.
    pub fn overflowing_to(mut self, folder: &Path, memory: usize) -> Result<Self, RowFileError> {
        self.store.overflow = Some((memory, RowFile::create(folder)?));
        Ok(self)
    }

    /// The order in which rows list their sources.
    #[must_use]
    pub fn order(&self) -> &SourceOrder {
        &self.reach.order
    }

    /// Number of features that have a row.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.features.len()
    }

    /// Bytes of memory that the rows hold: of each, what its layer and position can see.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.store.held
    }

    /// Bytes of rows on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.store.overflow.as_ref().map_or(0, |(_, file)| file.len())
    }

    /// Adds the row of the next target: its weight (>= 0) and the effects of all sources.
    ///
    /// # Errors
    /// If it has to be written to disk and cannot.
    ///
    /// # Panics
    /// If the row has another length.
    pub fn add_target_row(&mut self, weight: f32, row: &[f32]) -> Result<(), RowFileError> {
        let (layer, pos) = (self.reach.n_layers, self.reach.n_pos - 1);
        let row = self.store.keep(Row::new(&self.reach, layer, pos, row))?;
        self.targets.push((f64::from(weight), row));
        Ok(())
    }

    /// What makes rows to [`Ranking::add`], on any thread.
    #[must_use]
    pub fn cutter(&self) -> RowCutter {
        RowCutter { reach: Arc::clone(&self.reach), active: Arc::clone(&self.active) }
    }

    /// Adds the row of an active feature, as its [`Ranking::cutter`] made it.
    ///
    /// # Errors
    /// If it has to be written to disk and cannot.
    ///
    /// # Panics
    /// If the feature has a row already.
    pub fn add(&mut self, FeatureRow { feature, row }: FeatureRow) -> Result<(), RowFileError> {
        let row = self.store.keep(row)?;
        let before = self.features.insert(feature, row);
        assert!(before.is_none(), "active feature {feature} has a row already");
        Ok(())
    }

    /// Both at once: cuts the row of an active feature and adds it.
    ///
    /// # Errors
    /// As [`Ranking::add`].
    ///
    /// # Panics
    /// As [`RowCutter::feature_row`] and [`Ranking::add`].
    pub fn add_feature_row(&mut self, feature: ActiveIndex, row: &[f32]) -> Result<(), RowFileError> {
        self.add(self.cutter().feature_row(feature, row))
    }

    /// The influence of each source on the targets, over the rows so far, in source order.
    ///
    /// # Errors
    /// If rows on disk cannot be read.
    pub fn influence(&self) -> Result<Vec<f64>, RowFileError> {
        let reach = &self.reach;
        let mut influence = vec![0.0; reach.order.n_sources()];
        let factors: Vec<_> =
            self.targets.iter().map(|(weight, row)| (row, weight * row.inverse_sum)).collect();
        reach.flow_down(&factors, reach.n_layers, &self.store, &mut influence)?;
        for layer in (0..reach.n_layers).rev() {
            let factors: Vec<_> = self
                .features
                .range(self.active_in(layer))
                .map(|(&feature, row)| (row, influence[self.place(feature)] * row.inverse_sum))
                .filter(|&(_, factor)| factor > 0.0)
                .collect();
            reach.flow_down(&factors, layer, &self.store, &mut influence)?;
        }
        Ok(influence)
    }

    /// The `count` features of most influence that have no row yet, fewer if fewer are left; of equals, the first. They
    /// come in ascending order.
    ///
    /// # Errors
    /// If rows on disk cannot be read.
    pub fn next(&self, count: usize) -> Result<Vec<ActiveIndex>, RowFileError> {
        let influence = self.influence()?;
        let mut open: Vec<ActiveIndex> = (0..self.active.len()).map(ActiveIndex::from).collect();
        let mut taken = self.features.keys().peekable();
        open.retain(|feature| taken.next_if_eq(&feature).is_none());
        if count < open.len() {
            let score = |&feature: &ActiveIndex| influence[self.place(feature)];
            open.select_nth_unstable_by(count, |a, b| score(b).total_cmp(&score(a)).then(a.cmp(b)));
            open.truncate(count);
            open.sort_unstable();
        }
        Ok(open)
    }

    /// Ends the ranking: the features that have a row, ascending, and all rows as a graph of these features has them.
    /// Each row is dropped as soon as it is copied.
    ///
    /// # Errors
    /// If rows on disk cannot be read.
    pub fn into_rows(self) -> Result<(Vec<ActiveIndex>, Rows), RowFileError> {
        let selected: Vec<ActiveIndex> = self.features.keys().copied().collect();
        let Reach { n_layers, n_pos, .. } = *self.reach;
        let layout =
            NodeLayout { n_features: selected.len(), n_layers, n_pos, n_targets: self.targets.len() };
        // Where each column's source is: its layer, position, and place among the sources of its layer.
        let columns: Vec<(usize, usize, usize)> = selected
            .iter()
            .map(|&feature| {
                (self.active[feature.get()].layer, self.active[feature.get()].pos, self.place(feature))
            })
            .chain(layout.errors().filter_map(|column| match layout.node(column.into()) {
                Some(Node::Error(layer, pos)) => Some((layer, pos, self.reach.order.error(layer, pos))),
                _ => None,
            }))
            .map(|(layer, pos, place)| {
                (layer.get(), pos.get(), place - self.reach.order.visible_from(layer.get()))
            })
            .collect();

        let mut values = vec![0.0; layout.n_rows() * layout.n_sources()];
        let rows: Vec<Row> =
            self.features.into_values().chain(self.targets.into_iter().map(|t| t.1)).collect();
        let (reach, store) = (&*self.reach, &self.store);
        let whole_rows = values.par_chunks_exact_mut(layout.n_sources()).zip(rows);
        whole_rows.try_for_each_init(Vec::new, |buffer, (to, row)| {
            let seen = store.piece(&row, 0..reach.seen(row.layer, row.pos), buffer)?;
            for (value, &(layer, pos, place)) in to.iter_mut().zip(&columns) {
                if layer < row.layer && pos <= row.pos {
                    *value = seen[reach.seen(layer, row.pos) + place];
                }
            }
            to[layout.tokens()][..=row.pos].copy_from_slice(&seen[..=row.pos]);
            Ok(())
        })?;
        Ok((selected, Rows::new(layout.n_sources(), values).expect("whole rows")))
    }

    /// The place of an active feature in source order.
    fn place(&self, feature: ActiveIndex) -> usize {
        let FeatureId { layer, pos, .. } = self.active[feature.get()];
        self.reach.order.feature(layer, pos, feature.get())
    }

    /// The active features of a layer.
    fn active_in(&self, layer: usize) -> Range<ActiveIndex> {
        let (layer, n_pos) = (Layer::from(layer), self.reach.n_pos);
        let first = self.reach.order.group_features(layer, Pos(0)).start;
        let end = self.reach.order.group_features(layer, Pos::from(n_pos - 1)).end;
        first.into()..end.into()
    }
}

/// Cuts rows of active features to what they can see.
#[derive(Clone, Debug)]
pub struct RowCutter {
    reach: Arc<Reach>,
    active: Arc<[FeatureId]>,
}

/// The row of an active feature, cut and summed.
#[derive(Debug)]
pub struct FeatureRow {
    feature: ActiveIndex,
    row: Row,
}

impl RowCutter {
    /// The row of an active feature from the effects of the sources that its layer can see, a prefix of all sources as
    /// long as [`SourceOrder::visible_from`] says. Effects of later positions are not read; they are zero.
    ///
    /// # Panics
    /// If the row has another length, or there is no such feature.
    #[must_use]
    pub fn feature_row(&self, feature: ActiveIndex, row: &[f32]) -> FeatureRow {
        let FeatureId { layer, pos, .. } = self.active[feature.get()];
        FeatureRow { feature, row: Row::new(&self.reach, layer.get(), pos.get(), row) }
    }
}

/// A row without what its layer and position cannot see: tokens up to `pos`, then of each layer below `layer` the sources up to
/// `pos`.
#[derive(Debug)]
struct Row {
    layer: usize,
    pos: usize,
    /// One over its sum of absolute values.
    inverse_sum: f64,
    values: Values,
}

impl Row {
    /// Of a row over all that its layer sees, what its position sees too.
    fn new(reach: &Reach, layer: usize, pos: usize, row: &[f32]) -> Self {
        let seen = reach.seen_of(layer, pos, row);
        let inverse_sum = 1.0 / sum_abs(&seen).max(SUM_FLOOR);
        Self { layer, pos, inverse_sum, values: Values::InMemory(seen) }
    }
}

/// Where a row's values are.
#[derive(Debug)]
enum Values {
    InMemory(Vec<f32>),
    /// In the file, from this byte on.
    OnDisk(u64),
}

/// What keeps rows: memory, and perhaps a file for those that come once there are enough in it.
#[derive(Debug, Default)]
struct Store {
    /// Bytes of memory that rows take.
    held: usize,
    /// How many they may take, and the file for further ones.
    overflow: Option<(usize, RowFile)>,
}

impl Store {
    /// Keeps a row that is in memory, there or on disk.
    fn keep(&mut self, row: Row) -> Result<Row, RowFileError> {
        let Values::InMemory(seen) = &row.values else { return Ok(row) };
        let bytes = size_of_val(seen.as_slice());
        self.held += size_of::<Row>();
        match &mut self.overflow {
            Some((memory, file)) if self.held.saturating_add(bytes) > *memory => {
                let values = Values::OnDisk(file.append(seen)?);
                Ok(Row { values, ..row })
            }
            _ => {
                self.held += bytes;
                Ok(row)
            }
        }
    }

    /// Some of a row's values; `buffer` is where those from the file are put.
    fn piece<'a>(
        &self,
        row: &'a Row,
        range: Range<usize>,
        buffer: &'a mut Vec<f32>,
    ) -> Result<&'a [f32], RowFileError> {
        match (&row.values, &self.overflow) {
            (Values::InMemory(values), _) => Ok(&values[range]),
            (Values::OnDisk(start), Some((_, file))) => {
                buffer.resize(range.len(), 0.0);
                file.read(start + (range.start * size_of::<f32>()) as u64, buffer)?;
                Ok(buffer)
            }
            (Values::OnDisk(_), None) => unreachable!("a row on disk was written to a file"),
        }
    }
}

/// How much of the source order a row at a layer and position sees.
#[derive(Clone, Debug)]
struct Reach {
    order: SourceOrder,
    n_layers: usize,
    n_pos: usize,
    /// `seen[l * n_pos + p]`: tokens and sources of layers below `l`, each at positions up to `p`.
    seen: Vec<usize>,
}

impl Reach {
    fn new(order: SourceOrder, n_layers: usize, n_pos: usize) -> Self {
        let mut seen: Vec<usize> = (1..=n_pos).collect();
        for layer in 0..n_layers {
            for pos in 0..n_pos {
                let end = order.group(Layer::from(layer), Pos::from(pos)).end;
                seen.push(seen[layer * n_pos + pos] + end - order.visible_from(layer));
            }
        }
        Self { order, n_layers, n_pos, seen }
    }

    /// Number of sources that a row at `layer` and `pos` sees: the length of its values.
    fn seen(&self, layer: usize, pos: usize) -> usize {
        self.seen[layer * self.n_pos + pos]
    }

    /// How many of them are written at the layer `below`.
    fn seen_in(&self, below: usize, pos: usize) -> usize {
        self.seen(below + 1, pos) - self.seen(below, pos)
    }

    /// Of a row over all that its layer sees, what its position sees.
    fn seen_of(&self, layer: usize, pos: usize, row: &[f32]) -> Vec<f32> {
        assert_eq!(row.len(), self.order.visible_from(layer), "length of a row at layer {layer}");
        let mut seen = Vec::with_capacity(self.seen(layer, pos));
        seen.extend_from_slice(&row[..=pos]);
        for below in 0..layer {
            let start = self.order.visible_from(below);
            seen.extend_from_slice(&row[start..start + self.seen_in(below, pos)]);
        }
        let effects = |values: &[f32]| values.iter().filter(|&&value| value != 0.0).count();
        debug_assert_eq!(effects(&seen), effects(row), "a later position has an effect on position {pos}");
        seen
    }

    /// Adds each row, times its factor, to the sums of the sources that rows at `layer` see.
    fn flow_down(
        &self,
        rows: &[(&Row, f64)],
        layer: usize,
        store: &Store,
        sums: &mut [f64],
    ) -> Result<(), RowFileError> {
        // The sums of tokens and of each layer below: a task each, which takes its piece of one row after the other.
        let (tokens, mut rest) = sums.split_at_mut(self.n_pos);
        let mut written = vec![tokens];
        for below in 0..layer {
            let n_written = self.order.visible_from(below + 1) - self.order.visible_from(below);
            let (sums, others) = rest.split_at_mut(n_written);
            written.push(sums);
            rest = others;
        }
        written.into_par_iter().enumerate().try_for_each_init(Vec::new, |buffer, (nth, sums)| {
            for (row, factor) in rows {
                let piece = match nth.checked_sub(1) {
                    None => 0..row.pos + 1,
                    Some(below) => self.seen(below, row.pos)..self.seen(below + 1, row.pos),
                };
                add_abs(sums, *factor, store.piece(row, piece, buffer)?);
            }
            Ok(())
        })
    }
}
