//! Writing on after a prompt, with edits and without.
//!
//! What is held, and edits at given positions, act on the pass over the prompt alone; slices without an end also act on every new token,
//! from its own activation, with nothing held. Each new token costs one position: keys and values are kept. Not here: words.

use crate::InterventionError;
use crate::edit::{Edit, Planned, plan};
use crate::pass::{EditedPass, Held, Seen};
use crate::run::{Freeze, Interventions, Outcome, Request};
use circuit_index::TokenId;
use circuit_model::{KvCache, Sampler, Sampling, TokenBatch};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// How a text goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateConfig {
    /// At most this many tokens.
    pub max_new_tokens: usize,
    /// How each is chosen.
    pub sampling: Sampling,
    /// Tokens after which nothing more is written; the one that ends it is part of the text.
    pub stop: Vec<TokenId>,
}

/// What was written.
#[derive(Debug)]
pub struct Generated<'a> {
    /// The prompt and what follows it.
    pub tokens: Vec<TokenId>,
    /// How many of them are the prompt's.
    pub n_prompt: usize,
    /// As of a run: `logits [new, d_vocab]` from which each new token was chosen, and activations of all tokens but the last new one.
    pub outcome: Outcome<'a>,
}

impl<'a> Interventions<'a> {
    /// Writes on after a prompt, and calls `on_token` with each new token; where that says `false`, or the model's context is full,
    /// nothing more is written.
    ///
    /// # Errors
    /// If an edit, prompt, held layer or the sampling is impossible, or a run fails.
    pub fn generate(
        &self,
        request: &Request,
        freeze: &Freeze,
        config: &GenerateConfig,
        mut on_token: impl FnMut(TokenId) -> bool,
    ) -> Result<Generated<'a>, InterventionError> {
        let model = self.model();
        let held = self.held(freeze)?;
        let mut sampler = Sampler::new(config.sampling)?;
        let planned = plan(0, &request.edits, request.tokens.len(), self.set())?;
        let mut batch = TokenBatch::new(&request.tokens, model)?;
        let undisturbed = self.undisturbed(&batch, &held, &planned)?;
        let (nothing, free) = (BTreeMap::new(), Held::default());

        let mut cache = KvCache::new(model);
        let mut tokens = request.tokens.clone();
        let mut inputs: Vec<Vec<Tensor>> = self.set().layers().iter().map(|_| Vec::new()).collect();
        let mut chosen_from = Vec::new();
        let (mut edits, mut held_now, mut known) = (planned, &held, &undisturbed);
        let mut first = 0;
        let mut seen = Seen::default();
        loop {
            let wide = model.wide_kind();
            let mut pass = EditedPass::new(self.set(), wide, held_now, known, &edits, self.ignored(), first);
            let logits = model.forward_cached(&batch, &mut cache, &mut pass)?;
            seen.add(&pass.seen);
            for (all, new) in inputs.iter_mut().zip(&pass.inputs) {
                all.push(new.f_select(0, 0)?.f_to_kind(wide)?);
            }
            if config.max_new_tokens == 0 {
                break;
            }
            let last = logits.f_select(0, 0)?.f_narrow(0, -1, 1)?.f_to_kind(wide)?; // [1, d_vocab]
            let numbers = last.f_view(-1)?.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?;
            let token = sampler.choose(&Vec::<f32>::try_from(numbers)?)?;
            chosen_from.push(last);
            first = tokens.len();
            tokens.push(token);
            let more = on_token(token);
            let full = tokens.len() > model.spec().n_ctx;
            if !more || full || config.stop.contains(&token) || chosen_from.len() == config.max_new_tokens {
                break;
            }
            batch = TokenBatch::new(&[token], model)?;
            edits = at_new_token(&request.edits, first);
            (held_now, known) = (&free, &nothing);
        }
        let inputs = inputs.iter().map(|inputs| Tensor::f_cat(inputs, 0));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let logits = match chosen_from.is_empty() {
            true => Tensor::f_zeros([0, model.spec().d_vocab as i64], (model.wide_kind(), model.device()))?,
            false => Tensor::f_cat(&chosen_from, 0)?,
        };
        let outcome = self.outcome(logits, inputs, &request.edits, &held, seen.unchanged(0));
        Ok(Generated { tokens, n_prompt: request.tokens.len(), outcome })
    }
}

/// The edits that act on a generated token.
fn at_new_token(edits: &[Edit], pos: usize) -> Vec<Planned> {
    let open = edits.iter().enumerate().filter(|(_, edit)| edit.starts_by(pos));
    let planned = open.map(|(nth, e)| Planned {
        row: 0,
        nth,
        layer: e.layer.get(),
        feature: e.feature,
        pos,
        change: e.change,
    });
    planned.collect()
}
