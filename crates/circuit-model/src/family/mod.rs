//! The families: each file turns a Hugging Face config into a description and names the checkpoint's tensors.
//!
//! Data only: no forward code may appear here, and no family's name may appear elsewhere. To add a family, add a file
//! with `spec` and `weights` and a line in [`FAMILIES`]; if a description cannot say what is new about it, the
//! description grows an enum arm.

mod gemma;
mod gemma2;
mod gemma3;
mod gpt2;
mod gpt_oss;
mod ignored;
pub(crate) mod keys;
mod keys_without_effect;
mod layers;
mod llama;
mod mistral;
mod qwen2;
mod qwen3;
mod rope;
mod tokens;

use crate::config::{HfConfig, SpecError};
use crate::names::WeightMap;
use crate::spec::{ModelSpec, UnembedSpec};
use circuit_index::Notice;
pub use ignored::{IgnoredPositions, KnownAs, chat_prefix_notice};
use serde_json::Value;
pub(crate) use tokens::{PrefixSpace, TokenizerClass, tokenizer_class};

/// A family of models.
pub(crate) struct Family {
    /// `model_type` in `config.json`.
    model_type: &'static str,
    spec: fn(&HfConfig) -> Result<ModelSpec, SpecError>,
    weights: fn() -> WeightMap,
}

const FAMILIES: &[Family] = &[
    Family { model_type: "llama", spec: llama::spec, weights: llama::weights },
    Family { model_type: "mistral", spec: mistral::spec, weights: mistral::weights },
    Family { model_type: "qwen2", spec: qwen2::spec, weights: qwen2::weights },
    Family { model_type: "qwen3", spec: qwen3::spec, weights: qwen3::weights },
    Family { model_type: "gemma", spec: gemma::spec, weights: gemma::weights },
    Family { model_type: "gemma2", spec: gemma2::spec, weights: gemma2::weights },
    Family { model_type: "gemma3_text", spec: gemma3::spec, weights: gemma3::weights },
    Family { model_type: "gemma3", spec: gemma3::spec_beside_vision, weights: gemma3::weights },
    Family { model_type: "gpt2", spec: gpt2::spec, weights: gpt2::weights },
    Family { model_type: "gpt_oss", spec: gpt_oss::spec, weights: gpt_oss::weights },
];

/// What a config says.
pub(crate) struct Described {
    pub(crate) spec: ModelSpec,
    /// Where the weights are.
    pub(crate) map: WeightMap,
    /// What the config says about the tie of embedding and unembedding, for messages.
    pub(crate) tie: String,
    pub(crate) notices: Vec<Notice>,
    /// Keys of unknown meaning, with their values.
    pub(crate) unknown: Vec<(String, Value)>,
    /// `model_type`.
    pub(crate) family: &'static str,
}

/// The model that a config describes. Values of absent keys are those of the class in transformers 5.24, which are those of 4.57
/// but where a family's file says otherwise.
///
/// # Errors
/// If the family is unknown, a key is missing or impossible, or a key changes the computation in a way that is not implemented.
pub(crate) fn describe(config: &HfConfig) -> Result<Described, SpecError> {
    let found = config.model_type()?;
    let Some(family) = FAMILIES.iter().find(|f| f.model_type == found) else {
        let known = FAMILIES.iter().map(|f| f.model_type).collect::<Vec<_>>().join(", ");
        return Err(SpecError::UnknownFamily { path: config.path().into(), found, known });
    };
    let mut spec = (family.spec)(config)?;
    let named = config.opt_text("_name_or_path")?;
    if named.is_some_and(|name| gemma3::tuned_on_chats(&name) == Some(true)) {
        spec.ignored_positions = gemma3::CHAT_PREFIX.len();
    }
    config.finish(family.model_type)?;
    if let Some(layer) = spec.layers.iter().find(|l| l.attn.n_heads % l.attn.n_kv_heads != 0) {
        let expected = format!("a divisor of the {} query heads", layer.attn.n_heads);
        return Err(config.refuse("num_key_value_heads", &expected));
    }
    if let Some(layer) =
        spec.layers.iter().find(|l| l.attn.d_head == 0 || (l.attn.rope.is_some() && l.attn.d_head % 2 == 1))
    {
        let expected = format!("an even width of each head (it comes out as {})", layer.attn.d_head);
        return Err(config.refuse("head_dim", &expected));
    }
    let (notices, unknown) = config.take_findings(family.model_type);
    let (map, tie) = ((family.weights)(), tie_words(config, &spec.unembed)?);
    Ok(Described { spec, map, tie, notices, unknown, family: family.model_type })
}

/// What decides whether the embedding is the unembedding too, in words.
fn tie_words(config: &HfConfig, unembed: &UnembedSpec) -> Result<String, SpecError> {
    const KEY: &str = "tie_word_embeddings";
    let text = config.opt_object("text_config")?;
    let stated = [Some(config), text.as_ref()].into_iter().flatten().find(|c| c.has(KEY) && !c.is_null(KEY));
    Ok(match stated {
        Some(config) => config.quoted(KEY),
        None => format!("`{KEY}` is absent, which means {} for this family", unembed.tied),
    })
}
