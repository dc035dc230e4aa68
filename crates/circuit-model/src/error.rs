//! What can go wrong with a model.

use crate::config::SpecError;
use crate::packings;
use circuit_index::{Site, TokenId};
use circuit_torch::TorchError;
use std::path::PathBuf;

/// An error of opening or running a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No such folder.
    #[error("{}: {}", path.display(), no_folder(*is_file))]
    NoFolder {
        /// The folder.
        path: PathBuf,
        /// Whether there is a file of that name.
        is_file: bool,
    },
    /// A folder without the files of a model.
    #[error("{}: no {}; {there}", path.display(), files.join(" or "))]
    NoModel {
        /// The folder.
        path: PathBuf,
        /// The files of which one is needed.
        files: &'static [&'static str],
        /// What there is instead, as the end of a sentence.
        there: String,
        /// What to do.
        advice: Option<String>,
    },
    /// The config is not understood.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A tensor file, or LibTorch.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// An index of weight files that is damaged, or names files that are not there.
    #[error("{}: {reason}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A weight that the description does not use: the model is not the one described.
    #[error("{}: tensor `{name}` is not part of the described model", path.display())]
    UnusedTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// Weights in a form that is not read.
    #[error("{}: tensor `{tensor}` is that of {form}, which is not supported", path.display())]
    Packed {
        /// The file.
        path: PathBuf,
        /// A tensor by which it was recognised.
        tensor: String,
        /// What it is.
        form: String,
        /// What to do.
        advice: String,
    },
    /// No unembedding, although the config says that it is not the embedding.
    #[error("{}: no tensor {names}, and in config.json {tie}", path.display())]
    NoUnembedding {
        /// The file, or the folder of several.
        path: PathBuf,
        /// The names that the unembedding may have.
        names: String,
        /// What the config says about the tie of embedding and unembedding.
        tie: String,
    },
    /// A tensor that the description asks for and the family has no name for.
    #[error("the description asks for {part}, for which this family's checkpoints have no name")]
    Undescribed {
        /// The tensor's role.
        part: String,
    },
    /// No tokens.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// More tokens than positions.
    #[error("the prompt has {found} tokens, the model reads at most {limit}")]
    PromptTooLong {
        /// Tokens of the prompt.
        found: usize,
        /// The model's context.
        limit: usize,
    },
    /// A key-value cache that another model has filled or is to fill.
    #[error("the key-value cache was made for another model")]
    CacheOfAnotherModel,
    /// Tokens in more or fewer batch rows than those before them.
    #[error("the key-value cache holds {expected} batch rows, the tokens have {found}")]
    CacheBatch {
        /// Rows of the tokens.
        found: usize,
        /// Rows of the cache.
        expected: usize,
    },
    /// A way of choosing tokens that makes no sense.
    #[error("sampling: {what} is {found}, it must be {expected}")]
    Sampling {
        /// What is wrong.
        what: &'static str,
        /// Its value.
        found: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// A logit by which nothing can be chosen.
    #[error(
        "the logit of token {token} is {found}: no token can be chosen (`Model::find_non_finite` looks for a bad weight)"
    )]
    BadLogit {
        /// The token.
        token: TokenId,
        /// Its logit.
        found: f32,
    },
    /// No logits, or all of minus infinity.
    #[error("no token can be chosen: every one is ruled out")]
    NoTokenLeft,
    /// A token id past the vocabulary.
    #[error("token id {token} is outside the model's vocabulary of {d_vocab}")]
    NoSuchToken {
        /// The id.
        token: TokenId,
        /// The vocabulary.
        d_vocab: usize,
    },
    /// A site that this model does not have.
    #[error("this model has no hook `{site}` ({n_layers} layers; `describe` lists its hooks)")]
    NoSuchSite {
        /// The site.
        site: Site,
        /// The model's layers.
        n_layers: usize,
    },
    /// A site whose edit never took place.
    #[error("hook `{site}` was never reached: what was asked of it did not happen")]
    SiteNotReached {
        /// The site.
        site: Site,
    },
    /// A value for a site that does not fit there.
    #[error("hook `{site}` has shape {expected:?}, the value given for it has {found:?}")]
    SiteShape {
        /// The site.
        site: Site,
        /// Shape of the value given.
        found: Vec<i64>,
        /// Shape at the site.
        expected: Vec<i64>,
    },
}

fn no_folder(is_file: bool) -> &'static str {
    match is_file {
        true => "a file, expected a model's folder: the one with config.json and the weights",
        false => "no such model folder",
    }
}

impl ModelError {
    /// What can be done about it, where that is known.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        match self {
            Self::NoModel { advice, .. } => advice.as_deref(),
            Self::Packed { advice, .. } => Some(advice),
            Self::Spec(SpecError::Unsupported { key, .. } | SpecError::Value { key, .. })
                if packings::is_key(key) =>
            {
                Some(packings::UNPACKED)
            }
            _ => None,
        }
    }
}
