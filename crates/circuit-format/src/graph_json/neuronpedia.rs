//! What Neuronpedia's schema adds to `metadata`: where feature pages are, who made the graph, with which settings.
//!
//! There, `scan` is the model's name alone, so the transcoder set goes into `info`. Only what is known is written. Not
//! here: uploading.

use super::Metadata;
use crate::slug::rewrite;
use circuit_graph::ModelInfo;
use serde::Serialize;

/// What to write for Neuronpedia beside the graph itself. Everything may be left empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Neuronpedia {
    /// Neuronpedia's id of the model; without it, made from the model's name.
    pub model_id: Option<String>,
    /// Where the feature pages are.
    pub feature_details: FeatureDetails,
    /// Who made the graph.
    pub info: Info,
    /// How the graph was computed.
    pub generation_settings: GenerationSettings,
    /// With which threshold edges were pruned.
    pub edge_threshold: Option<f64>,
}

/// Where the feature pages are.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FeatureDetails {
    /// Folder on the web: the page of a feature is at `<base>/<feature>.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_json_base_url: Option<String>,
    /// The set's name on Neuronpedia.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neuronpedia_source_set: Option<String>,
}

/// Who made the graph.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Info {
    /// A longer description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A person or group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator_name: Option<String>,
    /// Their address on the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator_url: Option<String>,
    /// Where the transcoders come from; without any, made from a scan of the form `owner/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_urls: Vec<String>,
    /// When, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_time_ms: Option<u64>,
}

/// How the graph was computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct GenerationSettings {
    /// At most so many targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_n_logits: Option<u64>,
    /// The targets' probabilities reach this sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_logit_prob: Option<f64>,
    /// Rows computed together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u64>,
    /// At most so many features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_feature_nodes: Option<u64>,
}

#[derive(Serialize)]
struct FullInfo<'a> {
    #[serde(flatten)]
    info: &'a Info,
    #[serde(skip_serializing_if = "str::is_empty")]
    transcoder_set: &'a str,
    generator: Generator,
}

#[derive(Serialize)]
struct Generator {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct PruningSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    node_threshold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edge_threshold: Option<f64>,
}

/// Rewrites `metadata` to Neuronpedia's rules. Its slug already keeps them.
pub(super) fn extend(
    metadata: &mut Metadata,
    model: &ModelInfo,
    options: &Neuronpedia,
) -> serde_json::Result<()> {
    // A model's name on the hub is `owner/name`, and Neuronpedia's ids have no owner.
    let name = options.model_id.as_deref().or(model.name.rsplit('/').next()).unwrap_or_default();
    let id = match rewrite(name) {
        empty if empty.is_empty() => "model".into(),
        id => id,
    };
    let scan = std::mem::replace(&mut metadata.scan, id);

    let mut info = options.info.clone();
    if info.source_urls.is_empty() {
        info.source_urls.extend(hub_address(&scan));
    }
    let generator = Generator { name: "circuit-tracer", version: env!("CARGO_PKG_VERSION") };
    let info = FullInfo { info: &info, transcoder_set: &scan, generator };
    let pruning =
        PruningSettings { node_threshold: metadata.node_threshold, edge_threshold: options.edge_threshold };
    for (key, value) in [
        ("feature_details", serde_json::to_value(&options.feature_details)?),
        ("info", serde_json::to_value(info)?),
        ("generation_settings", serde_json::to_value(options.generation_settings)?),
        ("pruning_settings", serde_json::to_value(pruning)?),
    ] {
        if value.as_object().is_some_and(|map| !map.is_empty()) {
            metadata.other.insert(key.into(), value);
        }
    }
    Ok(())
}

/// The repository of a scan `owner/repo`, `owner/repo@revision` or `owner/repo//folder`.
fn hub_address(scan: &str) -> Option<String> {
    let repository = scan.split('@').next()?.split("//").next()?;
    let (owner, name) = repository.split_once('/')?;
    let plain = |part: &str| !part.is_empty() && part != "." && rewrite(part) == part;
    (plain(owner) && plain(name)).then(|| format!("https://huggingface.co/{owner}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::hub_address;

    #[test]
    fn only_hub_names_have_an_address() {
        let address = Some("https://huggingface.co/acme/toy".into());
        for scan in ["acme/toy", "acme/toy@v2", "acme/toy//sub/dir@v2"] {
            assert_eq!(hub_address(scan), address, "{scan}");
        }
        for scan in ["toy", "/home/x", "./x", "custom-12", "", "a/b/c"] {
            assert_eq!(hub_address(scan), None, "{scan}");
        }
    }
}
