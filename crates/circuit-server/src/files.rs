//! Files as answers: graphs with their version and packed where the client takes that, other files by ranges.

use crate::app::App;
use crate::encoding::{Coding, WORTH_PACKING};
use crate::error::ApiError;
use crate::etag::{ETag, Stamp, not_modified};
use crate::range::Ranged;
use crate::store::{Opened, StoreError};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use circuit_format::Slug;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

/// Bytes read at a time.
const CHUNK: usize = 1 << 16;

/// What a client may do with an answer: keep it, but ask whether it still holds.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

const DYNAMIC: [Coding; 2] = [Coding::Gzip, Coding::Brotli];

impl ApiError {
    /// What a store says about a graph.
    pub(crate) fn store(slug: &Slug, error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::no_graph(slug),
            StoreError::Exists => Self::exists(slug),
            StoreError::Stale(current) => Self::conflict(current.as_str()),
            StoreError::Format(e) => e.into(),
            StoreError::Io(e) => e.into(),
        }
    }
}

/// A graph's file.
pub(crate) async fn graph(app: &Arc<App>, slug: Slug, headers: &HeaderMap) -> Result<Response, ApiError> {
    let name = slug.clone();
    let opened = app.blocking(move |app| app.graphs.open(&slug)).await?;
    let Opened { file, size, etag } = opened.map_err(|e| ApiError::store(&name, e))?;
    let coding = Coding::chosen(headers, &DYNAMIC).filter(|_| size >= WORTH_PACKING);
    let mut response = if not_modified(headers, etag.as_str()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if let Some(coding) = coding {
        packed(coding, pack(app, coding, etag.as_str().to_owned(), file.take(size)).await?)
    } else {
        streamed(file, size)
    };
    versioned(&mut response, &etag.header());
    Ok(response)
}

/// JSON made for this request: the version is that of the text.
pub(crate) async fn json(app: &Arc<App>, text: Vec<u8>, headers: &HeaderMap) -> Result<Response, ApiError> {
    let etag = ETag::of(&text);
    let coding = Coding::chosen(headers, &DYNAMIC).filter(|_| text.len() as u64 >= WORTH_PACKING);
    let mut response = if not_modified(headers, etag.as_str()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if let Some(coding) = coding {
        packed(coding, pack(app, coding, etag.as_str().to_owned(), std::io::Cursor::new(text)).await?)
    } else {
        let mut response = Response::new(Body::from(text));
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        response
    };
    versioned(&mut response, &etag.header());
    Ok(response)
}

fn versioned(response: &mut Response, etag: &HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag.clone());
    headers.insert(header::CACHE_CONTROL, ASK_AGAIN);
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
}

fn packed(coding: Coding, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response.headers_mut().insert(header::CONTENT_ENCODING, coding.name());
    response
}

/// What a reader gives, packed now or before.
async fn pack(
    app: &Arc<App>,
    coding: Coding,
    hash: String,
    from: impl Read + Send + 'static,
) -> Result<Bytes, ApiError> {
    let key = (hash, coding);
    if let Some(body) = app.packed.get(&key) {
        return Ok(body);
    }
    // Of several who come at once, one packs and the others wait for it.
    let body = app.heavy(move |app| app.packed.get_or_insert_with(&key, || coding.pack(from))).await?;
    Ok(body?)
}

/// A file's first `size` bytes, read as fast as the client takes them.
fn streamed(file: File, size: u64) -> Response {
    let file = tokio::fs::File::from_std(file);
    let mut response = Response::new(Body::from_stream(ReaderStream::with_capacity(file.take(size), CHUNK)));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response.headers_mut().insert(header::CONTENT_LENGTH, size.into());
    response
}

/// Any file, or the part of it that is asked for.
pub(crate) async fn ranged(app: &Arc<App>, path: PathBuf, headers: &HeaderMap) -> Result<Response, ApiError> {
    let json = path.extension().is_some_and(|e| e == "json");
    let opened = app.blocking(move |_| {
        let file = File::open(&path)?;
        let metadata = file.metadata()?;
        Ok::<_, std::io::Error>((file, metadata))
    });
    let (mut file, metadata) = opened.await??;
    let (size, etag) = (metadata.len(), Stamp::of(&metadata).etag());
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    // A range of another version than the client has parts of would be of no use to it.
    let same = text(header::IF_RANGE).is_none_or(|version| version == etag);
    let mut response = if not_modified(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        match Ranged::of(text(header::RANGE).filter(|_| same), size) {
            Ranged::Whole => streamed(file, size),
            Ranged::Part { first, last } => {
                let file = app.blocking(move |_| file.seek(SeekFrom::Start(first)).map(|_| file)).await??;
                let mut response = streamed(file, last - first + 1);
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let range = HeaderValue::from_str(&format!("bytes {first}-{last}/{size}"));
                response.headers_mut().extend(range.ok().map(|range| (header::CONTENT_RANGE, range)));
                response
            }
            Ranged::Unsatisfiable => {
                let message = format!("the file has {size} bytes");
                let error =
                    ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", message);
                let range = HeaderValue::from_str(&format!("bytes */{size}"));
                return Err(match range {
                    Ok(range) => error.header(header::CONTENT_RANGE, range),
                    Err(_) => error,
                });
            }
        }
    };
    let to = response.headers_mut();
    if !json && to.contains_key(header::CONTENT_TYPE) {
        to.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    }
    to.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    to.insert(header::CACHE_CONTROL, ASK_AGAIN);
    to.extend(HeaderValue::from_str(&etag).ok().map(|etag| (header::ETAG, etag)));
    Ok(response)
}
