//! Names on the Hugging Face hub, and their files in the cache that is shared with Python.
//!
//! Read [`Hub`] first: [`Hub::snapshot`] turns a repository and a revision into a list of files, [`Hub::fetch`] brings some
//! of them into the cache, [`Hub::read`] reads parts of them without keeping anything. The cache is the one of
//! `huggingface_hub`, its locks and unfinished files included, so that neither program loads what the other has.
//!
//! Of the two generations of the `hf-hub` package this uses 0.4.3: what the hub calls its repositories, their folders in the
//! cache, and its addresses. 1.0 is a rewrite that brings an asynchronous runtime, a second TLS library and its own transfer
//! protocol, and begins an interrupted file anew; with files of gigabytes that is the one thing not to do. What 0.4.3 does
//! not do stands here: transfers that check sizes, ranges and hashes and go on where they broke, locks where Python has them,
//! bounded retries, being offline, names that cannot leave the cache, free space, listing and removing.
//!
//! Not here: environment variables, defaults and printing (the command line's), and which files a model or a transcoder set
//! needs. No LibTorch.

mod cache;
mod credentials;
mod error;
mod fetch;
mod name;
mod net;
mod remote;
mod snapshot;

pub use cache::{CachedRepo, CachedRevision, Removed};
pub use error::HubError;
pub use fetch::{Fetched, Progress};
pub use name::{HubFile, HubName, NameError, RepoId, Revision};
pub use remote::RemoteFile;
pub use snapshot::{FileInfo, Hash, Snapshot};

use credentials::Credentials;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach the hub, and where its files are kept.
#[derive(Clone)]
pub struct HubConfig {
    /// Where the hub is: `https://huggingface.co`, or a mirror. A user and password in it are kept as secret as the token, and
    /// used where there is no token.
    pub endpoint: String,
    /// The folder with `models--…`.
    pub cache: PathBuf,
    /// The access token. It is sent to the scheme, host and port of the endpoint alone, whatever redirects say.
    pub token: Option<String>,
    /// Whether nothing may be asked of any server.
    pub offline: bool,
    /// `http://`, `socks5://` … of a proxy.
    pub proxy: Option<String>,
    /// What to say who is asking.
    pub user_agent: String,
    /// How often in a row something is tried again.
    pub retries: u32,
    /// The first wait before trying again; each is twice the one before.
    pub pause: Duration,
    /// The longest wait that a server may ask for.
    pub longest_pause: Duration,
    /// How long to wait for a connection or the next bytes.
    pub timeout: Duration,
    /// How many files are under way at a time.
    pub parallel: usize,
}

impl std::fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A token must not get into a log.
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("HubConfig")
            .field("endpoint", &credentials::without_user(&self.endpoint))
            .field("cache", &self.cache)
            .field("token", &token)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

/// The hub, as far as it can be reached, and the cache.
#[derive(Debug)]
pub struct Hub {
    config: HubConfig,
    credentials: Credentials,
    api: hf_hub::api::sync::Api,
    agent: ureq::Agent,
}

impl Hub {
    /// A hub. Nothing is asked yet.
    ///
    /// # Errors
    /// If the proxy cannot be understood.
    pub fn new(config: HubConfig) -> Result<Self, HubError> {
        let (endpoint, credentials) =
            Credentials::of(config.endpoint.trim().trim_end_matches('/'), config.token.clone());
        let config = HubConfig { endpoint, ..config };
        let agent = net::agent(&config)?;
        // Nothing of it but addresses is used, so that its own client never speaks.
        let api = hf_hub::api::sync::ApiBuilder::from_cache(hf_hub::Cache::new(config.cache.clone()))
            .with_endpoint(config.endpoint.clone())
            .with_token(None)
            .with_progress(false)
            .build()
            .map_err(|e| HubError::Setup { reason: e.to_string() })?;
        Ok(Self { config, credentials, api, agent })
    }

    /// How it was set up, the endpoint without a user and password.
    #[must_use]
    pub fn config(&self) -> &HubConfig {
        &self.config
    }
}
