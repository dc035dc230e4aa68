//! The OpenAPI document: the forms of bodies, and what every operation has in common.
//!
//! Operations are described where they are handled. The types of graph files here are for the document alone; what the
//! server accepts is checked by `circuit-format`, and tests hold both together.

#![expect(dead_code, reason = "types that are only described, never made")]

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{OpenApi as _, ToSchema};

/// The server is alive.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    #[schema(example = "ok")]
    pub(crate) status: &'static str,
    /// The program.
    #[schema(example = "circuit-tracer")]
    pub(crate) name: &'static str,
    /// Its version.
    #[schema(example = "0.1.0")]
    pub(crate) version: &'static str,
}

/// The graphs of the folder.
#[derive(Serialize, ToSchema)]
pub(crate) struct GraphList {
    pub(crate) graphs: Vec<GraphSummary>,
}

/// What the list says about a graph.
#[derive(Serialize, ToSchema)]
pub(crate) struct GraphSummary {
    /// Its name.
    pub(crate) slug: String,
    /// The transcoder set that has its feature records.
    pub(crate) scan: String,
    /// The prompt.
    pub(crate) prompt: String,
    /// Each token by itself.
    pub(crate) prompt_tokens: Vec<String>,
    /// The threshold with which nodes were pruned.
    #[schema(required)]
    pub(crate) node_threshold: Option<f64>,
    /// 1 for Cantor's numbers of features, nothing for older files.
    #[schema(required)]
    pub(crate) schema_version: Option<u64>,
    /// Text to put before the entry, in files of some producers.
    #[schema(required)]
    pub(crate) title_prefix: Option<String>,
    /// The size of the file.
    pub(crate) size_bytes: u64,
}

/// A graph's new version.
#[derive(Serialize, ToSchema)]
pub(crate) struct Saved {
    /// The version, as in the header ETag.
    pub(crate) etag: String,
}

/// A graph and its version.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stored {
    /// Its name.
    pub(crate) slug: String,
    /// Its version, as in the header ETag.
    pub(crate) etag: String,
}

/// A new name.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Rename {
    /// The name.
    #[schema(pattern = "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$")]
    pub(crate) slug: String,
}

/// Which nodes make the subgraph.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Pins {
    /// Ids of nodes; those that the graph does not have are ignored.
    pub(crate) pinned: Vec<String>,
}

/// Scores of a graph, and of the subgraph of its pinned nodes.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScoresAnswer {
    pub(crate) graph: ScorePair,
    /// Nothing if no node of the graph is pinned, or the graph has attention nodes.
    #[schema(required)]
    pub(crate) subgraph: Option<ScorePair>,
}

/// Each from 0 to 1; nothing where it is not defined.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScorePair {
    /// The share of influence that begins at tokens rather than errors.
    #[schema(required, minimum = 0, maximum = 1)]
    pub(crate) replacement: Option<f64>,
    /// The share of inputs that comes from features and tokens rather than errors.
    #[schema(required, minimum = 0, maximum = 1)]
    pub(crate) completeness: Option<f64>,
}

/// Something went wrong.
#[derive(ToSchema)]
pub(crate) struct Failure {
    error: FailureDetail,
}

/// What went wrong.
#[derive(ToSchema)]
pub(crate) struct FailureDetail {
    /// A word for programs.
    #[schema(pattern = "^[a-z_]+$")]
    code: String,
    /// A sentence for people.
    message: String,
    /// With `conflict`: the version that the graph has now.
    #[schema(nullable = false)]
    etag: Option<String>,
    /// With `invalid`: what is wrong where.
    #[schema(nullable = false)]
    problems: Option<Vec<Problem>>,
}

/// One fault of a body.
#[derive(ToSchema)]
pub(crate) struct Problem {
    /// A JSON pointer.
    #[schema(example = "/nodes/3/layer")]
    path: String,
    /// What is wrong there.
    reason: String,
}

/// A graph file.
#[derive(ToSchema)]
pub(crate) struct GraphFile {
    metadata: GraphMetadata,
    /// The saved state of the page.
    #[schema(rename = "qParams")]
    q_params: Map<String, Value>,
    nodes: Vec<GraphNode>,
    links: Vec<GraphLink>,
}

/// What a graph is of.
#[derive(ToSchema)]
struct GraphMetadata {
    #[schema(pattern = "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$")]
    slug: String,
    scan: String,
    transcoder_list: Option<Vec<String>>,
    prompt_tokens: Vec<String>,
    prompt: String,
    node_threshold: Option<f64>,
    #[schema(minimum = 0)]
    schema_version: Option<i64>,
}

/// A node of a graph.
#[derive(ToSchema)]
struct GraphNode {
    node_id: String,
    feature: Option<i64>,
    layer: GraphLayer,
    #[schema(minimum = 0)]
    ctx_idx: i64,
    feature_type: String,
    token_prob: Option<f64>,
    is_target_logit: Option<bool>,
    run_idx: Option<i64>,
    reverse_ctx_idx: Option<i64>,
    #[schema(rename = "jsNodeId")]
    js_node_id: Option<String>,
    clerp: Option<String>,
    influence: Option<f64>,
    activation: Option<f64>,
}

/// The layer: digits, `E` for tokens, or a number.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum GraphLayer {
    Text(String),
    Number(i64),
}

/// A direct effect of one node on another.
#[derive(ToSchema)]
struct GraphLink {
    source: String,
    target: String,
    weight: f64,
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "circuit-tracer",
        description = "A folder of attribution graphs, and feature records. Every error is \
            `{\"error\": {\"code\", \"message\"}}`. Requests must name this machine in `Host`; those that change something \
            must come from the server's own page or from no page."
    ),
    components(schemas(
        Failure,
        FailureDetail,
        Problem,
        GraphFile,
        GraphMetadata,
        GraphNode,
        GraphLayer,
        GraphLink
    ))
)]
struct Document;

/// The document before any operation is in it.
pub(crate) fn empty() -> OpenApi {
    Document::openapi()
}

/// Adds to every operation what can happen to any request.
pub(crate) fn complete(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete]
            .into_iter()
            .filter_map(Option::as_mut);
        for operation in operations {
            for (status, description) in [
                ("400", "The request is not understood"),
                ("403", "The name of the host or the origin is not ours"),
                ("500", "Something that the client can do nothing about"),
            ] {
                let responses = &mut operation.responses.responses;
                responses.entry(status.into()).or_insert_with(|| RefOr::T(failure(description)));
            }
        }
    }
}

fn failure(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Failure"))).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}
