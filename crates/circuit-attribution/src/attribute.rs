//! From a prompt taken apart to the rows of its graph: target rows, then feature rows in rounds by influence.

use crate::AttributionError;
use crate::pullback::{PullBack, Read};
use crate::targets::ResolvedTarget;
use circuit_graph::{Ranking, Rows};
use circuit_index::ActiveIndex;
use circuit_replacement::LocalReplacement;
use std::path::PathBuf;

/// How many features get a row, and how they are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributeConfig {
    /// At most this many features; `None` for all.
    pub max_feature_nodes: Option<usize>,
    /// With `update_interval`: influence is estimated anew after `batch_size · update_interval` rows. These two fix the ranking
    /// and nothing else.
    pub batch_size: usize,
    /// See `batch_size`.
    pub update_interval: usize,
}

impl Default for AttributeConfig {
    /// 7 500 features, in rounds of 1 024.
    fn default() -> Self {
        Self { max_feature_nodes: Some(7500), batch_size: 256, update_interval: 4 }
    }
}

impl AttributeConfig {
    /// How many of `n_active` features get a row.
    #[must_use]
    pub fn n_selected(&self, n_active: usize) -> usize {
        self.max_feature_nodes.map_or(n_active, |n| n.min(n_active))
    }

    /// How many rows of `n_active` features are asked for at a time, before influence is estimated anew: all of them where every
    /// feature gets one, since their order is then of no consequence.
    ///
    /// # Errors
    /// If `batch_size · update_interval` is zero or no number.
    pub fn round(&self, n_active: usize) -> Result<usize, AttributionError> {
        let round = self.batch_size.checked_mul(self.update_interval).filter(|n| *n > 0);
        let round = round.ok_or(AttributionError::EmptyRound)?;
        Ok(if self.n_selected(n_active) == n_active { n_active } else { round })
    }
}

/// Where rows are while features are ranked. How long they are depends on which features are chosen, so no plan can know how much
/// they will hold.
#[derive(Clone, Debug)]
pub struct RowRoom {
    /// Bytes of memory that they may hold.
    pub memory: usize,
    /// A folder for an unnamed file to which further ones go; without it they end in an error.
    pub overflow: Option<PathBuf>,
}

impl Default for RowRoom {
    /// As much memory as they need.
    fn default() -> Self {
        Self { memory: usize::MAX, overflow: None }
    }
}

/// How far the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rows done.
    pub done: usize,
    /// Rows in all, targets included.
    pub total: usize,
}

/// The rows of a graph.
#[derive(Debug)]
pub struct Attribution {
    /// The features that got a row, ascending places in the list of active ones.
    pub selected: Vec<ActiveIndex>,
    /// Direct effects, in the order of the graph's nodes.
    pub rows: Rows,
    /// The share of all sources' influence that lies on active features without a row, 0 to 1.
    pub unselected_influence: f64,
}

/// Computes the rows of targets and of the most influential features.
///
/// # Errors
/// If the configuration is impossible or LibTorch fails.
pub fn attribute(
    replacement: &LocalReplacement<'_>,
    targets: &[ResolvedTarget],
    config: AttributeConfig,
    progress: impl FnMut(Progress),
) -> Result<Attribution, AttributionError> {
    attribute_within(replacement, targets, config, &RowRoom::default(), progress)
}

/// The same with the rows in this room while they are ranked, which changes no bit of them.
///
/// # Errors
/// As [`attribute`], or if the rows find no room, in memory or on disk.
pub fn attribute_within(
    replacement: &LocalReplacement<'_>,
    targets: &[ResolvedTarget],
    config: AttributeConfig,
    room: &RowRoom,
    mut progress: impl FnMut(Progress),
) -> Result<Attribution, AttributionError> {
    let active = replacement.active();
    let (wanted, round) = (config.n_selected(active.len()), config.round(active.len())?);

    let pull_back = PullBack::new(replacement)?;
    if !replacement.cuts().keep_patterns {
        circuit_torch::runtime::trim(); // What patterns were made in makes room for rows.
    }
    let mut ranking =
        Ranking::new(replacement.model().spec().n_layers(), replacement.n_pos(), active.to_vec());
    if let Some(folder) = &room.overflow {
        ranking = ranking.overflowing_to(folder, room.memory)?;
    }
    let mut state = Progress { done: 0, total: targets.len() + wanted };
    let mut advance = |n| {
        state.done += n;
        progress(state);
    };

    let reads: Vec<_> = targets.iter().map(|t| Read::Direction(t.direction.shallow_clone())).collect();
    for (target, row) in targets.iter().zip(pull_back.rows(&reads, &mut advance)?) {
        if row.iter().any(|effect| !effect.is_finite()) {
            let target = target.label.clone().unwrap_or_else(|| format!("token {}", target.token_id));
            return Err(AttributionError::Overflow { target });
        }
        ranking.add_target_row(target.weight, &row)?;
    }
    while ranking.n_features() < wanted {
        let next = ranking.next(round.min(wanted - ranking.n_features()))?;
        let reads: Vec<_> = next.iter().map(|&i| Read::Feature(i)).collect();
        let cutter = ranking.cutter();
        let cut = |read: usize, row: &[f32]| cutter.feature_row(next[read], row);
        pull_back.each_row(&reads, &mut advance, cut, |row| {
            ranking.add(row)?;
            let (held, n_features) = (ranking.held_bytes(), ranking.n_features());
            match held <= room.memory || room.overflow.is_some() {
                true => Ok(()),
                false => Err(AttributionError::NoRoom { n_features, held, room: room.memory, wanted }),
            }
        })?;
    }
    drop(pull_back); // Its patterns make room for the rows of the graph,
    circuit_torch::runtime::trim(); // as does what gradients took.
    let influence = ranking.influence()?;
    let (selected, rows) = ranking.into_rows()?;
    let unselected_influence = unselected_share(replacement, &selected, &influence);
    Ok(Attribution { selected, rows, unselected_influence })
}

/// How much of all sources' influence lies on active features that are not selected.
fn unselected_share(replacement: &LocalReplacement<'_>, selected: &[ActiveIndex], influence: &[f64]) -> f64 {
    let mut taken = selected.iter().peekable();
    let features = replacement.active().iter().enumerate();
    let left = features.filter(|(i, _)| taken.next_if(|s| s.get() == *i).is_none());
    let left: f64 = left.map(|(i, f)| influence[replacement.order().feature(f.layer, f.pos, i)]).sum();
    let all: f64 = influence.iter().sum();
    // An empty sum is -0.0.
    if all > 0.0 { (left / all).max(0.0) } else { 0.0 }
}
