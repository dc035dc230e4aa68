//! `/api/v1`: graphs, views, scores, feature records. Each operation stands with its description.

use crate::app::App;
use crate::error::ApiError;
use crate::etag::{self, ETag};
use crate::openapi::{
    Failure, GraphFile, GraphList, GraphSummary, Health, Pins, Rename, Saved, ScorePair, ScoresAnswer, Stored,
};
use crate::{body, files, openapi};
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, RawQuery, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use circuit_format::{CheckError, Slug, check_graph_json, read_link_file};
use circuit_graph::Scores;
use circuit_index::{FeatureIndex, Layer};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::io::{Read, Seek};
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes, and the document that describes them.
pub(crate) fn routes() -> (Router<Arc<App>>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(openapi::empty())
        .routes(routes!(health))
        .routes(routes!(list, upload))
        .routes(routes!(graph, remove))
        .routes(routes!(save_view))
        .routes(routes!(rename))
        .routes(routes!(scores))
        .routes(routes!(feature))
        .routes(routes!(document))
        .split_for_parts();
    openapi::complete(&mut document);
    (router, document)
}

/// The graph that an address names. A name that no graph can have is a graph that is not there.
struct Named(Slug);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let slug: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let Path(slug) = slug.map_err(|_| ApiError::not_found("there is no such graph"))?;
        Slug::new(&slug).map(Self).map_err(|_| ApiError::no_graph(&slug))
    }
}

/// A value of the query, `None` if it is not there.
fn asked<'a>(query: &'a [(String, String)], key: &str) -> Option<&'a str> {
    query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

fn query(raw: Option<&str>) -> Vec<(String, String)> {
    form_urlencoded::parse(raw.unwrap_or_default().as_bytes()).into_owned().collect()
}

/// The body as a type, with the place of what is wrong.
fn typed<T: DeserializeOwned>(body: Map<String, Value>) -> Result<T, ApiError> {
    T::deserialize(Value::Object(body)).map_err(|e| ApiError::invalid_at("/", e.to_string()))
}

/// Is the server alive?
#[utoipa::path(get, path = "/api/v1/health", responses((status = 200, description = "It is", body = Health)))]
async fn health() -> Json<Health> {
    Json(Health { status: "ok", name: "circuit-tracer", version: env!("CARGO_PKG_VERSION") })
}

/// This document.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    responses((status = 200, description = "OpenAPI 3.1", body = Object), (status = 304, description = "The client has it"))
)]
async fn document(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, ApiError> {
    files::json(&app, app.openapi.clone().into_bytes(), &headers).await
}

/// The graphs of the folder as it is now.
#[utoipa::path(
    get,
    path = "/api/v1/graphs",
    responses(
        (status = 200, description = "All graphs: in the order of graph-metadata.json, then those it lacks by name", body = GraphList),
        (status = 304, description = "The client has this list")
    )
)]
async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let listed = app.blocking(|app| app.graphs.list()).await??;
    let graphs = listed.into_iter().map(|listed| {
        let metadata = &*listed.metadata;
        GraphSummary {
            slug: metadata.slug.clone(),
            scan: metadata.scan.clone(),
            prompt: metadata.prompt.clone(),
            prompt_tokens: metadata.prompt_tokens.clone(),
            node_threshold: metadata.node_threshold,
            schema_version: metadata.schema_version,
            title_prefix: metadata.other.get("title_prefix").and_then(Value::as_str).map(str::to_owned),
            size_bytes: listed.size,
        }
    });
    let text = serde_json::to_vec(&GraphList { graphs: graphs.collect() });
    files::json(&app, text.map_err(|e| ApiError::internal("the list cannot be written", &e))?, &headers).await
}

/// Adds a graph file.
#[utoipa::path(
    post,
    path = "/api/v1/graphs",
    params(("overwrite" = Option<bool>, Query, description = "Whether it may take the place of a graph of its name")),
    request_body(content = GraphFile, description = "The file; its name is the `slug` of its metadata"),
    responses(
        (status = 201, description = "It is there", body = Stored, headers(("Location" = String), ("ETag" = String))),
        (status = 408, description = "The body came too slowly", body = Failure),
        (status = 409, description = "There is a graph of this name (code `exists`)", body = Failure),
        (status = 413, description = "The body is too large", body = Failure),
        (status = 415, description = "The body does not say that it is JSON", body = Failure),
        (status = 422, description = "No graph file: `problems` says why", body = Failure)
    )
)]
async fn upload(
    State(app): State<Arc<App>>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, ApiError> {
    let overwrite = match asked(&query(raw.as_deref()), "overwrite") {
        None | Some("false" | "0") => false,
        Some("true" | "1" | "") => true,
        Some(_) => return Err(ApiError::bad_request("`overwrite` is true or false")),
    };
    let mut file = body::file(&app, &headers, request).await?;
    let stored = app.heavy(move |app| {
        let checked = check_graph_json(&mut file).map_err(|e| match e {
            CheckError::Json(e) if e.is_io() => ApiError::internal("the body cannot be read again", &e),
            CheckError::Json(e) => ApiError::bad_json(&e),
            CheckError::Faults(faults) => ApiError::invalid("the body is JSON, but no graph file", &faults),
            e => ApiError::internal("the body cannot be checked", &e),
        })?;
        let slug = Slug::new(&checked.metadata.slug)
            .map_err(|e| ApiError::invalid_at("/metadata/slug", e.to_string()))?;
        let etag = app.graphs.add(&slug, &mut file, overwrite).map_err(|e| ApiError::store(&slug, e))?;
        Ok::<_, ApiError>((slug, etag))
    });
    let (slug, etag) = stored.await??;
    let location = HeaderValue::from_str(&format!("/api/v1/graphs/{slug}"));
    let mut response = stored_response(StatusCode::CREATED, &slug, &etag);
    response.headers_mut().extend(location.ok().map(|location| (header::LOCATION, location)));
    Ok(response)
}

fn stored_response(status: StatusCode, slug: &Slug, etag: &ETag) -> Response {
    let body = Stored { slug: slug.as_str().to_owned(), etag: etag.as_str().to_owned() };
    (status, [(header::ETAG, etag.header())], Json(body)).into_response()
}

/// A graph file.
#[utoipa::path(
    get,
    path = "/api/v1/graphs/{slug}",
    params(
        ("slug" = String, Path, description = "The graph", pattern = "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$"),
        ("If-None-Match" = Option<String>, Header, description = "Versions that the client has")
    ),
    responses(
        (status = 200, description = "The file as it is", body = GraphFile, headers(("ETag" = String))),
        (status = 304, description = "The client has this version", headers(("ETag" = String))),
        (status = 404, description = "No such graph", body = Failure)
    )
)]
async fn graph(State(app): State<Arc<App>>, slug: Named, headers: HeaderMap) -> Result<Response, ApiError> {
    files::graph(&app, slug.0, &headers).await
}

/// Removes a graph.
#[utoipa::path(
    delete,
    path = "/api/v1/graphs/{slug}",
    params(
        ("slug" = String, Path, description = "The graph", pattern = "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$"),
        ("If-Match" = Option<String>, Header, description = "The version to remove; without it, any")
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such graph", body = Failure),
        (status = 409, description = "The graph has another version (code `conflict`)", body = Failure)
    )
)]
async fn remove(
    State(app): State<Arc<App>>,
    slug: Named,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let Named(slug) = slug;
    let name = slug.clone();
    let expected = move |current: &ETag| etag::matches(&headers, current).unwrap_or(true);
    let removed = app.blocking(move |app| app.graphs.remove(&slug, expected)).await?;
    removed.map_err(|e| ApiError::store(&name, e))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Saves the state of the page in a graph file; everything else in the file stays as it is.
#[utoipa::path(
    put,
    path = "/api/v1/graphs/{slug}/view",
    params(
        ("slug" = String, Path, description = "The graph", pattern = "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$"),
        ("If-Match" = String, Header, description = "The version that was read")
    ),
    request_body(
        content = Object,
        description = "`qParams`: pinnedIds, supernodes, linkType, clickedId, sg_pos, pruningThreshold, clerps, hiddenIds, \
            positions, and any other key"
    ),
    responses(
        (status = 200, description = "It is saved", body = Saved, headers(("ETag" = String))),
        (status = 404, description = "No such graph", body = Failure),
        (status = 408, description = "The body came too slowly", body = Failure),
        (status = 409, description = "The graph has changed since (code `conflict`)", body = Failure),
        (status = 413, description = "The body is too large", body = Failure),
        (status = 415, description = "The body does not say that it is JSON", body = Failure),
        (status = 422, description = "JSON, but no object", body = Failure),
        (status = 428, description = "If-Match is missing", body = Failure)
    )
)]
async fn save_view(
    State(app): State<Arc<App>>,
    slug: Named,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, ApiError> {
    let Named(slug) = slug;
    if !headers.contains_key(header::IF_MATCH) {
        let message = "If-Match must say which version was read, as ETag said it";
        return Err(ApiError::new(StatusCode::PRECONDITION_REQUIRED, "precondition_required", message));
    }
    let view = Value::Object(body::object(&app, &headers, request).await?);
    let name = slug.clone();
    let expected = move |current: &ETag| etag::matches(&headers, current).unwrap_or(false);
    let saved = app.blocking(move |app| app.graphs.save_view(&slug, &view, expected)).await?;
    let etag = saved.map_err(|e| ApiError::store(&name, e))?;
    Ok(([(header::ETAG, etag.header())], Json(Saved { etag: etag.as_str().to_owned() })).into_response())
}

/// Gives a graph another name.
#[utoipa::path(
    post,
    path = "/api/v1/graphs/{slug}/rename",
    params(("slug" = String, Path, description = "The graph", pattern = "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$")),
    request_body(content = Rename),
    responses(
        (status = 200, description = "It has the new name", body = Stored, headers(("ETag" = String))),
        (status = 404, description = "No such graph", body = Failure),
        (status = 408, description = "The body came too slowly", body = Failure),
        (status = 409, description = "There is a graph of the new name (code `exists`)", body = Failure),
        (status = 413, description = "The body is too large", body = Failure),
        (status = 415, description = "The body does not say that it is JSON", body = Failure),
        (status = 422, description = "No name of a graph", body = Failure)
    )
)]
async fn rename(
    State(app): State<Arc<App>>,
    slug: Named,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, ApiError> {
    let Named(old) = slug;
    let new: Rename = typed(body::object(&app, &headers, request).await?)?;
    let new = Slug::new(&new.slug).map_err(|e| ApiError::invalid_at("/slug", e.to_string()))?;
    let names = (old.clone(), new.clone());
    let renamed = app.blocking(move |app| app.graphs.rename(&names.0, &names.1)).await?;
    let etag = renamed.map_err(|e| {
        ApiError::store(if matches!(e, crate::store::StoreError::Exists) { &new } else { &old }, e)
    })?;
    Ok(stored_response(StatusCode::OK, &new, &etag))
}

/// How much of the computation a graph explains, and its pinned nodes alone.
///
/// Computed on the links that the file has. Features that are not pinned count as error of their layer and position where
/// the file has that error node.
#[utoipa::path(
    post,
    path = "/api/v1/graphs/{slug}/scores",
    params(("slug" = String, Path, description = "The graph", pattern = "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$")),
    request_body(content = Pins),
    responses(
        (status = 200, description = "The scores", body = ScoresAnswer),
        (status = 404, description = "No such graph", body = Failure),
        (status = 408, description = "The body came too slowly", body = Failure),
        (status = 409, description = "The graph's links make no graph (code `not_scorable`)", body = Failure),
        (status = 413, description = "The body is too large", body = Failure),
        (status = 415, description = "The body does not say that it is JSON", body = Failure),
        (status = 422, description = "Not a list of ids", body = Failure)
    )
)]
async fn scores(
    State(app): State<Arc<App>>,
    slug: Named,
    headers: HeaderMap,
    request: Body,
) -> Result<Json<ScoresAnswer>, ApiError> {
    let Named(slug) = slug;
    let Pins { pinned } = typed(body::object(&app, &headers, request).await?)?;
    let answer = app.heavy(move |app| {
        let opened = app.graphs.open(&slug).map_err(|e| ApiError::store(&slug, e))?;
        let links = app.links.get_or_insert_with(&opened.etag, || {
            let mut content = Vec::new();
            let mut file = opened.file;
            file.rewind().and_then(|()| file.read_to_end(&mut content))?;
            let read = read_link_file(std::path::Path::new(slug.as_str()), &content);
            let not_scorable = |e: circuit_format::FormatError| {
                ApiError::new(StatusCode::CONFLICT, "not_scorable", e.to_string())
            };
            Ok::<_, ApiError>(Arc::new(read.map_err(not_scorable)?))
        })?;
        let none = ScorePair { replacement: None, completeness: None };
        let Some(links) = &*links else { return Ok(ScoresAnswer { graph: none, subgraph: None }) };
        let pinned: HashSet<_> = pinned.iter().filter_map(|id| links.place(id)).collect();
        let subgraph =
            (!pinned.is_empty()).then(|| links.graph().subgraph_scores(|node| pinned.contains(&node)));
        Ok::<_, ApiError>(ScoresAnswer { graph: pair(links.graph().scores()), subgraph: subgraph.map(pair) })
    });
    Ok(Json(answer.await??))
}

fn pair(scores: Scores) -> ScorePair {
    // Rounding must not lead out of the range.
    let share = |score: f64| score.clamp(0.0, 1.0);
    ScorePair { replacement: scores.replacement.map(share), completeness: scores.completeness.map(share) }
}

/// What is known about a feature.
#[utoipa::path(
    get,
    path = "/api/v1/features/{layer}/{index}",
    params(
        ("layer" = u32, Path, description = "The layer of the transcoder"),
        ("index" = u32, Path, description = "The feature within its layer"),
        ("scan" = String, Query, description = "The transcoder set: `scan` of a graph, or an entry of its `transcoder_list`")
    ),
    responses(
        (status = 200, description = "The record as it is stored, unpacked", body = Object),
        (status = 304, description = "The client has this record"),
        (status = 404, description = "No folder answers to this scan (code `unknown_scan`), or it knows nothing about the feature \
            (code `no_feature_data`)", body = Failure),
        (status = 502, description = "The set lies elsewhere and cannot be reached (code `unreachable`)", body = Failure)
    )
)]
async fn feature(
    State(app): State<Arc<App>>,
    place: Result<Path<(String, String)>, PathRejection>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let place = place.ok().and_then(|Path((layer, index))| Some((number(&layer)?, number(&index)?)));
    let (layer, index) = place.ok_or_else(|| ApiError::bad_request("layer and index are whole numbers"))?;
    let query = query(raw.as_deref());
    let scan = asked(&query, "scan").ok_or_else(|| ApiError::bad_request("`scan` is missing"))?.to_owned();
    let name = scan.clone();
    let found =
        app.blocking(move |app| app.features.record(&scan, Layer(layer), FeatureIndex(index))).await?;
    match found {
        Ok(crate::features::Found::Record(record)) => files::json(&app, record, &headers).await,
        Ok(crate::features::Found::NoRecord) => {
            let message = format!("nothing is known about feature {index} of layer {layer}");
            Err(ApiError::new(StatusCode::NOT_FOUND, "no_feature_data", message))
        }
        Ok(crate::features::Found::NoSet) => {
            let message = format!("no folder of feature records answers to `{name}`");
            Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_scan", message))
        }
        Ok(crate::features::Found::Unreachable(why)) => {
            tracing::warn!("feature {index} of layer {layer} of `{name}`: {why}");
            let message = format!("`{name}` cannot be reached: {why}");
            Err(ApiError::new(StatusCode::BAD_GATEWAY, "unreachable", message))
        }
        Err(e) => Err(e.into()),
    }
}

/// Digits alone: `parse` would take a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
