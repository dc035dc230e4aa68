//! Training a small language model from nothing: documents by shares, gradients through the engine's own forward pass, AdamW.
//!
//! What the model is stands in the `config.json` of a folder; what comes out is that folder's checkpoint. The last token of a
//! document is its answer, and counts for more than the rest. Not here: what the documents say, checkpoints to go on from.

use crate::TrainError;
use crate::checkpoint::write_tensors;
use crate::seeded::{Purpose, generator};
use circuit_index::TokenId;
use circuit_model::{BlockPart, Hooks, Linear, Model, ModelError, Part, TokenBatch, WeightSource};
use rand::Rng;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tch::nn::{AdamW, Optimizer, OptimizerConfig, VarStore};
use tch::{Device, Kind, Tensor, no_grad};

/// The group of weights that the optimizer does not pull to zero.
const UNDECAYED: usize = 1;

/// Documents that are drawn with one share.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The share of the drawn documents, relative to the sum of all shares.
    pub share: f64,
    /// The documents, each with its special token in front and its answer at the end.
    pub documents: Vec<Vec<TokenId>>,
}

/// What training a language model is told.
#[derive(Clone, Debug)]
pub struct LanguageSettings {
    /// Steps.
    pub steps: usize,
    /// Documents of a step.
    pub batch: usize,
    /// The highest learning rate; it rises within `warm_up` and falls along a cosine to zero.
    pub learning_rate: f64,
    /// Steps in which the learning rate rises.
    pub warm_up: usize,
    /// AdamW's shares of the past.
    pub betas: (f64, f64),
    /// AdamW's decay of weights, times the learning rate.
    pub weight_decay: f64,
    /// The gradient's norm is at most this.
    pub clip: f64,
    /// What a token counts that is no answer; an answer counts 1.
    pub context_weight: f64,
    /// Layers whose attention writes nothing: it stays at zero.
    pub silent_attention: Vec<usize>,
    /// Rows of the embedding are at most so long at first.
    pub embedding_norm: Option<f64>,
    /// The share of their length that rows of the embedding keep. A row is taken to be a direction times a length that is the same for
    /// all: the direction learns like other weights, the length falls, the same part of it with every step.
    pub embedding_left: f64,
    /// The share of the steps in which the length falls.
    pub embedding_falls: f64,
    /// Tokens whose rows are of any length and keep it.
    pub free_rows: Vec<TokenId>,
    /// The embedding's decay, in place of `weight_decay`.
    pub embedding_decay: f64,
    /// Standard deviation of the first weights.
    pub first_scale: f64,
    /// The seed of all that is drawn.
    pub seed: u64,
}

/// What a step measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LanguageMetrics {
    /// The step, from 0.
    pub step: usize,
    /// What was minimised.
    pub loss: f64,
    /// The share of the batch's answers that were right.
    pub right: f64,
}

/// A run of training.
pub struct LanguageTrainer {
    model: Model,
    parts: Vec<(Part, Tensor)>,
    optimizer: Optimizer,
    _weights: VarStore,
    subjects: Vec<Subject>,
    settings: LanguageSettings,
    folder: PathBuf,
    step: usize,
}

impl std::fmt::Debug for LanguageTrainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LanguageTrainer").field("step", &self.step).field("settings", &self.settings).finish()
    }
}

impl LanguageSettings {
    fn check(&self, n_layers: usize, d_vocab: usize) -> Result<(), TrainError> {
        let bad = |name, reason: String| Err(TrainError::Setting { name, reason });
        for (name, count) in [("steps", self.steps), ("batch", self.batch)] {
            if count == 0 {
                return bad(name, "0; expected 1 or more".into());
            }
        }
        let positive = [("learning-rate", self.learning_rate), ("clip", self.clip)];
        let positive = positive.into_iter().chain(self.embedding_norm.map(|n| ("embedding-norm", n)));
        for (name, value) in
            positive.chain([("embedding-left", self.embedding_left), ("first-scale", self.first_scale)])
        {
            if !(value > 0.0 && value.is_finite()) {
                return bad(name, format!("{value}; expected a positive number"));
            }
        }
        for (name, value) in [
            ("weight-decay", self.weight_decay),
            ("embedding-decay", self.embedding_decay),
            ("context-weight", self.context_weight),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                return bad(name, format!("{value}; expected 0 or more"));
            }
        }
        for (name, share) in [("beta1", self.betas.0), ("beta2", self.betas.1)] {
            if !(0.0..1.0).contains(&share) {
                return bad(name, format!("{share}; expected a share from 0 to less than 1"));
            }
        }
        for (name, share) in
            [("embedding-left", self.embedding_left), ("embedding-falls", self.embedding_falls)]
        {
            if !(0.0..=1.0).contains(&share) {
                return bad(name, format!("{share}; expected a share from 0 to 1"));
            }
        }
        if let Some(token) = self.free_rows.iter().find(|token| token.get() >= d_vocab) {
            return bad("free-rows", format!("token {token}; expected one of the {d_vocab}"));
        }
        match self.silent_attention.iter().find(|&&l| l >= n_layers) {
            Some(l) => bad("silent-attention", format!("layer {l}; expected one of the {n_layers}")),
            None => Ok(()),
        }
    }

    fn rate(&self, step: usize) -> f64 {
        if step < self.warm_up {
            return self.learning_rate * (step + 1) as f64 / self.warm_up as f64;
        }
        let done = (step - self.warm_up) as f64 / (self.steps - self.warm_up).max(1) as f64;
        self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }

    /// The length of the embedding's rows at a step, as a share of what it is at first.
    fn length(&self, step: usize) -> f64 {
        let falling = (self.embedding_falls * self.steps as f64).max(1.0);
        self.embedding_left.powf((step as f64 / falling).min(1.0))
    }

    /// Rows cut to their greatest length at first.
    fn cut(&self, rows: &Tensor) -> Tensor {
        let Some(longest) = self.embedding_norm else { return rows.shallow_clone() };
        let norms = rows.square().sum_dim_intlist(-1, true, Kind::Float).sqrt();
        rows * (longest / (norms + 1e-12)).clamp_max(1.0)
    }

    /// The embedding's rows behind a step, from what they were `before` it and what the optimizer has `made` of them.
    fn held(&self, before: &Tensor, made: &Tensor, step: usize) -> Tensor {
        let kept = 1.0 - self.rate(step) * self.embedding_decay;
        let change = made - before;
        let free = before * kept + &change;
        let whole = before * (kept / self.length(step)) + change;
        self.with_free(&(self.cut(&whole) * self.length(step + 1)), &free)
    }

    /// `rows`, but those that are free from `free`.
    fn with_free(&self, rows: &Tensor, free: &Tensor) -> Tensor {
        let tokens: Vec<i64> = self.free_rows.iter().map(|token| i64::from(token.0)).collect();
        let tokens = Tensor::from_slice(&tokens);
        rows.index_copy(0, &tokens, &free.index_select(0, &tokens))
    }
}

/// First weights: norms are one, all else is even between bounds.
struct First<'a> {
    store: &'a VarStore,
    settings: &'a LanguageSettings,
    parts: Vec<(Part, Tensor)>,
}

impl WeightSource for First<'_> {
    fn tensor(&mut self, part: Part, shape: &[i64]) -> Result<Tensor, ModelError> {
        let nth = self.parts.len();
        let tensor = circuit_torch::guard(|| {
            let norm = matches!(part, Part::FinalNormGain | Part::Block(_, BlockPart::Norm(_, false)));
            let bias = matches!(
                part,
                Part::FinalNormBias | Part::Block(_, BlockPart::Norm(_, true) | BlockPart::Linear(_, true))
            );
            let silent = |l: usize| self.settings.silent_attention.contains(&l);
            let held = match part {
                Part::Block(l, BlockPart::Linear(Linear::O, _)) => silent(l.get()),
                _ => false,
            };
            if held {
                return Ok::<_, ModelError>(Tensor::zeros(shape, (Kind::Float, Device::Cpu)));
            }
            let first = if norm || bias {
                Tensor::full(shape, f64::from(u8::from(norm)), (Kind::Float, Device::Cpu))
            } else {
                let mut chance = generator(self.settings.seed, Purpose::Weights, nth);
                let bound = (self.settings.first_scale * 3.0f64.sqrt()) as f32;
                let n = shape.iter().product::<i64>() as usize;
                let values: Vec<f32> = (0..n).map(|_| chance.random_range(-bound..bound)).collect();
                Tensor::from_slice(&values).view(shape)
            };
            let root = self.store.root();
            let first = match part {
                Part::Embed => self.settings.with_free(&self.settings.cut(&first), &first),
                _ => first,
            };
            let root = match norm || bias || part == Part::Embed {
                true => root.set_group(UNDECAYED),
                false => root,
            };
            Ok(root.var_copy(&format!("part_{nth}"), &first))
        })?;
        self.parts.push((part, tensor.shallow_clone()));
        Ok(tensor)
    }
}

impl LanguageTrainer {
    /// A run from the start: the model that the `config.json` in `folder` describes, on the CPU in fp32.
    ///
    /// # Errors
    /// If the settings or the documents cannot work, or the config is not understood.
    pub fn new(
        folder: &Path,
        subjects: Vec<Subject>,
        settings: LanguageSettings,
    ) -> Result<Self, TrainError> {
        let spec = Model::describe(folder)?;
        settings.check(spec.n_layers(), spec.d_vocab)?;
        let bad = |reason: String| TrainError::Setting { name: "documents", reason };
        let total: f64 = subjects.iter().map(|s| s.share).sum();
        if !(total > 0.0 && total.is_finite()) || subjects.iter().any(|s| s.share < 0.0) {
            return Err(bad(format!("shares with the sum {total}; expected shares of 0 or more, not all 0")));
        }
        for document in subjects.iter().flat_map(|s| &s.documents) {
            if document.len() < 2 || document.len() > spec.n_ctx {
                return Err(bad(format!("one of {} tokens; expected 2 to {}", document.len(), spec.n_ctx)));
            }
        }
        if subjects.iter().any(|s| s.share > 0.0 && s.documents.is_empty()) {
            return Err(bad("none for a subject with a share".into()));
        }
        let store = VarStore::new(Device::Cpu);
        let mut first = First { store: &store, settings: &settings, parts: Vec::new() };
        let model = Model::new(spec, &mut first, Kind::Float, Device::Cpu)?;
        let parts = first.parts;
        let (beta1, beta2) = settings.betas;
        let choice = AdamW { beta1, beta2, wd: settings.weight_decay, eps: 1e-8, amsgrad: false };
        let mut optimizer = choice.build(&store, settings.learning_rate)?;
        // Norms and biases are not pulled to zero, the embedding in a way of its own.
        optimizer.set_weight_decay_group(UNDECAYED, 0.0);
        let folder = folder.into();
        Ok(Self { model, parts, optimizer, _weights: store, subjects, settings, folder, step: 0 })
    }

    /// The model as it is now.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The number of steps made.
    #[must_use]
    pub fn steps_made(&self) -> usize {
        self.step
    }

    /// Whether all steps are made.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.step >= self.settings.steps
    }

    /// Makes one step.
    ///
    /// # Errors
    /// If the loss is no number any more, or LibTorch fails.
    pub fn step(&mut self) -> Result<LanguageMetrics, TrainError> {
        let step = self.step;
        let mut documents = self.draw();
        // Those of one length run together, so that nothing is filled up.
        documents.sort_by_key(|document| document.len());
        let context: usize = documents.iter().map(|document| document.len() - 2).sum();
        let counted = documents.len() as f64 + self.settings.context_weight * context as f64;
        let mut loss = Tensor::zeros([], (Kind::Float, Device::Cpu));
        let mut right = 0.0;
        for some in documents.chunk_by(|a, b| a.len() == b.len()) {
            let questions: Vec<_> = some.iter().map(|document| &document[..document.len() - 1]).collect();
            let batch = TokenBatch::of_prompts(&questions, &self.model)?;
            let logits = self.model.forward(&batch, &mut Hooks::new())?;
            let next: Vec<i64> = some.iter().flat_map(|d| d[1..].iter().map(|t| i64::from(t.0))).collect();
            circuit_torch::guard(|| {
                let next = Tensor::from_slice(&next).view_as(batch.ids());
                let log =
                    logits.log_softmax(-1, Kind::Float).gather(2, &next.unsqueeze(2), false).squeeze_dim(2);
                let answers = log.select(1, -1);
                let context = log.sum(Kind::Float) - answers.sum(Kind::Float);
                loss -= (answers.sum(Kind::Float) + context * self.settings.context_weight) / counted;
                let said = logits.select(1, -1).argmax(-1, false);
                right += said.eq_tensor(&next.select(1, -1)).sum(Kind::Int64).int64_value(&[]) as f64;
                Ok::<_, TrainError>(())
            })?;
        }
        let right = right / documents.len() as f64;
        let value = loss.double_value(&[]);
        if !value.is_finite() {
            return Err(TrainError::Diverged { step });
        }
        circuit_torch::guard(|| {
            self.optimizer.set_lr(self.settings.rate(step));
            let rows = self.parts.iter().find(|(part, _)| *part == Part::Embed).map(|(_, rows)| rows);
            let before = rows.map(|rows| rows.detach().copy());
            self.optimizer.backward_step_clip_norm(&loss, self.settings.clip);
            if let (Some(rows), Some(before)) = (rows, before) {
                let held = self.settings.held(&before, &rows.detach(), step);
                no_grad(|| rows.shallow_clone().copy_(&held));
            }
            Ok::<_, TrainError>(())
        })?;
        self.step += 1;
        Ok(LanguageMetrics { step, loss: value, right })
    }

    /// The documents of this step.
    fn draw(&self) -> Vec<&[TokenId]> {
        let mut chance = generator(self.settings.seed, Purpose::Documents, self.step);
        let total: f64 = self.subjects.iter().map(|s| s.share).sum();
        let one = |_| {
            let mut left = chance.random::<f64>() * total;
            let subject = self.subjects.iter().find(|s| {
                left -= s.share;
                left < 0.0
            });
            let last = || self.subjects.iter().rfind(|s| s.share > 0.0).expect("checked at the start");
            let documents = &subject.unwrap_or_else(last).documents;
            documents[chance.random_range(0..documents.len())].as_slice()
        };
        (0..self.settings.batch).map(one).collect()
    }

    /// Writes `model.safetensors` beside the config.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, kind: crate::StoredKind) -> Result<(), TrainError> {
        let (parts, tensors): (Vec<_>, Vec<_>) = self.parts.iter().map(|(p, t)| (*p, t)).unzip();
        let names = Model::checkpoint_names(&self.folder, &parts)?;
        let stored = |t: &Tensor| t.detach().to_kind(kind.kind());
        let tensors = names.into_iter().zip(tensors.into_iter().map(stored)).collect();
        // Hugging Face's loader wants to be told whose layout it is.
        write_tensors(&self.folder.join("model.safetensors"), tensors, &[("format", "pt")])
    }
}
