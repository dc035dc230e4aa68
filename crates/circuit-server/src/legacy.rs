//! The addresses of Python's server: `/data`, `/graph_data`, `/features`, `/save_graph`, for its page and notebooks.
//!
//! The same answers, without what was wrong with them: names lead nowhere else, packing is agreed on, ranges end where
//! files end, a save without a graph is 404 and not an empty 500. What is saved is written as typed JSON.

use crate::app::App;
use crate::error::ApiError;
use crate::{body, files};
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use circuit_format::{LISTING_FILE, QParams, Slug};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/data/{*name}", get(data))
        .route("/graph_data/{*name}", get(data))
        .route("/features/{*name}", get(features))
        .route("/save_graph/{slug}", post(save))
}

/// A path of an address, or nothing if it is no text.
type Name = Result<Path<String>, PathRejection>;

fn nothing() -> ApiError {
    ApiError::not_found("there is nothing at this address")
}

async fn data(State(app): State<Arc<App>>, name: Name, headers: HeaderMap) -> Result<Response, ApiError> {
    let Path(name) = name.map_err(|_| nothing())?;
    if name == LISTING_FILE {
        let listed = app.blocking(|app| app.graphs.list()).await??;
        let graphs: Vec<_> = listed.iter().map(|listed| &*listed.metadata).collect();
        let text = serde_json::to_vec(&serde_json::json!({ "graphs": graphs }));
        return files::json(
            &app,
            text.map_err(|e| ApiError::internal("the list cannot be written", &e))?,
            &headers,
        )
        .await;
    }
    let slug = name.strip_suffix(".json").and_then(|slug| Slug::new(slug).ok()).ok_or_else(nothing)?;
    files::graph(&app, slug, &headers).await
}

async fn features(State(app): State<Arc<App>>, name: Name, headers: HeaderMap) -> Result<Response, ApiError> {
    let Path(name) = name.map_err(|_| nothing())?;
    let path = app.blocking(move |app| app.features.file(&name)).await??.ok_or_else(nothing)?;
    files::ranged(&app, path, &headers).await
}

/// `{"qParams": …, "timestamp": …}`; the time has no meaning to anybody.
async fn save(
    State(app): State<Arc<App>>,
    slug: Name,
    headers: HeaderMap,
    request: Body,
) -> Result<StatusCode, ApiError> {
    let Path(slug) = slug.map_err(|_| nothing())?;
    let slug = Slug::new(&slug).map_err(|_| ApiError::no_graph(&slug))?;
    let mut request = body::object(&app, &headers, request).await?;
    let view = match request.remove("qParams") {
        Some(view @ Value::Object(_)) => typed(view),
        _ => return Err(ApiError::bad_request("the body has no object `qParams`")),
    };
    let name = slug.clone();
    let saved = app.blocking(move |app| app.graphs.save_view(&slug, &view, |_| true)).await?;
    saved.map_err(|e| ApiError::store(&name, e))?;
    Ok(StatusCode::OK)
}

/// The old page saves lists as text, and cannot read its own groups again; typed JSON says the same, and it can read that.
/// What has no known form stays as it is.
fn typed(view: Value) -> Value {
    let Ok(read) = QParams::deserialize(&view) else { return view };
    let Ok(Value::Object(mut typed)) = serde_json::to_value(&read) else { return view };
    for key in &read.unread {
        if let Some(value) = view.get(key) {
            typed.insert(key.clone(), value.clone());
        }
    }
    Value::Object(typed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn saved_text_becomes_typed_and_nothing_is_lost() {
        let saved = json!({"pinnedIds": "a,b", "supernodes": "[[\"x\",\"a\"]]", "linkType": null, "pruningThreshold": "0.63",
            "clerps": 7, "gridsnap": "x"});
        let expected = json!({"pinnedIds": ["a", "b"], "supernodes": [["x", "a"]], "linkType": "both", "clickedId": "",
            "sg_pos": "", "pruningThreshold": 0.63, "gridsnap": "x", "clerps": 7});
        assert_eq!(typed(saved), expected);
    }
}
