//! Bodies of requests: JSON alone, no larger than allowed, and not slower than allowed.

use crate::app::App;
use crate::error::ApiError;
use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::Seek;
use std::time::Instant;
use tokio::io::AsyncWriteExt;

/// Refuses a body that does not say that it is JSON. A page of another site cannot say so without asking first.
pub(crate) fn must_be_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "the body must be application/json, and say so in Content-Type";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message))
}

/// The parts of a body as they come, watched.
struct Parts<'a> {
    app: &'a App,
    body: Body,
    left: u64,
    limit: u64,
    end: Instant,
}

impl<'a> Parts<'a> {
    fn new(app: &'a App, body: Body, limit: u64) -> Result<Self, ApiError> {
        // What is announced as too large need not be waited for.
        if body.size_hint().lower() > limit {
            return Err(ApiError::too_large(limit));
        }
        Ok(Self { app, body, left: limit, limit, end: Instant::now() + app.limits.body_time })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            let slow = || ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body came too slowly");
            let wait = self.app.limits.body_pause.min(self.end.saturating_duration_since(Instant::now()));
            let frame = tokio::time::timeout(wait, self.body.frame()).await.map_err(|_| slow())?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|_| ApiError::bad_request("the body ended early"))?;
            // Trailers say nothing to us.
            let Ok(data) = frame.into_data() else { continue };
            self.left =
                self.left.checked_sub(data.len() as u64).ok_or_else(|| ApiError::too_large(self.limit))?;
            return Ok(Some(data));
        }
    }
}

/// A small body as a JSON object.
pub(crate) async fn object(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<Map<String, Value>, ApiError> {
    must_be_json(headers)?;
    let mut parts = Parts::new(app, body, app.limits.body_bytes)?;
    let mut bytes = Vec::new();
    while let Some(part) = parts.next().await? {
        bytes.extend_from_slice(&part);
    }
    match serde_json::from_slice(&bytes).map_err(|e| ApiError::bad_json(&e))? {
        Value::Object(map) => Ok(map),
        _ => Err(ApiError::invalid_at("/", "expected an object")),
    }
}

/// A large body as a file without a name, which goes when it is closed.
pub(crate) async fn file(app: &App, headers: &HeaderMap, body: Body) -> Result<File, ApiError> {
    must_be_json(headers)?;
    let mut parts = Parts::new(app, body, app.limits.upload_bytes)?;
    let file = tokio::task::spawn_blocking(tempfile::tempfile).await;
    let mut file = tokio::fs::File::from_std(file.map_err(|e| ApiError::internal("a task failed", &e))??);
    while let Some(part) = parts.next().await? {
        file.write_all(&part).await?;
    }
    file.flush().await?;
    let mut file = file.into_std().await;
    file.rewind()?;
    Ok(file)
}
