//! Tokens that stand beside the vocabulary, and settings of a tokenizer that `tokenizer.json` does not hold.
//!
//! transformers adds the tokens of `added_tokens_decoder` and the special tokens to what `tokenizer.json` has, in a fixed
//! order; new ones get the next ids. The same calls of the same library are made here, so that ids are the same. Not here:
//! which tokens are special (`special.rs`).

use super::special::Named;
use super::{CONFIG_FILE, TokenizerError};
use crate::family::{PrefixSpace, TokenizerClass};
use circuit_index::Notice;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer};

/// The file of tokens beside the vocabulary in older folders.
pub(super) const ADDED_FILE: &str = "added_tokens.json";
/// The key of tokens beside the vocabulary in newer folders.
const DECODER_KEY: &str = "added_tokens_decoder";

/// A token that `tokenizer.json` declares beside the vocabulary.
#[derive(Deserialize)]
pub(super) struct DeclaredToken {
    pub(super) id: u32,
    pub(super) content: String,
}

/// The parts of `tokenizer.json` that are needed beside what the library makes of it.
#[derive(Default, Deserialize)]
pub(super) struct VocabularyFile {
    #[serde(default)]
    pub(super) added_tokens: Vec<DeclaredToken>,
    #[serde(default)]
    padding: Option<Padding>,
}

#[derive(Deserialize)]
struct Padding {
    #[serde(default)]
    pad_token: Option<String>,
}

impl VocabularyFile {
    /// The token with which batches are filled up.
    pub(super) fn pad_token(&self) -> Option<String> {
        self.padding.as_ref().and_then(|padding| padding.pad_token.clone())
    }
}

/// A token from JSON: text, or an object with `content` and flags. `None` for null and empty text. The error says what was
/// found instead.
pub(super) fn token_from(value: &Value, special: bool) -> Result<Option<AddedToken>, &'static str> {
    let token = match value {
        Value::Null => return Ok(None),
        Value::String(text) => AddedToken::from(text.clone(), special),
        Value::Object(object) => {
            let Some(Value::String(content)) = object.get("content") else {
                return Err("an object without a text `content`");
            };
            let flag = |key: &str| object.get(key).and_then(Value::as_bool);
            let special = special || flag("special").unwrap_or(false);
            AddedToken {
                content: content.clone(),
                single_word: flag("single_word").unwrap_or(false),
                lstrip: flag("lstrip").unwrap_or(false),
                rstrip: flag("rstrip").unwrap_or(false),
                normalized: flag("normalized").unwrap_or(!special),
                special,
            }
        }
        Value::Bool(_) => return Err("a truth value"),
        Value::Number(_) => return Err("a number"),
        Value::Array(_) => return Err("a list"),
    };
    Ok(Some(token).filter(|token| !token.content.is_empty()))
}

/// Whether `tokenizer_config.json` has the tokens beside the vocabulary, so that older files are not read.
pub(super) fn has_decoder(config: &Map<String, Value>) -> bool {
    config.contains_key(DECODER_KEY)
}

/// The tokens of `added_tokens_decoder`, ascending by id.
pub(super) fn decoder_tokens(
    config: &Map<String, Value>,
    notices: &mut Vec<Notice>,
) -> Vec<(u32, AddedToken)> {
    let mut tokens = vec![];
    let mut skip = |what: String| {
        notices.push(Notice::warning(format!("{CONFIG_FILE}: `{DECODER_KEY}` {what}; it is left out")));
    };
    match config.get(DECODER_KEY) {
        None | Some(Value::Null) => {}
        Some(Value::Object(entries)) => {
            for (id, value) in entries {
                match (id.parse(), token_from(value, false)) {
                    (Ok(id), Ok(Some(token))) => tokens.push((id, token)),
                    (Ok(_), Ok(None)) => {}
                    (Err(_), _) => skip(format!("has the key {id:?}, expected a token id")),
                    (_, Err(found)) => skip(format!("has {found} for id {id}, expected a token")),
                }
            }
        }
        Some(_) => skip("is not an object with a token for each id".into()),
    }
    tokens.sort_by_key(|(id, _)| *id);
    tokens
}

/// The tokens of `added_tokens.json`, ascending by id, less those whose ids `tokenizer.json` declares itself.
pub(super) fn older_tokens(
    file: &Map<String, Value>,
    declared: &[DeclaredToken],
    named: &[Named],
) -> Vec<(u32, AddedToken)> {
    let of = |(content, id): (&String, &Value)| {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok())?;
        let special = named.iter().any(|n| n.token.content == *content);
        let known = content.is_empty() || declared.iter().any(|token| token.id == id);
        (!known).then(|| (id, AddedToken::from(content.clone(), special)))
    };
    let mut tokens: Vec<_> = file.iter().filter_map(of).collect();
    tokens.sort_by_key(|(id, _)| *id);
    tokens
}

/// Adds tokens as transformers does: those of the files first, then special ones that are not among them.
pub(super) fn add(inner: &mut Tokenizer, of_files: &[(u32, AddedToken)], named: &[Named]) {
    let (mut new, mut contents) = (vec![], vec![]);
    {
        let present = inner.get_added_vocabulary().get_added_tokens_decoder();
        for (_, token) in of_files {
            if !present.values().any(|known| known == token) {
                let special = token.special || named.iter().any(|n| n.token.content == token.content);
                contents.push(token.content.clone());
                new.push(token.clone().special(special));
            }
        }
        let mut named: Vec<_> = named.iter().collect();
        named.sort_by_key(|n| n.role.adding_order());
        for Named { token, .. } in named {
            let known = present.values().any(|known| known.content == token.content);
            if !known && !contents.contains(&token.content) {
                contents.push(token.content.clone());
                new.push(token.clone().special(true));
            }
        }
    }
    if !new.is_empty() {
        inner.add_tokens(&new);
    }
}

/// A warning for each token of the files that got another id than they say.
pub(super) fn other_ids(
    inner: &Tokenizer,
    file: &'static str,
    of_files: &[(u32, AddedToken)],
) -> impl Iterator<Item = Notice> {
    of_files.iter().filter_map(move |(id, token)| {
        let found = inner.token_to_id(&token.content).filter(|found| found != id)?;
        Some(Notice::warning(format!(
            "{file}: {:?} should have id {id}, but it gets {found} beside tokenizer.json, as in transformers",
            token.content
        )))
    })
}

/// Settings of `tokenizer_config.json` that change tokens.
///
/// # Errors
/// If transformers would build the tokenizer again in another way.
pub(super) fn apply_settings(
    inner: &mut Tokenizer,
    config: &Map<String, Value>,
    class: Option<&TokenizerClass>,
    path: &Path,
    notices: &mut Vec<Notice>,
) -> Result<(), TokenizerError> {
    if config.get("split_special_tokens").and_then(Value::as_bool) == Some(true) {
        inner.set_encode_special_tokens(true);
        notices.push(Notice::note(format!(
            "{CONFIG_FILE}: `split_special_tokens` is true: special tokens within a text are split like other text, as in \
             transformers"
        )));
    }
    let given = config.get("add_prefix_space").and_then(Value::as_bool);
    let rebuilt = class.is_some_and(|class| class.prefix_space == PrefixSpace::Rebuilt);
    if let (true, Some(given)) = (rebuilt, given) {
        return match puts_a_space_in_front(inner) {
            Some(found) if found != given => Err(TokenizerError::Setting {
                path: path.into(),
                key: "add_prefix_space",
                found: given.to_string(),
                expected: format!("{found}, as tokenizer.json beside it does"),
            }),
            _ => Ok(()),
        };
    }
    match inner.get_pre_tokenizer().cloned() {
        Some(PreTokenizerWrapper::ByteLevel(byte_level)) => {
            // A class without data is one that transformers 5 reads as it stands in tokenizer.json.
            let wanted = given.or(class.map(|_| false)).unwrap_or(byte_level.add_prefix_space);
            if wanted != byte_level.add_prefix_space {
                inner.with_pre_tokenizer(Some(byte_level.add_prefix_space(wanted)));
                notices.push(Notice::note(format!(
                    "{CONFIG_FILE}: `add_prefix_space` is {wanted}{}, other than in tokenizer.json: it counts, as in transformers",
                    if given.is_none() { " unless given" } else { "" }
                )));
            }
        }
        Some(PreTokenizerWrapper::Sequence(parts)) if given == Some(true) => {
            let without = parts
                .as_ref()
                .iter()
                .any(|part| matches!(part, PreTokenizerWrapper::ByteLevel(b) if !b.add_prefix_space));
            if without {
                notices.push(Notice::warning(format!(
                    "{CONFIG_FILE}: `add_prefix_space` is true, but tokenizer.json puts no space in front: it is left out, as \
                     in transformers 4; some classes of transformers 5 put it there"
                )));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Whether a tokenizer that writes spaces as `▁` puts one in front of a text; `None` for one of another kind.
fn puts_a_space_in_front(inner: &Tokenizer) -> Option<bool> {
    let pre_tokenizer = inner.get_pre_tokenizer().and_then(|part| serde_json::to_value(part).ok());
    let normalizer = inner.get_normalizer().and_then(|part| serde_json::to_value(part).ok());
    let mut kinds = vec![];
    for part in [pre_tokenizer, normalizer].iter().flatten() {
        let parts = ["pretokenizers", "normalizers"].iter().find_map(|key| part.get(*key)?.as_array());
        for part in parts.map_or(std::slice::from_ref(part), Vec::as_slice) {
            match part["type"].as_str() {
                Some("Metaspace") => kinds.push(part["prepend_scheme"] != "never"),
                Some("Prepend") => kinds.push(part["prepend"] == "▁"),
                Some("Replace") if part["content"] == "▁" => kinds.push(false),
                _ => {}
            }
        }
    }
    (!kinds.is_empty()).then(|| kinds.contains(&true))
}
