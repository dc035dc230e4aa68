//! What can go wrong with the hub and its cache. Each message says what was wanted; [`HubError::advice`] what to do.

use crate::name::NameError;
use std::path::PathBuf;

/// An error of the hub or of the cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A text that names nothing on the hub.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A setting that cannot be used.
    #[error("the hub cannot be used: {reason}")]
    Setup {
        /// Why.
        reason: String,
    },
    /// A repository that asks for a licence to be accepted.
    #[error("{repo} is gated: its owner wants its terms accepted before anybody reads it")]
    Gated {
        /// The repository.
        repo: String,
        /// Its page.
        page: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// A token that is not accepted, or none where one is needed.
    #[error("{repo}: the hub refuses access ({status})")]
    Denied {
        /// The repository.
        repo: String,
        /// The status of its answer.
        status: u16,
        /// Whether a token was sent.
        token: bool,
    },
    /// No such repository.
    #[error("{repo}: the hub has no such repository")]
    NoRepo {
        /// The repository.
        repo: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// No such revision.
    #[error("{repo}: it has no revision `{revision}`")]
    NoRevision {
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
    },
    /// No such file.
    #[error("{repo}@{revision}: it has no file `{path}`")]
    NoFile {
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
        /// The file.
        path: String,
    },
    /// What is needed is not in the cache, and nothing may be asked.
    #[error("{what} is not in the cache ({}), and the hub is not asked", cache.display())]
    Offline {
        /// What is needed.
        what: String,
        /// The cache.
        cache: PathBuf,
    },
    /// The hub does not answer.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// The hub's address.
        host: String,
        /// Why.
        reason: String,
    },
    /// The hub answers that it cannot, after every try.
    #[error("{url}: the hub answers {status} ({tries} tries)")]
    Busy {
        /// What was asked for.
        url: String,
        /// The status of its answer.
        status: u16,
        /// How often it was asked.
        tries: u32,
        /// How long it wants to be left alone, seconds.
        wait: Option<u64>,
    },
    /// A transfer that broke off, after every try.
    #[error("{file}: the transfer broke off after {got} of {size} bytes: {reason}")]
    Broken {
        /// The file.
        file: String,
        /// How much is there.
        got: u64,
        /// How much there should be.
        size: u64,
        /// Why.
        reason: String,
    },
    /// A file that is not the one the hub lists.
    #[error("{file}: what came is not the file that the hub lists: {what} {found}, expected {expected}")]
    Damaged {
        /// The file.
        file: String,
        /// Size or hash.
        what: &'static str,
        /// What came.
        found: String,
        /// What the hub lists.
        expected: String,
    },
    /// An answer that is not understood.
    #[error("{url}: an answer that is not understood: {reason}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A server that sends a whole file where a part of it is asked for.
    #[error("{url}: the server answers no ranges")]
    NoRanges {
        /// What was asked for.
        url: String,
    },
    /// A name that would lead out of the cache.
    #[error("{repo}: it lists `{path}`, which is no name of a file below a folder")]
    UnsafeName {
        /// The repository.
        repo: String,
        /// The name.
        path: String,
    },
    /// Too little room for what is to come.
    #[error("{}: {free} bytes are free, {needed} are needed", cache.display())]
    NoSpace {
        /// The cache.
        cache: PathBuf,
        /// What is free, bytes.
        free: u64,
        /// What is to come, bytes.
        needed: u64,
    },
    /// Nothing of that name in the cache.
    #[error("{name} is not in the cache ({})", cache.display())]
    NotCached {
        /// The name.
        name: String,
        /// The cache.
        cache: PathBuf,
    },
    /// A file of the cache that cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl HubError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        Some(match self {
            Self::Gated { page, token: false, .. } => {
                format!("accept the terms at {page}, then set HF_TOKEN to a token of that account (or run `hf auth login`)")
            }
            Self::Gated { page, token: true, .. } => {
                format!("accept the terms at {page} with the account that the token belongs to")
            }
            Self::Denied { token: true, .. } => {
                "is the token in HF_TOKEN (or saved by `hf auth login`) still valid, and may it read this repository?".into()
            }
            Self::Denied { .. } => "set HF_TOKEN to a token that may read it".into(),
            Self::NoRepo { token: false, .. } => {
                "is the name right? A private repository needs a token in HF_TOKEN".into()
            }
            Self::NoRepo { .. } => {
                "is the name right? A private repository is hidden from a token that may not read it".into()
            }
            Self::NoRevision { .. } => "a revision is a branch, a tag or a whole commit hash".into(),
            Self::Offline { .. } => {
                "run `circuit-tracer download` once with a connection, without --offline and HF_HUB_OFFLINE".into()
            }
            Self::Unreachable { .. } => {
                "check the connection, HF_ENDPOINT and HTTPS_PROXY; --offline uses what is in the cache".into()
            }
            Self::Busy { wait: Some(wait), .. } => format!("it asks to be left alone for {wait} seconds: try again later"),
            Self::Busy { .. } | Self::Broken { .. } => {
                "try again: what has come is kept, and the transfer goes on from there".into()
            }
            Self::Damaged { .. } => "nothing of it was kept; try again, and check what stands between you and the hub".into(),
            Self::NoSpace { .. } => {
                "`circuit-tracer cache list` shows what could go; HF_HUB_CACHE moves the cache elsewhere".into()
            }
            Self::NoRanges { .. } => {
                "a mirror in HF_ENDPOINT, or a proxy, keeps parts of files from being read; `circuit-tracer download` brings them whole".into()
            }
            Self::NotCached { .. } => "`circuit-tracer cache list` shows what there is".into(),
            _ => return None,
        })
    }
}
