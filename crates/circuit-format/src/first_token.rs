//! How files say what a tokenizer puts in front of prompts: `"none"`, or an object with the token's `id` and `text`.
//!
//! Not here: where the value stands in a file.

use circuit_graph::FirstToken;
use circuit_index::TokenId;
use serde_json::{Value, json};

/// The key in the metadata of a graph.
pub(crate) const KEY: &str = "first_token";

pub(crate) fn to_json(first: &FirstToken) -> Value {
    match first {
        FirstToken::Nothing => "none".into(),
        FirstToken::Token { id, text } => json!({"id": id.0, "text": text}),
    }
}

/// `None` for a value of another form.
pub(crate) fn from_json(value: &Value) -> Option<FirstToken> {
    if value == "none" {
        return Some(FirstToken::Nothing);
    }
    let id = value.get("id")?.as_u64().and_then(|id| u32::try_from(id).ok())?;
    let text = value.get("text")?.as_str()?.to_owned();
    Some(FirstToken::Token { id: TokenId(id), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for first in [FirstToken::Nothing, FirstToken::Token { id: TokenId(3), text: "none".into() }] {
            assert_eq!(from_json(&to_json(&first)), Some(first));
        }
        for other in [json!(null), json!("some"), json!({"id": 3}), json!({"id": -1, "text": "a"}), json!([])]
        {
            assert_eq!(from_json(&other), None, "{other}");
        }
    }
}
