//! Feature pages: for every feature of a set what it fires on, how often and how strongly, and what it promotes.
//!
//! Two walks over the corpus for a group of layers: the first finds each feature's range, the second fills bins and keeps
//! examples. Memory grows with the features of a group, not with the corpus. A layer whose file is there is not done again.

use crate::activations::{Sites, batches, rows_of};
use crate::record::{Example, Gathered};
use crate::seeded::{Purpose, generator};
use crate::{Corpus, TrainError};
use circuit_format::{PACKED_INDEX, packed_offsets, write_packed_index, write_packed_layer};
use circuit_index::{Layer, LayerSite, TokenId};
use circuit_model::Model;
use circuit_transcoder::TranscoderSet;
use rand::Rng;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use tch::{Kind, Tensor};

/// Bins of a bar of the histogram.
const BINS_OF_A_BAR: usize = 20;
/// Beside the records: whose pages a folder holds, so that a run with other settings does not go on in it.
const RUN: &str = "pages.json";

/// What pages hold.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PageSettings {
    /// Top examples.
    pub examples: usize,
    /// Intervals of activations between the least and the greatest.
    pub intervals: usize,
    /// Examples of each interval.
    pub per_interval: usize,
    /// Tokens shown before and after.
    pub context: usize,
    /// Bars of the histogram.
    pub bars: usize,
    /// Promoted and suppressed tokens.
    pub logits: usize,
    /// The seed of the samples.
    pub seed: u64,
    /// Bytes that may be held for a group of layers; one layer at least is taken.
    #[serde(skip)]
    pub memory: usize,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct PageProgress {
    /// Layers that are done.
    pub layers_done: usize,
    /// All layers.
    pub n_layers: usize,
    /// Documents of this walk that are done.
    pub documents: usize,
    /// Whether it is the second walk.
    pub second: bool,
}

impl PageSettings {
    fn check(&self) -> Result<(), TrainError> {
        let counts = [
            ("examples", self.examples),
            ("intervals", self.intervals),
            ("bars", self.bars),
            ("logits", self.logits),
        ];
        match counts.into_iter().find(|(_, n)| *n == 0 || *n > 10_000) {
            Some((name, n)) => Err(TrainError::Setting { name, reason: format!("{n}; expected 1 to 10000") }),
            None => Ok(()),
        }
    }

    /// Bytes that are held for a feature.
    fn of_a_feature(&self) -> usize {
        let examples = self.examples + self.intervals * self.per_interval;
        examples * (2 * self.context + 1) * 12 + self.bars * BINS_OF_A_BAR * 8
    }
}

/// Writes the pages of a set into `folder`: `layer_N.bin` and `index.json.gz`.
///
/// # Errors
/// If the folder holds other pages, a file cannot be written, or LibTorch fails.
pub fn write_pages(
    model: &Model,
    set: &TranscoderSet,
    corpus: &Corpus,
    settings: &PageSettings,
    word: &dyn Fn(TokenId) -> String,
    folder: &Path,
    mut progress: impl FnMut(PageProgress),
) -> Result<(), TrainError> {
    settings.check()?;
    check_run(set, corpus, settings, folder)?;
    let n_layers = model.spec().n_layers();
    let mut offsets = Vec::new();
    while offsets.len() < n_layers {
        let layer = offsets.len();
        let n_features = set.layers()[layer].n_features();
        if let Some(found) = packed_offsets(folder, Layer::from(layer), n_features)? {
            offsets.push(found);
            continue;
        }
        let fits = settings.memory / (settings.of_a_feature() * n_features.max(1)).max(1);
        let group = layer..(layer + fits.max(1)).min(n_layers);
        let tell = &mut progress;
        let gathered = gather(model, set, corpus, settings, group.clone(), tell)?;
        for (layer, features) in group.zip(gathered) {
            offsets.push(write_layer(model, set, corpus, settings, word, folder, layer, &features)?);
        }
    }
    write_packed_index(folder, &offsets)?;
    Ok(())
}

/// Pages of another set, corpus or with other settings are not to be mixed with these.
fn check_run(
    set: &TranscoderSet,
    corpus: &Corpus,
    settings: &PageSettings,
    folder: &Path,
) -> Result<(), TrainError> {
    let path = folder.join(RUN);
    let mut sum = 0.0;
    for transcoder in set.layers() {
        sum += transcoder.b_enc.to_kind(Kind::Double).square().sum(Kind::Double).double_value(&[]);
    }
    let rows = corpus.n_rows();
    let run = serde_json::json!({
        "settings": settings, "corpus": corpus.fingerprint().to_string(), "rows": rows, "encoders": sum.to_string(),
    });
    let run = format!("{run}\n");
    match std::fs::read_to_string(&path) {
        Ok(found) if found == run => Ok(()),
        Ok(_) => Err(TrainError::OtherRun { path }),
        Err(_) if folder.join(PACKED_INDEX).exists() => Err(TrainError::OtherRun { path }),
        Err(_) => Ok(circuit_format::write_atomically(&path, |out| out.write_all(run.as_bytes()))?),
    }
}

/// The active features of one layer on one document: position, feature, value, ascending.
type Active = Vec<(usize, usize, f64)>;

/// Calls `with` for each document and layer of the group.
fn walk(
    model: &Model,
    set: &TranscoderSet,
    corpus: &Corpus,
    layers: Range<usize>,
    mut with: impl FnMut((usize, &[TokenId]), usize, &Active),
    mut progress: impl FnMut(usize),
) -> Result<(), TrainError> {
    let sites = Sites { reads: set.info().reads, writes: set.info().writes };
    for group in batches((0..corpus.len()).map(|d| corpus.length(d))) {
        progress(group.start);
        let documents = group.clone().map(|d| corpus.document(d)).collect::<Result<Vec<_>, _>>()?;
        let documents: Vec<_> = documents.iter().map(Vec::as_slice).collect();
        let rows = rows_of(model, &documents, sites, corpus.ignored())?;
        for l in layers.clone() {
            let found = set.layers()[l].encode(&rows.inputs[l], 0, l)?;
            let positions = Vec::<i64>::try_from(&found.positions)?;
            let indices = Vec::<i64>::try_from(&found.indices)?;
            let values = Vec::<f64>::try_from(found.values.to_kind(Kind::Double))?;
            let mut all = positions.into_iter().zip(indices).zip(values).peekable();
            let mut start = 0;
            for (document, tokens) in group.clone().zip(&documents) {
                let end = start + (tokens.len() - corpus.ignored()) as i64;
                let mut active = Active::new();
                while let Some(((row, feature), value)) = all.next_if(|((row, _), _)| *row < end) {
                    let position = (row - start) as usize + corpus.ignored();
                    active.push((position, feature as usize, value));
                }
                with((document, tokens), l, &active);
                start = end;
            }
        }
    }
    Ok(())
}

fn gather(
    model: &Model,
    set: &TranscoderSet,
    corpus: &Corpus,
    settings: &PageSettings,
    layers: Range<usize>,
    progress: &mut impl FnMut(PageProgress),
) -> Result<Vec<Vec<Gathered>>, TrainError> {
    let n_layers = model.spec().n_layers();
    let first = layers.start;
    let mut tell =
        |documents, second| progress(PageProgress { layers_done: first, n_layers, documents, second });
    let nothing = |l: usize| vec![Gathered::new(settings.intervals); set.layers()[l].n_features()];
    let mut all: Vec<Vec<Gathered>> = layers.clone().map(nothing).collect();
    let range = |_: (usize, &[TokenId]), l: usize, active: &Active| {
        for &(_, feature, value) in active {
            let known: &mut Gathered = &mut all[l - first][feature];
            known.min = known.min.min(value);
            known.max = known.max.max(value);
            known.count += 1;
        }
    };
    walk(model, set, corpus, layers.clone(), range, |documents| tell(documents, false))?;
    let bins = settings.bars * BINS_OF_A_BAR;
    for known in all.iter_mut().flatten().filter(|known| known.count > 0) {
        known.fine = vec![0; bins];
    }
    let mut chance = generator(settings.seed, Purpose::Examples, first);
    let fill = |(document, tokens): (usize, &[TokenId]), l: usize, active: &Active| {
        for &(position, feature, value) in active {
            let known: &mut Gathered = &mut all[l - first][feature];
            let bin = known.bin(value, bins);
            known.fine[bin] += 1;
            let example = || {
                let window = position.saturating_sub(settings.context)
                    ..(position + settings.context + 1).min(tokens.len());
                let mut acts = vec![0.0; window.len()];
                for &(p, f, v) in active {
                    if f == feature && window.contains(&p) {
                        acts[p - window.start] = v;
                    }
                }
                let centre = position - window.start;
                let tokens = tokens[window].iter().map(|t| t.0).collect();
                Example { value, place: (document, position), tokens, acts, centre }
            };
            let before =
                |e: &Example| e.value > value || (e.value == value && e.place < (document, position));
            let place = known.top.partition_point(before);
            if place < settings.examples {
                known.top.insert(place, example());
                known.top.truncate(settings.examples);
            }
            // Each activation of an interval is as likely to be kept as any other.
            let interval = known.bin(value, settings.intervals);
            let (seen, kept) = &mut known.intervals[interval];
            *seen += 1;
            if kept.len() < settings.per_interval {
                kept.push(example());
            } else if let Some(slot) = kept.get_mut(chance.random_range(0..*seen) as usize) {
                *slot = example();
            }
        }
    };
    walk(model, set, corpus, layers, fill, |documents| tell(documents, true))?;
    Ok(all)
}

#[allow(clippy::too_many_arguments, reason = "one caller, and each is a different thing")]
fn write_layer(
    model: &Model,
    set: &TranscoderSet,
    corpus: &Corpus,
    settings: &PageSettings,
    word: &dyn Fn(TokenId) -> String,
    folder: &Path,
    layer: usize,
    features: &[Gathered],
) -> Result<Vec<u64>, TrainError> {
    let transcoder = &set.layers()[layer];
    let name = format!("{}-layer-{layer}", set.info().scan);
    let rows = corpus.n_rows();
    // Some features at a time: their logits are as wide as the vocabulary.
    const AT_ONCE: usize = 256;
    let mut logits = Vec::new();
    for start in (0..features.len()).step_by(AT_ONCE) {
        let end = (start + AT_ONCE).min(features.len());
        let some = Tensor::arange_start(start as i64, end as i64, (Kind::Int64, model.device()));
        circuit_torch::guard(|| {
            logits.extend(promoted(model, set, layer, &transcoder.decoder_rows(&some), settings.logits)?);
            Ok::<_, TrainError>(())
        })?;
    }
    let word = |id: u32| word(TokenId(id));
    let records = features.iter().enumerate().map(|(f, known)| {
        (known.count > 0).then(|| known.record(f, &name, rows, settings.bars, &logits[f], &word))
    });
    Ok(write_packed_layer(folder, Layer::from(layer), records)?)
}

/// Which tokens each feature promotes and suppresses most by what it writes `[n, outputs, d]`, the last norm's scale apart.
fn promoted(
    model: &Model,
    set: &TranscoderSet,
    layer: usize,
    W_dec: &Tensor,
    n: usize,
) -> Result<Vec<[Vec<u32>; 2]>, TrainError> {
    let mut written = Tensor::zeros([W_dec.size()[0], W_dec.size()[2]], (W_dec.kind(), W_dec.device()));
    for j in 0..W_dec.size()[1] {
        let row = W_dec.select(1, j);
        // Where a norm follows the output, its gain is part of what arrives in the stream.
        let norm = model.blocks()[layer + j as usize].mlp_post_norm.as_ref();
        written += match norm.filter(|_| set.info().writes == LayerSite::MlpRawOut) {
            Some(norm) => norm.centre(&row) * norm.gain(),
            None => row,
        };
    }
    let norm = model.final_norm();
    let logits =
        (norm.centre(&written) * norm.gain()).linear(&model.W_U().to_kind(W_dec.kind()), None::<&Tensor>);
    let n = (n as i64).min(logits.size()[1]);
    let best = |largest| logits.topk(n, -1, largest, true).1;
    let (top, bottom) = (best(true), best(false));
    let ids = |t: &Tensor, row: i64| -> Result<Vec<u32>, TrainError> {
        Ok(Vec::<i64>::try_from(t.get(row))?.into_iter().map(|id| id as u32).collect())
    };
    (0..logits.size()[0]).map(|row| Ok([ids(&top, row)?, ids(&bottom, row)?])).collect()
}
