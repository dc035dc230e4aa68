//! What MLPs read and write on the documents of a corpus, as rows: run in batches, mixed within a chunk, never all held.
//!
//! The batch of a step is a function of seed and step alone, so a resumed run sees what an uninterrupted one would.

use crate::seeded::{Purpose, generator};
use crate::{Corpus, TrainError};
use circuit_index::{Layer, LayerSite, Site, TokenId};
use circuit_model::{Hooks, Model, TokenBatch};
use rand::Rng;
use rand::seq::SliceRandom;
use std::collections::HashMap;
use tch::{Kind, Tensor};

/// Tokens of documents that run through the model at once.
const TOKENS_AT_ONCE: usize = 4096;

/// Where transcoders read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sites {
    /// Where features read.
    pub reads: LayerSite,
    /// Where features write.
    pub writes: LayerSite,
}

/// Rows of all layers: `[rows, d_model]` each, wide.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) outputs: Vec<Tensor>,
}

/// The rows of some documents, one behind the other, ignored positions left out.
pub(crate) fn rows_of(
    model: &Model,
    documents: &[&[TokenId]],
    sites: Sites,
    ignored: usize,
) -> Result<Rows, TrainError> {
    let n_layers = model.spec().n_layers();
    let at = |site| (0..n_layers).map(move |l| Site::Block(Layer::from(l), site));
    let batch = TokenBatch::of_prompts(documents, model)?;
    let mut hooks = Hooks::new().record(at(sites.reads).chain(at(sites.writes)));
    let _logits = model.forward(&batch, &mut hooks)?;
    let values = hooks.finish()?;
    let width = batch.n_pos();
    let kept = documents.iter().enumerate();
    let kept = kept.flat_map(|(d, doc)| (ignored..doc.len()).map(move |p| (d * width + p) as i64));
    let kept = Tensor::from_slice(&kept.collect::<Vec<_>>()).to_device(model.device());
    circuit_torch::guard(|| {
        let take = |site: Site| {
            let flat = values[&site].to_kind(model.wide_kind());
            flat.flatten(0, 1).index_select(0, &kept)
        };
        Ok(Rows {
            inputs: at(sites.reads).map(take).collect(),
            outputs: at(sites.writes).map(take).collect(),
        })
    })
}

/// Groups of documents of at most [`TOKENS_AT_ONCE`] tokens, padding included, in their order.
pub(crate) fn batches(lengths: impl ExactSizeIterator<Item = usize>) -> Vec<std::ops::Range<usize>> {
    let (mut groups, mut start, mut longest) = (Vec::new(), 0, 0);
    let n = lengths.len();
    for (i, length) in lengths.enumerate() {
        let wider = longest.max(length);
        if i > start && wider * (i + 1 - start) > TOKENS_AT_ONCE {
            groups.push(start..i);
            (start, longest) = (i, length);
        } else {
            longest = wider;
        }
    }
    groups.push(start..n);
    groups
}

/// Batches of rows for training.
pub(crate) struct Feed<'a> {
    model: &'a Model,
    corpus: &'a Corpus,
    sites: Sites,
    seed: u64,
    batch_rows: usize,
    chunk_batches: usize,
    balance: f64,
    held: Option<(usize, Rows)>,
    walk: Walk,
}

/// The place in the endless order of documents.
struct Walk {
    chunk: usize,
    epoch: usize,
    at: usize,
    order: Vec<usize>,
}

impl<'a> Feed<'a> {
    pub(crate) fn new(
        model: &'a Model,
        corpus: &'a Corpus,
        sites: Sites,
        seed: u64,
        batch_rows: usize,
        chunk_batches: usize,
        balance: f64,
    ) -> Self {
        let walk = Walk { chunk: 0, epoch: 0, at: 0, order: order(corpus, seed, 0) };
        Self { model, corpus, sites, seed, batch_rows, chunk_batches, balance, held: None, walk }
    }

    /// The rows of a step; and of the whole chunk that it is part of, if asked for.
    pub(crate) fn batch(&mut self, step: usize) -> Result<Rows, TrainError> {
        let at = (step % self.chunk_batches * self.batch_rows) as i64;
        let n = self.batch_rows as i64;
        let chunk = self.chunk(step / self.chunk_batches)?;
        let cut = |rows: &[Tensor]| rows.iter().map(|t| t.narrow(0, at, n)).collect();
        Ok(Rows { inputs: cut(&chunk.inputs), outputs: cut(&chunk.outputs) })
    }

    /// All rows of a chunk, mixed.
    pub(crate) fn chunk(&mut self, number: usize) -> Result<&Rows, TrainError> {
        if self.held.as_ref().is_none_or(|(held, _)| *held != number) {
            self.held = None; // before the next one is made: two would be held otherwise
            if self.walk.chunk > number {
                self.walk = Walk { chunk: 0, epoch: 0, at: 0, order: order(self.corpus, self.seed, 0) };
            }
            while self.walk.chunk < number {
                self.next_documents();
            }
            let documents = self.next_documents();
            let rows = self.run(&documents, number)?;
            self.held = Some((number, rows));
        }
        Ok(&self.held.as_ref().expect("just made").1)
    }

    /// The documents of the next chunk, by counting their rows alone.
    fn next_documents(&mut self) -> Vec<usize> {
        let (mut rows, mut documents) = (0, Vec::new());
        while rows < self.batch_rows * self.chunk_batches {
            if self.walk.at == self.walk.order.len() {
                self.walk.epoch += 1;
                self.walk.order = order(self.corpus, self.seed, self.walk.epoch);
                self.walk.at = 0;
            }
            let document = self.walk.order[self.walk.at];
            rows += self.corpus.length(document) - self.corpus.ignored();
            documents.push(document);
            self.walk.at += 1;
        }
        self.walk.chunk += 1;
        documents
    }

    fn run(&self, documents: &[usize], number: usize) -> Result<Rows, TrainError> {
        let documents: Vec<Vec<TokenId>> =
            documents.iter().map(|&d| self.corpus.document(d)).collect::<Result<_, _>>()?;
        let mut parts = Vec::new();
        for group in batches(documents.iter().map(Vec::len)) {
            let group: Vec<_> = documents[group].iter().map(Vec::as_slice).collect();
            parts.push(rows_of(self.model, &group, self.sites, self.corpus.ignored())?);
        }
        let n_rows = documents.iter().map(|d| d.len() - self.corpus.ignored()).sum::<usize>();
        let wanted = self.batch_rows * self.chunk_batches;
        let mut chance = generator(self.seed, Purpose::Rows, number);
        let mut mixed: Vec<i64> = (0..n_rows as i64).collect();
        if self.balance > 0.0 {
            let sums = cumulative(&documents, self.corpus.ignored(), self.balance);
            let total = sums.last().copied().unwrap_or(0.0);
            let draw = |_| {
                let at = chance.random::<f64>() * total;
                (sums.partition_point(|sum| *sum <= at).min(n_rows - 1)) as i64
            };
            mixed = (0..wanted).map(draw).collect();
        } else {
            mixed.shuffle(&mut chance);
            mixed.truncate(wanted);
        }
        circuit_torch::guard(|| {
            let mixed = Tensor::from_slice(&mixed).to_device(self.model.device());
            let join = |part: &dyn Fn(&Rows) -> &Vec<Tensor>| {
                let layers = 0..self.model.spec().n_layers();
                let all =
                    |l: usize| Tensor::cat(&parts.iter().map(|rows| &part(rows)[l]).collect::<Vec<_>>(), 0);
                layers.map(|l| all(l).index_select(0, &mixed).to_kind(Kind::Float)).collect()
            };
            Ok(Rows { inputs: join(&|rows| &rows.inputs), outputs: join(&|rows| &rows.outputs) })
        })
    }
}

/// Running sums of the rows' weights: those whose tokens up to there stand in `n` of the documents count `n^-balance` each.
fn cumulative(documents: &[Vec<TokenId>], ignored: usize, balance: f64) -> Vec<f64> {
    let prefixes = || documents.iter().flat_map(move |d| (ignored..d.len()).map(move |p| &d[..=p]));
    let mut counts: HashMap<&[TokenId], u32> = HashMap::new();
    for prefix in prefixes() {
        *counts.entry(prefix).or_default() += 1;
    }
    let mut sum = 0.0;
    let add = |prefix| {
        sum += f64::from(counts[prefix]).powf(-balance);
        sum
    };
    prefixes().map(add).collect()
}

fn order(corpus: &Corpus, seed: u64, epoch: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..corpus.len()).collect();
    order.shuffle(&mut generator(seed, Purpose::Documents, epoch));
    order
}
