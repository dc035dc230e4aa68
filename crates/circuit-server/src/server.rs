//! The server itself: configuration, listening, connections and their limits, the end.

use crate::app::App;
use crate::error::ApiError;
use crate::guard::{self, Hosts};
use crate::{FeatureFolder, Frontend, RemoteFeatures, ServerError, api, legacy};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tower_http::catch_panic::CatchPanicLayer;

/// The most that a request's first line and headers may take.
const HEADER_BYTES: usize = 1 << 16;

/// How long to wait where the system has no file handles left for another connection.
const OUT_OF_HANDLES: Duration = Duration::from_millis(50);

/// How much a client may take of what there is.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest graph file that may be added.
    pub upload_bytes: u64,
    /// The largest body of any other request.
    pub body_bytes: u64,
    /// How long a connection may take to send the headers of its next request; an idle one is closed after it.
    pub header_time: Duration,
    /// How long a body may pause.
    pub body_pause: Duration,
    /// How long a body may take in all.
    pub body_time: Duration,
    /// How long a client may go without reading any of an answer.
    pub write_pause: Duration,
    /// How long answers under way may take once the server is to stop.
    pub stop_time: Duration,
    /// The most connections at a time; more wait until one ends.
    pub connections: usize,
    /// Memory for packed answers, in bytes.
    pub packed_bytes: u64,
}

/// What to serve.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The host to listen on: an address or a name of this machine.
    pub host: String,
    /// The port; 0 for any that is free.
    pub port: u16,
    /// The folder of graphs.
    pub graphs: PathBuf,
    /// Folders of feature records, the first that answers first.
    pub features: Vec<FeatureFolder>,
    /// Sets whose records lie elsewhere, asked where no folder has the record.
    pub remote_features: Vec<RemoteFeatures>,
    /// The page.
    pub frontend: Frontend,
    /// Further names by which the server may be called.
    pub allowed_hosts: Vec<String>,
    /// Limits.
    pub limits: Limits,
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    limits: Limits,
}

impl Server {
    /// Checks the folders and begins to listen; connections wait until [`Server::run`].
    ///
    /// # Errors
    /// If a folder is not there, or the address cannot be had.
    pub async fn bind(config: ServerConfig) -> Result<Self, ServerError> {
        let (host, port, limits) = (config.host.clone(), config.port, config.limits);
        let failed = |source| ServerError::Listen { host: host.clone(), port, source };
        // Folders first: a port that is taken for a moment only would be a puzzle.
        let (routes, document) = api::routes();
        let document = document.to_json().map_err(|e| failed(e.into()))?;
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let listed = tokio::net::lookup_host((bare.as_str(), port)).await.map_err(failed)?;
        let addresses: Vec<SocketAddr> = listed.collect();
        let open = addresses.iter().any(|address| !address.ip().is_loopback());
        let names = config.allowed_hosts.iter().cloned().chain([bare.clone()]);
        let app = Arc::new(App::new(config.clone(), Hosts::new(names, open), document)?);
        let listener = TcpListener::bind(&*addresses).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, router: router(routes, app), limits })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is ready; then takes no more connections, ends those that are idle, and waits a while for answers
    /// under way. What a handler has begun on disk goes on to its end as long as the runtime is let to.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, router, limits, .. } = self;
        let connections = Arc::new(Semaphore::new(limits.connections));
        let graceful = GracefulShutdown::new();
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = accept(&listener, &connections) => accepted,
            };
            let Some((stream, permit)) = accepted else { continue };
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(limits.write_pause));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.header_time)
                // The size of the buffer alone is no exact limit: one more read may go beyond it.
                .max_header_size(HEADER_BYTES)
                .max_buf_size(HEADER_BYTES)
                .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router.clone()));
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                // Clients go away, are too slow, or speak no HTTP: nothing that the server could do better.
                if let Err(e) = connection.await {
                    tracing::debug!("a connection ended: {e}");
                }
                drop(permit);
            });
        }
        drop(listener);
        tokio::select! {
            () = graceful.shutdown() => {}
            () = tokio::time::sleep(limits.stop_time) => tracing::warn!("answers to slow clients are cut off"),
        }
    }
}

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are small or come in large pieces; neither gains by waiting for more.
            let _ = stream.set_nodelay(true);
            Some((stream, permit))
        }
        Err(e) => {
            // A client that went away at once is one's own loss; without handles, all are to wait.
            tracing::debug!("no connection: {e}");
            tokio::time::sleep(OUT_OF_HANDLES).await;
            None
        }
    }
}

fn router(routes: Router<Arc<App>>, app: Arc<App>) -> Router {
    routes
        .merge(legacy::routes())
        .fallback(page)
        .method_not_allowed_fallback(other_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), guard::guard))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            ApiError::internal("the server has a fault", &text.unwrap_or_default()).into_response()
        }))
        .with_state(app)
}

/// A method that a route does not have. Those that it has are in `Allow`, which the router adds.
async fn other_method(method: Method) -> Response {
    match method {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => ApiError::method_not_allowed().into_response(),
    }
}

/// What no route knows: the page.
async fn page(State(app): State<Arc<App>>, request: Request) -> Response {
    let allow = (header::ALLOW, HeaderValue::from_static("GET,HEAD"));
    match *request.method() {
        Method::GET | Method::HEAD => {}
        Method::OPTIONS => return (StatusCode::NO_CONTENT, [allow]).into_response(),
        _ => return ApiError::method_not_allowed().header(allow.0, allow.1).into_response(),
    }
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    match app.blocking(move |app| app.frontend.answer(&path, &headers)).await {
        Ok(response) => response,
        Err(e) => e.into_response(),
    }
}
