//! What a run of training is told, checked before it begins.

use crate::TrainError;
use serde::{Deserialize, Serialize};

/// How activations come about, and what keeps them few.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum ActivationChoice {
    /// `max(x, 0)`; the penalty is L1 times decoder norm.
    Relu,
    /// `x` above a learnt threshold; the penalty is their number, with a straight-through estimate of its gradient.
    JumpRelu {
        /// The width of the estimate's window, in units of the normalised input.
        bandwidth: f64,
    },
    /// The k largest; no penalty.
    TopK {
        /// How many.
        k: usize,
    },
}

/// All settings of a run. Two runs with the same settings, model and corpus end in the same set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Features of each layer.
    pub features: usize,
    /// Whether features write to the layers above their own too.
    pub cross_layer: bool,
    /// Whether a linear path leads past the features.
    pub skip: bool,
    /// The activation function.
    pub activation: ActivationChoice,
    /// Weight of the penalty.
    pub sparsity: f64,
    /// The penalty grows to its weight within this share of the steps.
    pub sparsity_warm_up: f64,
    /// Steps.
    pub steps: usize,
    /// Whether an error counts in relation to what it is an error of: rows in which little is written weigh as much as others.
    pub relative_error: bool,
    /// Rows of a step.
    pub batch_rows: usize,
    /// Steps whose rows are mixed with each other.
    pub chunk_batches: usize,
    /// How much less a token counts for standing behind the same words in many documents of a chunk: 0, as often as it stands there;
    /// 1, once.
    pub balance: f64,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Steps in which the learning rate rises.
    pub warm_up: usize,
    /// The share of the steps, at the end, in which the learning rate falls to zero.
    pub decay: f64,
    /// Adam's shares of the past.
    pub betas: (f64, f64),
    /// A feature that has not fired for so many steps is dead, and gets a new direction.
    pub dead_after: usize,
    /// The seed of all that is drawn.
    pub seed: u64,
}

impl Settings {
    /// # Errors
    /// If a setting cannot work.
    pub fn check(&self) -> Result<(), TrainError> {
        let bad = |name, reason: String| Err(TrainError::Setting { name, reason });
        let counts = [
            ("features", self.features),
            ("steps", self.steps),
            ("batch-rows", self.batch_rows),
            ("chunk-batches", self.chunk_batches),
            ("dead-after", self.dead_after),
        ];
        for (name, count) in counts {
            if count == 0 || count > 1 << 28 {
                return bad(name, format!("{count}; expected a number from 1 to {}", 1 << 28));
            }
        }
        let shares = [
            ("sparsity-warm-up", self.sparsity_warm_up),
            ("decay", self.decay),
            ("balance", self.balance),
            ("beta1", self.betas.0),
            ("beta2", self.betas.1),
        ];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) || (name.starts_with("beta") && share == 1.0) {
                return bad(name, format!("{share}; expected a share from 0 to 1"));
            }
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return bad("learning-rate", format!("{}; expected a positive number", self.learning_rate));
        }
        if !(self.sparsity >= 0.0 && self.sparsity.is_finite()) {
            return bad("sparsity", format!("{}; expected 0 or more", self.sparsity));
        }
        match self.activation {
            ActivationChoice::TopK { k } if k == 0 || k > self.features => {
                bad("k", format!("{k}; expected 1 to the {} features", self.features))
            }
            ActivationChoice::JumpRelu { bandwidth } if !(bandwidth > 0.0 && bandwidth.is_finite()) => {
                bad("bandwidth", format!("{bandwidth}; expected a positive number"))
            }
            _ => Ok(()),
        }
    }

    /// The learning rate of a step.
    pub(crate) fn rate(&self, step: usize) -> f64 {
        let rise = ((step + 1) as f64 / self.warm_up.max(1) as f64).min(1.0);
        let falling = self.decay * self.steps as f64;
        let fall = match falling > 0.0 {
            true => ((self.steps - step) as f64 / falling).min(1.0),
            false => 1.0,
        };
        self.learning_rate * rise * fall
    }

    /// The weight of the penalty at a step.
    pub(crate) fn penalty(&self, step: usize) -> f64 {
        let rising = self.sparsity_warm_up * self.steps as f64;
        self.sparsity * if rising > 0.0 { ((step + 1) as f64 / rising).min(1.0) } else { 1.0 }
    }
}
