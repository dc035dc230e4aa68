//! How long each phase of attribution takes on a made model.
//!
//! On a GPU, work is queued: a phase ends when a number has come back from it. The best of several runs is told, since what disturbs a
//! run only ever makes it longer; the product that the rows are held against is measured between them, in the same way.

use crate::needed::{moved_encode, moved_forward, moved_rows};
use crate::{Made, needed_encode, needed_forward, needed_rows};
use circuit_attribution::{AttributeConfig, AttributionError, PullBack, Read, TargetChoice, attribute};
use circuit_graph::{Ranking, Thresholds, prune};
use circuit_replacement::{Cuts, LocalReplacement, Products, Trace};
use std::time::Instant;
use tch::{Device, Kind, Tensor};

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Rows of features; targets come on top.
    pub rows: usize,
    /// Runs of which the best is told.
    pub repeats: usize,
    /// Rows of a batch, as in [`AttributeConfig`].
    pub batch_size: usize,
    /// Batches between two rankings.
    pub update_interval: usize,
    /// How much is done at once.
    pub cuts: Cuts,
}

/// What a phase needs, whatever a program does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Needed {
    /// Operations; a multiplication and an addition are two.
    pub operations: f64,
    /// Bytes to be moved from and to memory.
    pub bytes: f64,
}

/// Seconds of each phase, and what they are held against.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Phases {
    /// Active features.
    pub n_active: usize,
    /// Rows, targets among them.
    pub n_rows: usize,
    /// The forward pass.
    pub forward: f64,
    /// Encoding, error vectors, and what every source writes.
    pub encode: f64,
    /// All rows, and preparing the pull-back.
    pub rows: f64,
    /// Choosing features between rounds, with the cutting of rows that workers do beside their products otherwise.
    pub ranking: f64,
    /// Making the matrix of a graph of the rows.
    pub assemble: f64,
    /// Pruning at the default thresholds.
    pub prune: f64,
    /// What the forward pass needs.
    pub needed_forward: Needed,
    /// What encoding needs; operations are those of the encoders.
    pub needed_encode: Needed,
    /// What the rows need.
    pub needed_rows: Needed,
    /// Operations per second of a large product on this device, in the type of the pull-back.
    pub product: f64,
    /// Where products are rounded: how far rows are from those of wide products, at the most, as a share of their length.
    pub rounding: Option<f64>,
}

impl Phases {
    /// The share of a large product's speed that the rows reach, counting needed operations alone.
    #[must_use]
    pub fn rows_of_floor(&self) -> f64 {
        self.needed_rows.operations / self.rows / self.product
    }
}

/// Runs the phases.
///
/// # Errors
/// If there is too little memory.
pub fn measure(made: &Made, settings: Settings) -> Result<Phases, AttributionError> {
    let mut best: Option<Phases> = None;
    for _ in 0..settings.repeats.max(1) {
        let now = once(made, settings)?;
        let best = best.get_or_insert_with(|| now.clone());
        let least = |a: &mut f64, b: f64| *a = a.min(b);
        least(&mut best.forward, now.forward);
        least(&mut best.encode, now.encode);
        least(&mut best.rows, now.rows);
        least(&mut best.ranking, now.ranking);
        least(&mut best.assemble, now.assemble);
        least(&mut best.prune, now.prune);
        best.product = best.product.max(now.product);
    }
    let mut best = best.unwrap_or_default();
    if settings.cuts.products != Products::Wide {
        best.rounding = Some(rounding(made, settings.cuts)?);
    }
    Ok(best)
}

/// How far rows of rounded products are from those of wide ones: the largest difference of some rows, as a share of the row's length.
fn rounding(made: &Made, cuts: Cuts) -> Result<f64, AttributionError> {
    const ROWS: usize = 256;
    let rows = |products| {
        let cuts = Cuts { products, ..cuts };
        let ignored = made.model.spec().ignored_positions;
        let replacement =
            LocalReplacement::new_in(&made.model, &made.set, &made.tokens, ignored, cuts, |_| Some(cuts))?;
        let n_active = replacement.active().len();
        let every = n_active.div_ceil(ROWS).max(1);
        let reads = (0..n_active).step_by(every).map(|i| Read::Feature(i.into())).collect::<Vec<_>>();
        PullBack::new(&replacement)?.rows(&reads, |_| {})
    };
    let lengths = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let rounded = rows(cuts.products)?;
    let shares = rows(Products::Wide)?.into_iter().zip(rounded).map(|(wide, rounded)| {
        let differences = wide.iter().zip(&rounded).map(|(a, b)| f64::from(a - b));
        let length = lengths(&mut wide.iter().map(|&x| f64::from(x)));
        lengths(&mut { differences }) / length.max(f64::MIN_POSITIVE)
    });
    Ok(shares.fold(0.0, f64::max))
}

fn once(made: &Made, settings: Settings) -> Result<Phases, AttributionError> {
    let device = made.model.device();
    let ignored = made.model.spec().ignored_positions;
    let (forward, trace) = timed(device, || {
        Trace::record(&made.model, &made.set, &made.tokens, ignored, settings.cuts.keep_patterns)
    })?;
    let (encode, replacement) = timed(device, || {
        LocalReplacement::take_apart(&made.model, &made.set, trace, settings.cuts, |_| Some(settings.cuts))
    })?;
    let targets =
        TargetChoice::Automatic { max_n_logits: 3, desired_logit_prob: 0.95 }.resolve(&replacement)?;
    let config = AttributeConfig {
        max_feature_nodes: Some(settings.rows),
        batch_size: settings.batch_size,
        update_interval: settings.update_interval,
    };
    let found = attribute(&replacement, &targets, config, |_| {})?;
    let selected = found.selected.iter().map(|&i| Read::Feature(i));
    let directions = targets.iter().map(|t| Read::Direction(t.direction.shallow_clone()));
    let reads: Vec<_> = directions.chain(selected).collect();
    let (rows, values) = timed(device, || {
        let pull_back = PullBack::new(&replacement)?;
        pull_back.rows(&reads, |_| {})
    })?;
    // As long as the rows took: on a machine shared with others, a moment's best is no measure for what takes longer.
    let product = product_speed(settings.cuts.products.kind(made.model.wide_kind()), device, rows);
    // The same rows in rounds, as they come when features are chosen.
    let (ranking, ranked) = timed(Device::Cpu, || {
        let mut ranking =
            Ranking::new(made.model.spec().n_layers(), replacement.n_pos(), replacement.active().to_vec());
        for (target, row) in targets.iter().zip(&values) {
            ranking.add_target_row(target.weight, row)?;
        }
        let round = settings.batch_size * settings.update_interval;
        let features = found.selected.iter().zip(&values[targets.len()..]).collect::<Vec<_>>();
        for features in features.chunks(round.max(1)) {
            std::hint::black_box(ranking.next(round)?);
            features.iter().try_for_each(|&(&feature, row)| ranking.add_feature_row(feature, row))?;
        }
        std::hint::black_box(ranking.influence()?);
        Ok::<_, AttributionError>(ranking)
    })?;
    let (assemble, _) = timed(Device::Cpu, || Ok::<_, AttributionError>(ranked.into_rows()?))?;
    let rows_need =
        Needed { operations: needed_rows(&replacement, &reads), bytes: moved_rows(&replacement, &reads) };
    let graph = made.graph(&replacement, found, targets.len());
    let (prune, _) =
        timed(Device::Cpu, || Ok::<_, AttributionError>(prune(&graph, Thresholds::new(0.8, 0.98)?)))?;
    Ok(Phases {
        n_active: replacement.active().len(),
        n_rows: reads.len(),
        forward,
        encode,
        rows,
        ranking,
        assemble,
        prune,
        needed_forward: Needed {
            operations: needed_forward(&made.shape),
            bytes: moved_forward(&made.shape, made.kind),
        },
        needed_encode: Needed {
            operations: needed_encode(&made.shape),
            bytes: moved_encode(&made.shape, made.kind, replacement.active().len()),
        },
        needed_rows: rows_need,
        product,
        rounding: None,
    })
}

fn timed<T, E>(device: Device, work: impl FnOnce() -> Result<T, E>) -> Result<(f64, T), E> {
    wait(device);
    let start = Instant::now();
    let result = work()?;
    wait(device);
    Ok((start.elapsed().as_secs_f64(), result))
}

/// Until all queued work on a device is done.
fn wait(device: Device) {
    if device.is_cuda() {
        // Comes back after everything queued before it.
        let _ = Tensor::zeros([1], (Kind::Float, device)).double_value(&[0]);
    }
}

/// Operations per second of a large product: the mean of several, which take so many seconds together.
#[must_use]
pub fn product_speed(kind: Kind, device: Device, seconds: f64) -> f64 {
    let n = if device.is_cuda() { 8192 } else { 2048 };
    let a = Tensor::randn([n, n], (kind, device));
    let mut out = a.matmul(&a.tr()); // the first one prepares what the others find
    wait(device);
    let start = Instant::now();
    let mut products = 0.0;
    loop {
        out = a.matmul_out(&out, &a.tr());
        wait(device);
        products += 1.0;
        let taken = start.elapsed().as_secs_f64();
        if products >= 5.0 && taken >= seconds {
            return 2.0 * (n as f64).powi(3) * products / taken;
        }
    }
}
