//! What can go wrong: before the server listens ([`ServerError`]), and in answer to a request ([`ApiError`]).
//!
//! Every failed request is answered by `{"error": {"code", "message", …}}`. Messages name graphs and features, never a
//! path of the machine; what the operating system said goes to the log.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use circuit_format::{Fault, FormatError};
use serde_json::{Map, Value, json};
use std::fmt::Display;
use std::io;
use std::path::PathBuf;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A folder that should be served is not there, or is none.
    #[error("{}: {what}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why it cannot be used.
        source: io::Error,
    },
    /// The address is taken, or not one of this machine.
    #[error("cannot listen on {host}:{port}: {source}")]
    Listen {
        /// The host asked for.
        host: String,
        /// The port asked for.
        port: u16,
        /// What the operating system says.
        source: io::Error,
    },
}

/// An answer that is an error. In a box, since every answer might be one and few are.
#[derive(Debug)]
pub(crate) struct ApiError(Box<Refusal>);

#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    more: Map<String, Value>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Refusal { status, code, message: message.into(), more: Map::new(), header: None }))
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.more.insert(key.into(), value.into());
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", what)
    }

    pub(crate) fn no_graph(slug: impl Display) -> Self {
        Self::not_found(format!("there is no graph `{slug}`"))
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    pub(crate) fn too_large(limit: u64) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "this address does not take this method; the header Allow lists those that it does";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    pub(crate) fn conflict(current: &str) -> Self {
        let message = "the graph has changed since this version was read";
        Self::new(StatusCode::CONFLICT, "conflict", message).with("etag", current)
    }

    pub(crate) fn exists(slug: impl Display) -> Self {
        Self::new(StatusCode::CONFLICT, "exists", format!("there is already a graph `{slug}`"))
    }

    pub(crate) fn invalid(message: impl Into<String>, faults: &[Fault]) -> Self {
        let problems: Vec<_> =
            faults.iter().map(|fault| json!({"path": fault.path, "reason": fault.reason})).collect();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message).with("problems", problems)
    }

    /// One fault of a small body.
    pub(crate) fn invalid_at(path: &str, reason: impl Into<String>) -> Self {
        let fault = Fault { path: path.into(), reason: reason.into() };
        Self::invalid("the body is JSON, but not what is expected here", &[fault])
    }

    pub(crate) fn bad_json(error: &serde_json::Error) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_json", format!("the body is no JSON: {error}"))
    }

    /// Something that the sender of the request can do nothing about.
    pub(crate) fn internal(what: &'static str, cause: &dyn Display) -> Self {
        tracing::error!("{what}: {cause}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", format!("{what}; the server's log says why"))
    }
}

impl From<io::Error> for ApiError {
    fn from(error: io::Error) -> Self {
        Self::internal("a file cannot be read or written", &error)
    }
}

impl From<FormatError> for ApiError {
    fn from(error: FormatError) -> Self {
        let what = match error {
            FormatError::Io { .. } => "a file cannot be read or written",
            _ => "a file is not what it should be",
        };
        Self::internal(what, &error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Refusal { status, code, message, more, header } = *self.0;
        let mut error = Map::new();
        error.insert("code".into(), code.into());
        error.insert("message".into(), message.into());
        error.extend(more);
        let mut response = Response::new(Body::from(json!({ "error": error }).to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(header);
        response
    }
}
