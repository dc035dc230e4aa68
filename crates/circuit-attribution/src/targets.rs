//! What is explained: output tokens, or any weighted direction at the unembedding's input.
//!
//! A token's direction is its unembedding column less the mean column over the model's vocabulary: what raises it above the
//! others. Probabilities are after a soft cap, directions before it. Other directions are taken as they are.

use crate::AttributionError;
use circuit_index::TokenId;
use circuit_replacement::LocalReplacement;
use std::collections::BTreeSet;
use tch::{Kind, Tensor};

/// Which targets a graph explains.
#[derive(Debug)]
pub enum TargetChoice {
    /// The fewest most probable tokens whose probabilities reach a share, at most so many.
    Automatic {
        /// At most this many.
        max_n_logits: usize,
        /// The share of probability to reach, 0 to 1.
        desired_logit_prob: f64,
    },
    /// These tokens, weighted by their probabilities.
    Tokens(Vec<TokenId>),
    /// Labelled directions.
    Directions(Vec<Direction>),
}

/// A labelled direction at the unembedding's input.
#[derive(Debug)]
pub struct Direction {
    /// Its name in graphs.
    pub label: String,
    /// How much it counts beside the others, >= 0.
    pub weight: f64,
    /// `[d_model]`.
    pub vector: Tensor,
}

/// A target, resolved on a prompt.
#[derive(Debug)]
pub struct ResolvedTarget {
    /// The direction's name; `None` for a token, whose text only the tokenizer knows.
    pub label: Option<String>,
    /// The token, or a number past the model's vocabulary for a direction.
    pub token_id: TokenId,
    /// Probability or weight.
    pub weight: f32,
    /// `[d_model]`, wide: what it reads at the unembedding's input.
    pub direction: Tensor,
}

impl TargetChoice {
    /// The targets on a prompt, in the order of the graph.
    ///
    /// # Errors
    /// If a token, share or weight is impossible, or none is left.
    pub fn resolve(
        &self,
        replacement: &LocalReplacement<'_>,
    ) -> Result<Vec<ResolvedTarget>, AttributionError> {
        let targets = circuit_torch::guard(|| tch::no_grad(|| self.find(replacement)))?;
        if targets.is_empty() {
            return Err(AttributionError::NoTarget);
        }
        if targets.iter().all(|t| t.weight == 0.0) {
            return Err(AttributionError::NoWeight);
        }
        Ok(targets)
    }

    fn find(&self, replacement: &LocalReplacement<'_>) -> Result<Vec<ResolvedTarget>, AttributionError> {
        let spec = replacement.model().spec();
        let probabilities = replacement.trace().logits.get(-1).softmax(-1, None::<Kind>);
        match self {
            Self::Automatic { max_n_logits, desired_logit_prob } => {
                if *max_n_logits > spec.d_vocab {
                    return Err(AttributionError::TooManyTargets {
                        asked: *max_n_logits,
                        d_vocab: spec.d_vocab,
                    });
                }
                if !(0.0..=1.0).contains(desired_logit_prob) {
                    return Err(AttributionError::Probability { found: *desired_logit_prob });
                }
                let (top, ids) = probabilities.topk(*max_n_logits as i64, -1, true, true);
                let (top, ids) =
                    (Vec::<f64>::try_from(top.to_kind(Kind::Double))?, Vec::<i64>::try_from(ids)?);
                let mut reached = 0.0;
                let enough = top.iter().position(|p| {
                    reached += p;
                    reached >= *desired_logit_prob
                });
                let count = enough.map_or(top.len(), |i| i + 1);
                let ids: Vec<_> = ids[..count].iter().map(|&i| TokenId(i as u32)).collect();
                tokens(replacement, &probabilities, &ids)
            }
            Self::Tokens(ids) => {
                if let Some(&token) = ids.iter().find(|t| t.get() >= spec.d_vocab) {
                    return Err(AttributionError::NoSuchToken { token, d_vocab: spec.d_vocab });
                }
                let mut seen = BTreeSet::new();
                if let Some(&token) = ids.iter().find(|t| !seen.insert(**t)) {
                    return Err(AttributionError::TwiceATarget { token });
                }
                tokens(replacement, &probabilities, ids)
            }
            Self::Directions(directions) => {
                let resolve = |(i, direction): (usize, &Direction)| {
                    let Direction { label, weight, vector } = direction;
                    // Checked as it will be used: what overflows there is refused here.
                    if !((*weight as f32).is_finite() && *weight >= 0.0) {
                        return Err(AttributionError::Weight { label: label.clone(), weight: *weight });
                    }
                    let (d_model, found) = (spec.d_model, vector.size());
                    let vector = vector.to_kind(replacement.model().wide_kind());
                    if found != [d_model as i64] || !bool::try_from(vector.isfinite().all())? {
                        return Err(AttributionError::Direction { label: label.clone(), found, d_model });
                    }
                    Ok(ResolvedTarget {
                        label: Some(label.clone()),
                        token_id: TokenId::from(spec.d_vocab + i),
                        weight: *weight as f32,
                        direction: vector,
                    })
                };
                directions.iter().enumerate().map(resolve).collect()
            }
        }
    }
}

fn tokens(
    replacement: &LocalReplacement<'_>,
    probabilities: &Tensor,
    ids: &[TokenId],
) -> Result<Vec<ResolvedTarget>, AttributionError> {
    let (W_U, wide) = (replacement.model().W_U(), replacement.model().wide_kind());
    let mean = W_U.mean_dim(0, false, wide);
    let resolve = |&id: &TokenId| {
        let row = i64::from(id.0);
        Ok(ResolvedTarget {
            label: None,
            token_id: id,
            weight: probabilities.double_value(&[row]) as f32,
            direction: W_U.get(row).to_kind(wide) - &mean,
        })
    };
    ids.iter().map(resolve).collect()
}
