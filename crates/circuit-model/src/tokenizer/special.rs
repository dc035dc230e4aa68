//! Which tokens of a model folder are special, and what for: the sources that transformers reads, in its order.
//!
//! `tokenizer_config.json` names tokens. Where it has no `added_tokens_decoder`, `special_tokens_map.json` overrules it;
//! otherwise that file is not read. A key that no file has gets the default of the tokenizer's class; null means that there
//! is no such token. Where nothing of this gives a token, the ids of `config.json` do. Not here: ids (`added.rs`), and which
//! token is put in front of a prompt (`first.rs`).

use super::CONFIG_FILE;
use super::added::token_from;
use crate::family::TokenizerClass;
use circuit_index::{Notice, TokenId};
use serde_json::{Map, Value};
use tokenizers::AddedToken;

/// The file that names special tokens in older folders.
pub(super) const SPECIAL_MAP: &str = "special_tokens_map.json";

/// What a special token is for. The order is the one in which they are chosen to stand in front of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpecialRole {
    /// Begins a text.
    Bos,
    /// Ends a text.
    Eos,
    /// Fills up a batch.
    Pad,
    /// Stands for what the vocabulary lacks.
    Unk,
    /// Separates two texts.
    Sep,
    /// Carries the class of a text.
    Cls,
    /// Hides a token.
    Mask,
    /// Anything else: the turns of a chat, for instance.
    Additional,
}

impl SpecialRole {
    /// The keys that name one token each.
    pub(crate) const SINGLE_KEYS: [(&'static str, Self); 7] = [
        ("bos_token", Self::Bos),
        ("eos_token", Self::Eos),
        ("pad_token", Self::Pad),
        ("unk_token", Self::Unk),
        ("sep_token", Self::Sep),
        ("cls_token", Self::Cls),
        ("mask_token", Self::Mask),
    ];

    /// The key that names a token of this role, for messages.
    #[must_use]
    pub fn key(self) -> &'static str {
        Self::SINGLE_KEYS.iter().find(|(_, role)| *role == self).map_or(MANY_KEYS[0], |(key, _)| key)
    }

    /// The place in the order in which transformers gives new ids to tokens that tokenizer.json lacks.
    pub(super) fn adding_order(self) -> usize {
        let order =
            [Self::Bos, Self::Eos, Self::Unk, Self::Sep, Self::Pad, Self::Cls, Self::Mask, Self::Additional];
        order.iter().position(|role| *role == self).unwrap_or(order.len())
    }
}

/// The keys that name several: a list, or in newer files a map from a purpose to a token.
const MANY_KEYS: [&str; 3] =
    ["additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens"];

/// A token that a model folder names as special.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialToken {
    /// What it is for.
    pub role: SpecialRole,
    /// How it is written.
    pub text: String,
    /// Its id.
    pub id: TokenId,
}

/// A special token as a source names it.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) role: SpecialRole,
    pub(super) token: AddedToken,
    /// The file and the key; none for the default of a class.
    pub(super) place: Option<(&'static str, String)>,
}

/// The files that name special tokens, as JSON objects; a file that is not there is an empty one.
#[derive(Debug)]
pub(super) struct Sources {
    /// `tokenizer_config.json`.
    pub(super) config: Map<String, Value>,
    /// `special_tokens_map.json`, where transformers reads it.
    pub(super) map: Map<String, Value>,
    /// The same file, where transformers does not.
    pub(super) unread_map: Map<String, Value>,
    /// `config.json` of the model.
    pub(super) model: Map<String, Value>,
    /// The token with which tokenizer.json fills up batches.
    pub(super) padding: Option<String>,
}

impl Sources {
    /// The tokens that transformers would know, by role, then in the order of the files.
    pub(super) fn named(&self, class: Option<&TokenizerClass>, notices: &mut Vec<Notice>) -> Vec<Named> {
        let mut named = vec![];
        for (key, role) in SpecialRole::SINGLE_KEYS {
            let by_map = self.map.get(key).map(|value| (SPECIAL_MAP, value));
            match by_map.or_else(|| self.config.get(key).map(|value| (CONFIG_FILE, value))) {
                Some((file, value)) => named.extend(one(role, file, key.into(), value, notices)),
                None => named.extend(self.unsaid(key, role, class)),
            }
        }
        for (file, values) in [(CONFIG_FILE, &self.config), (SPECIAL_MAP, &self.map)] {
            for more in several(file, values, notices) {
                if !named.iter().any(|n| n.role == more.role && n.token.content == more.token.content) {
                    named.push(more);
                }
            }
        }
        named
    }

    /// The token of a key that no file has.
    fn unsaid(&self, key: &str, role: SpecialRole, class: Option<&TokenizerClass>) -> Option<Named> {
        let by_class = class.and_then(|class| class.tokens.iter().find(|(known, _)| *known == key));
        let by_padding = || self.padding.as_deref().filter(|_| role == SpecialRole::Pad);
        let text = by_class.map(|(_, text)| *text).or_else(by_padding)?;
        Some(Named { role, token: AddedToken::from(text, true), place: None })
    }

    /// The tokens of the sources that transformers does not read, for folders where its own give none. `text_of` gives the
    /// text of an id.
    pub(super) fn fallback(&self, text_of: impl Fn(u32) -> Option<String>) -> Vec<Named> {
        let mut named = vec![];
        for (key, role) in SpecialRole::SINGLE_KEYS {
            let value = self.unread_map.get(key);
            named.extend(value.and_then(|value| one(role, SPECIAL_MAP, key.into(), value, &mut vec![])));
        }
        let text_model = self.model.get("text_config").and_then(Value::as_object);
        for (key, role) in SpecialRole::SINGLE_KEYS {
            let key = format!("{key}_id");
            let value = self.model.get(&key).or_else(|| text_model.and_then(|inner| inner.get(&key)));
            let first = value.and_then(|value| value.as_array().map_or(Some(value), |list| list.first()));
            let id = first.and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
            if let Some(text) = id.and_then(&text_of) {
                let token = AddedToken::from(text, true);
                named.push(Named { role, token, place: Some(("config.json", key)) });
            }
        }
        named
    }
}

/// The token of one key; null and empty text name nothing. What is no token is a warning: no prompt needs it.
fn one(
    role: SpecialRole,
    file: &'static str,
    key: String,
    value: &Value,
    notices: &mut Vec<Notice>,
) -> Option<Named> {
    match token_from(value, true) {
        Ok(token) => token.map(|token| Named { role, token, place: Some((file, key)) }),
        Err(found) => {
            notices.push(Notice::warning(format!(
                "{file}: `{key}` is {found}, expected a token (text, or an object with `content`); it is left out"
            )));
            None
        }
    }
}

/// The tokens of the keys that name several.
fn several(file: &'static str, values: &Map<String, Value>, notices: &mut Vec<Notice>) -> Vec<Named> {
    let mut named = vec![];
    for key in MANY_KEYS {
        let role = SpecialRole::Additional;
        match values.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::Array(list)) => {
                for (i, value) in list.iter().enumerate() {
                    named.extend(one(role, file, format!("{key}[{i}]"), value, notices));
                }
            }
            Some(Value::Object(by_name)) => {
                for (name, value) in by_name {
                    named.extend(one(role, file, format!("{key}.{name}"), value, notices));
                }
            }
            Some(_) => notices.push(Notice::warning(format!(
                "{file}: `{key}` is neither a list of tokens nor an object; it is left out"
            ))),
        }
    }
    named
}
