//! What all handlers share, and how they leave the threads that must not block.

use crate::encoding::{PackedCache, Size};
use crate::error::ApiError;
use crate::etag::ETag;
use crate::features::FeatureStore;
use crate::page::Frontend;
use crate::server::{Limits, ServerConfig};
use crate::store::GraphStore;
use crate::{ServerError, guard};
use circuit_format::LinkFile;
use quick_cache::sync::Cache;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// How many graphs' links are kept for scoring: whoever pins nodes asks again and again for one graph.
const GRAPHS_TO_SCORE: usize = 4;

/// Roughly how many packed bodies there are; only a hint for the cache.
const PACKED_BODIES: usize = 64;

/// The state of the server.
pub(crate) struct App {
    pub(crate) graphs: GraphStore,
    pub(crate) features: FeatureStore,
    pub(crate) frontend: Frontend,
    pub(crate) limits: Limits,
    pub(crate) hosts: guard::Hosts,
    pub(crate) packed: PackedCache,
    /// Nothing for a graph that has no scores.
    pub(crate) links: Cache<ETag, Arc<Option<LinkFile>>>,
    pub(crate) openapi: String,
    heavy: Arc<Semaphore>,
}

impl App {
    pub(crate) fn new(
        config: ServerConfig,
        hosts: guard::Hosts,
        openapi: String,
    ) -> Result<Self, ServerError> {
        let ServerConfig { graphs: folder, features, remote_features, frontend, limits, .. } = config;
        let graphs = GraphStore::open_folder(folder.clone());
        let graphs = graphs.map_err(|source| ServerError::Folder {
            path: folder,
            what: "the folder of graphs",
            source,
        })?;
        if let Frontend::Folder(folder) = &frontend {
            std::fs::metadata(folder.join("index.html")).map_err(|source| ServerError::Folder {
                path: folder.clone(),
                what: "a folder with the page's index.html",
                source,
            })?;
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            graphs,
            features: FeatureStore::open(features, remote_features)?,
            frontend,
            limits,
            hosts,
            packed: PackedCache::with_weighter(PACKED_BODIES, limits.packed_bytes, Size),
            links: Cache::new(GRAPHS_TO_SCORE),
            openapi,
            heavy: Arc::new(Semaphore::new(threads)),
        })
    }

    /// Runs what waits for files on a thread where that hurts nobody. Once begun it ends, even if the client goes away.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let app = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&app)).await;
        done.map_err(|e| ApiError::internal("a task failed", &e))
    }

    /// The same for what keeps a processor busy: no more at a time than there are processors.
    pub(crate) async fn heavy<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = Arc::clone(&self.heavy).acquire_owned().await;
        let permit = permit.map_err(|e| ApiError::internal("a task failed", &e))?;
        self.blocking(move |app| {
            let _permit = permit;
            work(app)
        })
        .await
    }
}
