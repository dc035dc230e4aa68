//! The tokens that end a sequence, for generation: `generation_config.json`, else `config.json`, else the tokenizer.

use super::{MODEL_FILE, SpecialRole, Tokenizer, TokenizerError, object};
use circuit_index::TokenId;
use serde_json::Value;
use std::fs;

/// The file that says how a model writes on.
const GENERATION_FILE: &str = "generation_config.json";

/// The tokens that end a sequence, and which source names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndTokens {
    /// The tokens; empty if no source names one.
    pub tokens: Vec<TokenId>,
    /// What names them: a file, or the tokenizer; none if nothing does.
    pub source: Option<&'static str>,
}

impl Tokenizer {
    /// The tokens that end a sequence. The first source that names one counts, as in transformers.
    ///
    /// # Errors
    /// If a file is damaged, or its `eos_token_id` holds something else than token ids.
    pub fn end_tokens(&self) -> Result<EndTokens, TokenizerError> {
        for file in [GENERATION_FILE, MODEL_FILE] {
            let path = self.dir.join(file);
            let Ok(bytes) = fs::read(&path) else { continue };
            let values = object(&path, Some(&bytes))?;
            let inner = values.get("text_config").and_then(|inner| inner.get("eos_token_id"));
            let Some(value) = values.get("eos_token_id").filter(|value| !value.is_null()).or(inner) else {
                continue;
            };
            let tokens = ids(value)
                .ok_or_else(|| TokenizerError::EndTokens { path: path.clone(), found: value.to_string() })?;
            if !tokens.is_empty() {
                return Ok(EndTokens { tokens, source: Some(file) });
            }
        }
        let eos = self.known.iter().filter(|token| token.role == SpecialRole::Eos);
        let tokens: Vec<_> = eos.map(|token| token.id).collect();
        let source = (!tokens.is_empty()).then_some("the tokenizer");
        Ok(EndTokens { tokens, source })
    }
}

/// One id or a list of ids; null is none.
fn ids(value: &Value) -> Option<Vec<TokenId>> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok()).map(TokenId);
    match value {
        Value::Null => Some(vec![]),
        Value::Array(list) => list.iter().map(id).collect(),
        one => Some(vec![id(one)?]),
    }
}
