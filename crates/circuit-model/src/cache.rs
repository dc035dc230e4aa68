//! Keys and values of the positions that a model has read, so that each new token costs one position and not the whole prompt.
//!
//! The forward pass (`forward.rs`) reads a [`KvCache`] and hands it what it has grown to, once the pass is done. Tensors of a cache are
//! never changed in place: a copy shares them, and a pass that fails leaves the cache as it was. Not here: attention, and which
//! keys a query sees (a layer with a window keeps all its keys).

use crate::ModelError;
use crate::model::{Model, TokenBatch};
use std::sync::Arc;
use tch::Tensor;

/// A layer's rotated keys and its values, `[batch, pos, kv_head, d_head]` each.
#[derive(Debug)]
struct KeysAndValues([Tensor; 2]);

impl Clone for KeysAndValues {
    fn clone(&self) -> Self {
        Self(self.0.each_ref().map(Tensor::shallow_clone))
    }
}

/// What [`Model::forward_cached`] keeps of the positions that a model has read.
///
/// Keys and values are those with which the passes went on: what a visitor changed at a layer's keys or values, or below, stays
/// changed for all later tokens. A copy costs no memory of its own, so several continuations can share a prompt.
#[derive(Clone, Debug)]
pub struct KvCache {
    /// Whose it is. While it is held here, no other model has the same.
    model: Arc<()>,
    batch: usize,
    n_pos: usize,
    /// First to last layer; none before the first pass.
    layers: Vec<KeysAndValues>,
}

impl KvCache {
    /// Nothing read yet. The first pass says how many batch rows there are.
    #[must_use]
    pub fn new(model: &Model) -> Self {
        Self { model: Arc::clone(&model.identity), batch: 0, n_pos: 0, layers: Vec::new() }
    }

    /// Number of positions read so far.
    #[must_use]
    pub fn n_pos(&self) -> usize {
        self.n_pos
    }

    /// Whether a model can read these tokens after what the cache holds.
    pub(crate) fn check(&self, model: &Model, tokens: &TokenBatch) -> Result<(), ModelError> {
        if !Arc::ptr_eq(&self.model, &model.identity) {
            return Err(ModelError::CacheOfAnotherModel);
        }
        if self.n_pos > 0 && tokens.n_batch() != self.batch {
            return Err(ModelError::CacheBatch { found: tokens.n_batch(), expected: self.batch });
        }
        let (found, limit) = (self.n_pos + tokens.n_pos(), model.spec().n_ctx);
        if found > limit {
            return Err(ModelError::PromptTooLong { found, limit });
        }
        Ok(())
    }

    /// Takes what a pass over these tokens has made of it.
    pub(crate) fn commit(&mut self, grown: Grown, tokens: &TokenBatch) {
        self.layers = grown.layers;
        self.batch = tokens.n_batch();
        self.n_pos += tokens.n_pos();
    }
}

/// What a cache grows to in one pass, layer by layer.
pub(crate) struct Grown {
    before: std::vec::IntoIter<KeysAndValues>,
    layers: Vec<KeysAndValues>,
}

impl Grown {
    pub(crate) fn new(cache: &KvCache) -> Self {
        Self { before: cache.layers.clone().into_iter(), layers: Vec::new() }
    }

    /// Keys and values of all positions of the next layer, from those of the new ones.
    pub(crate) fn extend(&mut self, new: [&Tensor; 2]) -> [Tensor; 2] {
        // Joined even where there is nothing before, because a visitor may hold on to the new ones and change them.
        let all = match self.before.next() {
            Some(KeysAndValues([keys, values])) => {
                [Tensor::cat(&[&keys, new[0]], 1), Tensor::cat(&[&values, new[1]], 1)]
            }
            None => new.map(|tensor| Tensor::cat(&[tensor], 1)),
        };
        let all = KeysAndValues(all);
        self.layers.push(all.clone());
        all.0
    }
}
