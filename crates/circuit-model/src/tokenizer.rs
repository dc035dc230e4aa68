//! Text to tokens and back, and the special token that stands in front of every prompt.
//!
//! A model folder holds `tokenizer.json`, which the `tokenizers` crate reads, and `tokenizer_config.json` and
//! `special_tokens_map.json`, which name the special tokens. Position 0 of a prompt is ignored by attribution, so a
//! special token must stand there: [`Tokenizer::encode_prompt`] and [`Tokenizer::prompt_from_ids`] put one in front
//! unless the first token already is one. `special: true` in `tokenizer.json` is not the test: the sets differ.
//!
//! Ids are not checked against the size of the model, which this module does not know. Chat templates: `chat.rs`.
//! Read [`Prompt`] first.

use crate::chat::{ChatError, ChatTemplate};
use circuit_index::TokenId;
use serde::Deserialize;
use serde_json::Value;
use std::{
    fmt, fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};
use tokenizers::AddedToken;

/// The file that holds the vocabulary.
const TOKENIZER_FILE: &str = "tokenizer.json";
/// The files that name special tokens. Where both name one for the same purpose, the first comes first.
const NAMING_FILES: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];

/// A prompt as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// All tokens decoded together, the special token in front included.
    pub text: String,
    /// `[pos]` the tokens; the first one is special.
    pub tokens: Vec<TokenId>,
    /// `[pos]` each token decoded alone: bytes that are no text by themselves become U+FFFD. What a decoder does at the
    /// start of a text (SentencePiece without its leading space) it does to each of them, as in Python.
    pub token_strings: Vec<String>,
}

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

/// Why text could not become tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file of the model folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is there but is not what its name says.
    #[error("{} is damaged or of an unknown kind: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What its reader says.
        reason: String,
    },
    /// `added_tokens` gives a token an id that it cannot have beside the vocabulary.
    #[error("{}: added token {token:?} should have id {declared}, but the vocabulary gives it {found}", path.display())]
    AddedTokenId {
        /// The file.
        path: PathBuf,
        /// The token.
        token: String,
        /// The id in `added_tokens`.
        declared: u32,
        /// The id it would get.
        found: u32,
    },
    /// A key that should name a special token holds something else.
    #[error("{}: `{key}` should be a token (text, or an object with `content`), not {found}", path.display())]
    NotAToken {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is there.
        found: String,
    },
    /// A special token that the vocabulary does not have.
    #[error("{}: `{key}` names {token:?}, which {TOKENIZER_FILE} beside it does not have", path.display())]
    UnknownSpecialToken {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The token.
        token: String,
    },
    /// The prompt must begin with a special token and the model folder names none.
    #[error(
        "no special token to put in front of the prompt: neither {} nor {} in {} names one; \
         try adding {{\"bos_token\": \"...\"}} as {}",
        NAMING_FILES[0], NAMING_FILES[1], dir.display(), NAMING_FILES[1]
    )]
    NoSpecialToken {
        /// The model folder.
        dir: PathBuf,
    },
    /// No tokens: nothing to attribute.
    #[error("the prompt is empty: it has no tokens")]
    EmptyPrompt,
    /// Text that should be one token is none or several.
    #[error("{text:?} is not one token but {}{}", Listed(found), Hint(hint.as_deref()))]
    NotOneToken {
        /// The text.
        text: String,
        /// The tokens it has.
        found: Vec<(TokenId, String)>,
        /// Similar text that is one token.
        hint: Option<String>,
    },
    /// Text that the vocabulary cannot express.
    #[error("{text:?} is not in the vocabulary: it would become {unknown:?}")]
    NotInVocabulary {
        /// The text.
        text: String,
        /// The token that stands for unknown text.
        unknown: String,
    },
    /// The tokenizer gave up on this input.
    #[error("{TOKENIZER_FILE} in {} cannot {action}: {reason}", dir.display())]
    Failed {
        /// The model folder.
        dir: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the `tokenizers` crate says.
        reason: String,
    },
}

/// Tokens for a message: number, then each with its id.
struct Listed<'a>(&'a [(TokenId, String)]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A message is no place for a whole text.
        const SHOWN: usize = 12;
        write!(f, "{}", self.0.len())?;
        for (n, (id, text)) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{} {text:?} ({id})", if n == 0 { ":" } else { "," })?;
        }
        if self.0.len() > SHOWN { f.write_str(", ...") } else { Ok(()) }
    }
}

/// The end of a message that may propose something.
struct Hint<'a>(Option<&'a str>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |text| write!(f, "; try {text:?}"))
    }
}

/// The tokenizer of a model folder.
#[derive(Debug)]
pub struct Tokenizer {
    dir: PathBuf,
    inner: tokenizers::Tokenizer,
    /// By role, then in the order of the files. The first one is put in front of prompts.
    special: Vec<SpecialToken>,
}

impl Tokenizer {
    /// Reads the tokenizer of a model folder. Only `tokenizer.json` must be there.
    ///
    /// # Errors
    /// If a file cannot be read, is damaged, or names a special token that the vocabulary does not have.
    pub fn open(dir: &Path) -> Result<Self, TokenizerError> {
        let read = |name| {
            let path = dir.join(name);
            fs::read(&path).map_err(|source| TokenizerError::Read { path, source })
        };
        let vocabulary = read(TOKENIZER_FILE)?;
        let mut naming = [None, None];
        for (name, bytes) in NAMING_FILES.into_iter().zip(&mut naming) {
            *bytes = match read(name) {
                Ok(bytes) => Some(bytes),
                Err(TokenizerError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
        }
        Self::from_bytes(dir, &vocabulary, naming.each_ref().map(Option::as_deref))
    }

    /// A tokenizer from the contents of its files; `dir` is for messages only.
    fn from_bytes(dir: &Path, vocabulary: &[u8], naming: [Option<&[u8]>; 2]) -> Result<Self, TokenizerError> {
        let path = dir.join(TOKENIZER_FILE);
        let damaged = |reason| TokenizerError::Damaged { path: path.clone(), reason };
        // First, since this also finds cut-off files: the library panics where JSON ends within a decoder.
        let added_tokens = declared_tokens(vocabulary).map_err(|error| damaged(error.to_string()))?;
        let mut inner = guarded(|| {
            let mut inner = tokenizers::Tokenizer::from_bytes(vocabulary)?;
            // A prompt is neither cut nor filled up, whatever the file says about batches.
            inner.with_truncation(None)?;
            inner.with_padding(None);
            Ok(inner)
        })
        .map_err(damaged)?;
        // The library gives an added token the next free id if its own does not fit, and goes on: every later prompt
        // would have wrong tokens.
        for DeclaredToken { id: declared, content: token } in added_tokens {
            match inner.token_to_id(&token) {
                Some(found) if found != declared => {
                    return Err(TokenizerError::AddedTokenId { path, token, declared, found });
                }
                _ => {}
            }
        }

        let mut special = vec![];
        for (name, bytes) in NAMING_FILES.into_iter().zip(naming) {
            let path = dir.join(name);
            for (role, key, text) in bytes.map_or(Ok(vec![]), |bytes| named_tokens(&path, bytes))? {
                let Some(id) = inner.token_to_id(&text).map(TokenId) else {
                    return Err(TokenizerError::UnknownSpecialToken { path, key, token: text });
                };
                let token = SpecialToken { role, text, id };
                if !special.contains(&token) {
                    special.push(token);
                }
            }
        }
        special.sort_by_key(|token| token.role); // stable: within a role, files keep their order

        // In a prompt, a special token is found whole even if only the vocabulary lists it.
        let missing: Vec<_> = special
            .iter()
            .filter(|token| !inner.get_added_vocabulary().get_vocab().contains_key(&token.text))
            .map(|token| AddedToken::from(token.text.clone(), true))
            .collect();
        guarded(|| Ok(inner.add_special_tokens(&missing))).map_err(damaged)?;

        Ok(Self { dir: dir.into(), inner, special })
    }

    /// The tokens of a prompt, a special token in front. The tokenizer's own template is not applied.
    ///
    /// # Errors
    /// If the prompt has no tokens, or needs a special token and there is none.
    pub fn encode_prompt(&self, prompt: &str) -> Result<Prompt, TokenizerError> {
        self.prompt_from_ids(&self.encode(prompt)?)
    }

    /// The chat template of the model folder.
    ///
    /// # Errors
    /// If there is none, or its file cannot be read.
    pub fn chat_template(&self) -> Result<ChatTemplate, ChatError> {
        ChatTemplate::open(&self.dir, &self.special)
    }

    /// A prompt from token ids, a special token in front. An id that the tokenizer does not have is kept and has no
    /// text, since a model's vocabulary may be the larger one; that ids fit the model is for the caller to check.
    ///
    /// # Errors
    /// If there are no ids, or a special token is needed and there is none.
    pub fn prompt_from_ids(&self, ids: &[TokenId]) -> Result<Prompt, TokenizerError> {
        let first = *ids.first().ok_or(TokenizerError::EmptyPrompt)?;
        let mut tokens = Vec::with_capacity(ids.len() + 1);
        if !self.is_special(first) {
            let front = self
                .special
                .first()
                .ok_or_else(|| TokenizerError::NoSpecialToken { dir: self.dir.clone() })?;
            tokens.push(front.id);
        }
        tokens.extend_from_slice(ids);
        let token_strings = tokens.iter().map(|&id| self.decode_token(id)).collect::<Result<_, _>>()?;
        Ok(Prompt { text: self.decode(&tokens)?, tokens, token_strings })
    }

    /// The token of a text that is exactly one token, such as a target. A leading space counts.
    ///
    /// # Errors
    /// If the text is none or several tokens, or not in the vocabulary.
    pub fn single_token(&self, text: &str) -> Result<TokenId, TokenizerError> {
        let ids = self.encode(text)?;
        let &[id] = &ids[..] else {
            let found =
                ids.into_iter().map(|id| Ok((id, self.decode_token(id)?))).collect::<Result<_, _>>()?;
            // Most words are one token only with the space before them.
            let spaced = format!(" {text}");
            let hint = (!text.is_empty() && self.encode(&spaced)?.len() == 1).then_some(spaced);
            return Err(TokenizerError::NotOneToken { text: text.into(), found, hint });
        };
        let unknown = self.special.iter().find(|token| token.role == SpecialRole::Unk && token.id == id);
        match unknown {
            Some(unknown) if unknown.text != text.trim() => {
                Err(TokenizerError::NotInVocabulary { text: text.into(), unknown: unknown.text.clone() })
            }
            _ => Ok(id),
        }
    }

    /// One token as text, special ones included; empty for an id that the tokenizer does not have.
    ///
    /// # Errors
    /// If the tokenizer's decoder fails.
    pub fn decode_token(&self, id: TokenId) -> Result<String, TokenizerError> {
        self.decode(&[id])
    }

    /// Number of tokens, those added beside the vocabulary not counted: the size that graph files state.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(false)
    }

    /// The tokens that the model folder names as special. The first one is put in front of prompts.
    #[must_use]
    pub fn special_tokens(&self) -> &[SpecialToken] {
        &self.special
    }

    /// Whether a token is one of [`Self::special_tokens`].
    #[must_use]
    pub fn is_special(&self, id: TokenId) -> bool {
        self.special.iter().any(|token| token.id == id)
    }

    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        let encoding =
            guarded(|| self.inner.encode(text, false)).map_err(|r| self.failed("encode this text", r))?;
        Ok(encoding.get_ids().iter().map(|&id| TokenId(id)).collect())
    }

    fn decode(&self, ids: &[TokenId]) -> Result<String, TokenizerError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        guarded(|| self.inner.decode(&ids, false)).map_err(|r| self.failed("decode these tokens", r))
    }

    fn failed(&self, action: &'static str, reason: String) -> TokenizerError {
        TokenizerError::Failed { dir: self.dir.clone(), action, reason }
    }
}

/// The `tokenizers` crate panics where a regular expression takes too many steps, and on some damaged files (ids at the
/// end of their range). That is bad input like any other.
fn guarded<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    // Unwind safe: on a panic while loading, the value is dropped; encoding and decoding only fill a cache.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(payload) => {
            let message = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied());
            Err(format!("the tokenizers library gave up: {}", message.unwrap_or("no reason given")))
        }
    }
}

/// A token that stands beside the vocabulary.
#[derive(Deserialize)]
struct DeclaredToken {
    id: u32,
    content: String,
}

/// The `added_tokens` of `tokenizer.json`.
fn declared_tokens(vocabulary: &[u8]) -> serde_json::Result<Vec<DeclaredToken>> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        added_tokens: Vec<DeclaredToken>,
    }
    Ok(serde_json::from_slice::<File>(vocabulary)?.added_tokens)
}

/// The special tokens that a file names: role, key, text. `null` and empty text name nothing.
fn named_tokens(path: &Path, bytes: &[u8]) -> Result<Vec<(SpecialRole, String, String)>, TokenizerError> {
    let file: serde_json::Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|error| TokenizerError::Damaged { path: path.into(), reason: error.to_string() })?;
    let mut named = vec![];
    let mut add = |role, key: String, value: &Value| {
        let text = match value {
            Value::Null => "",
            Value::String(text) => text,
            Value::Object(object) => match object.get("content") {
                Some(Value::String(text)) => text,
                _ => return Err(not_a_token(path, key, value)),
            },
            _ => return Err(not_a_token(path, key, value)),
        };
        if !text.is_empty() {
            named.push((role, key, text.to_owned()));
        }
        Ok(())
    };
    for (key, role) in SpecialRole::SINGLE_KEYS {
        file.get(key).map_or(Ok(()), |value| add(role, key.into(), value))?;
    }
    for key in MANY_KEYS {
        match file.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::Array(values)) => {
                for (i, value) in values.iter().enumerate() {
                    add(SpecialRole::Additional, format!("{key}[{i}]"), value)?;
                }
            }
            Some(Value::Object(values)) => {
                for (name, value) in values {
                    add(SpecialRole::Additional, format!("{key}.{name}"), value)?;
                }
            }
            Some(value) => return Err(not_a_token(path, key.into(), value)),
        }
    }
    Ok(named)
}

fn not_a_token(path: &Path, key: String, value: &Value) -> TokenizerError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object without it",
    };
    TokenizerError::NotAToken { path: path.into(), key, found: found.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Four words and `<unk>`; `<s>` (id 0) and `</s>` only in the vocabulary, `<added>` beside it.
    fn vocabulary() -> Value {
        json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [{"id": 7, "content": "<added>", "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true}],
            "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab":
                {"<s>": 0, "</s>": 1, "<unk>": 2, "one": 3, "two": 4, "three": 5, "four": 6}}
        })
    }

    fn open_with(vocabulary: &Value, config: &Value, map: &Value) -> Result<Tokenizer, TokenizerError> {
        let bytes = |value: &Value| (!value.is_null()).then(|| serde_json::to_vec(value).unwrap());
        let (config, map) = (bytes(config), bytes(map));
        let vocabulary = serde_json::to_vec(vocabulary).unwrap();
        Tokenizer::from_bytes(Path::new("model"), &vocabulary, [config.as_deref(), map.as_deref()])
    }

    fn front(config: Value, map: Value) -> u32 {
        open_with(&vocabulary(), &config, &map).unwrap().encode_prompt("one").unwrap().tokens[0].0
    }

    fn message<T: fmt::Debug>(result: Result<T, TokenizerError>, parts: &[&str]) {
        let message = result.unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }

    #[test]
    fn the_front_token_is_bos_else_eos_else_pad_else_another() {
        let all = json!({"pad_token": "four", "bos_token": "<s>", "eos_token": "</s>"});
        assert_eq!(front(all, Value::Null), 0, "id 0 counts");
        assert_eq!(
            front(json!({"bos_token": null, "eos_token": "</s>", "pad_token": "four"}), Value::Null),
            1
        );
        assert_eq!(front(json!({"pad_token": "four", "unk_token": "<unk>"}), Value::Null), 6);
        assert_eq!(front(json!({"mask_token": "four", "unk_token": {"content": "<unk>"}}), Value::Null), 2);
        assert_eq!(front(json!({"additional_special_tokens": [{"content": "two"}, "four"]}), Value::Null), 4);
        assert_eq!(front(json!({"extra_special_tokens": {"image_token": "two"}}), Value::Null), 4);
        assert_eq!(front(json!({"model_specific_special_tokens": ["two"], "bos_token": ""}), Value::Null), 4);
        assert_eq!(front(Value::Null, json!({"eos_token": "</s>"})), 1, "the second file alone");
        assert_eq!(front(json!({"eos_token": "</s>"}), json!({"bos_token": "<s>"})), 0, "role before file");
        assert_eq!(front(json!({"bos_token": "</s>"}), json!({"bos_token": "<s>"})), 1, "first file first");
    }

    #[test]
    fn a_special_token_that_is_there_stays_alone() {
        let config = json!({"bos_token": "<s>", "additional_special_tokens": ["</s>"]});
        let tokenizer = open_with(&vocabulary(), &config, &Value::Null).unwrap();
        let ids =
            |text| tokenizer.encode_prompt(text).unwrap().tokens.into_iter().map(|t| t.0).collect::<Vec<_>>();
        assert_eq!(ids("one"), [0, 3]);
        assert_eq!(ids("<s>one"), [0, 3], "found whole although only the vocabulary lists it");
        assert_eq!(ids("</s> one"), [1, 3]);
        assert_eq!(ids("<added> one"), [0, 7, 3], "`special: true` alone does not count");
        let prompt = tokenizer.prompt_from_ids(&[TokenId(3), TokenId(99)]).unwrap();
        assert_eq!(prompt.tokens, [0, 3, 99].map(TokenId));
        assert_eq!((&*prompt.text, &*prompt.token_strings.concat()), ("<s> one", "<s>one"), "99 has no text");
        assert_eq!(tokenizer.vocab_size(), 7);
    }

    #[test]
    fn a_prompt_needs_tokens_and_a_special_token() {
        let bare = open_with(&vocabulary(), &Value::Null, &Value::Null).unwrap();
        message(bare.encode_prompt("one"), &["special token", "tokenizer_config.json", "model"]);
        for text in ["", "  \n"] {
            assert!(matches!(bare.encode_prompt(text), Err(TokenizerError::EmptyPrompt)));
        }
        assert!(matches!(bare.prompt_from_ids(&[]), Err(TokenizerError::EmptyPrompt)));
    }

    #[test]
    fn a_target_is_exactly_one_known_token() {
        let tokenizer = open_with(&vocabulary(), &json!({"unk_token": "<unk>"}), &Value::Null).unwrap();
        assert_eq!(tokenizer.single_token("two").unwrap(), TokenId(4));
        assert_eq!(tokenizer.single_token(" <unk>").unwrap(), TokenId(2));
        message(
            tokenizer.single_token("two three"),
            &["not one token but 2", "\"two\" (4)", "\"three\" (5)"],
        );
        message(tokenizer.single_token(""), &["not one token but 0"]);
        message(tokenizer.single_token("five"), &["five", "not in the vocabulary", "<unk>"]);
    }

    #[test]
    fn files_about_batches_do_not_cut_prompts() {
        let mut vocabulary = vocabulary();
        vocabulary["truncation"] =
            json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
        vocabulary["padding"] = json!({"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 1, "pad_type_id": 0, "pad_token": "</s>"});
        let tokenizer = open_with(&vocabulary, &json!({"bos_token": "<s>"}), &Value::Null).unwrap();
        assert_eq!(tokenizer.encode_prompt("one two three four").unwrap().tokens.len(), 5);
    }

    #[test]
    fn damaged_vocabularies_are_refused() {
        let open = |bytes: &[u8]| Tokenizer::from_bytes(Path::new("model"), bytes, [None, None]);
        let good = serde_json::to_vec(&vocabulary()).unwrap();
        assert!(open(&good).is_ok());
        for cut in (0..good.len()).step_by(7) {
            message(open(&good[..cut]), &["model/tokenizer.json", "damaged"]);
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        for text in ["[]", "{}", "null", "1e999", "\u{feff}{}", "{\"version\": 1}", &nested(100_000)] {
            message(open(text.as_bytes()), &["model/tokenizer.json"]);
        }
        message(open(b"\xff\xfe{}"), &["model/tokenizer.json"]);

        let changed = |change: &dyn Fn(&mut Value)| {
            let mut vocabulary = vocabulary();
            change(&mut vocabulary);
            open(&serde_json::to_vec(&vocabulary).unwrap())
        };
        message(changed(&|v| v["added_tokens"][0]["id"] = json!(70)), &["<added>", "70", "7"]);
        message(changed(&|v| v["added_tokens"][0]["id"] = json!(-1)), &["damaged"]);
        message(changed(&|v| v["model"]["vocab"]["one"] = json!(u64::MAX)), &["damaged"]);
        message(changed(&|v| v["model"]["type"] = json!("Oracle")), &["damaged"]);
        message(changed(&|v| v["pre_tokenizer"]["type"] = json!("Oracle")), &["damaged"]);
        let deep = (0..30).fold(
            json!({"type": "WhitespaceSplit"}),
            |inner, _| json!({"type": "Sequence", "pretokenizers": [inner]}),
        );
        assert!(changed(&|v| v["pre_tokenizer"] = deep.clone()).is_ok());
    }

    #[test]
    fn a_panic_of_the_library_is_an_error() {
        // Its regular expressions panic where they give up.
        let mut vocabulary = vocabulary();
        vocabulary["pre_tokenizer"] = json!({"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": false});
        let tokenizer = open_with(&vocabulary, &json!({"bos_token": "<s>"}), &Value::Null).unwrap();
        message(tokenizer.encode_prompt(&"x".repeat(60)), &["model", "cannot encode", "gave up", "limit"]);
        assert!(tokenizer.encode_prompt("one").is_ok(), "and the tokenizer still works");
    }

    #[test]
    fn damaged_names_are_refused() {
        let vocabulary = vocabulary();
        let open = |config| open_with(&vocabulary, &config, &Value::Null);
        message(open(json!([])), &["model/tokenizer_config.json", "damaged"]);
        message(open(json!({"bos_token": 3})), &["tokenizer_config.json", "`bos_token`", "number"]);
        message(open(json!({"bos_token": {"text": "<s>"}})), &["`bos_token`", "object"]);
        message(open(json!({"additional_special_tokens": ["<s>", 3]})), &["`additional_special_tokens[1]`"]);
        message(open(json!({"extra_special_tokens": "two"})), &["`extra_special_tokens`", "text"]);
        message(open(json!({"eos_token": "<gone>"})), &["`eos_token`", "<gone>", "tokenizer.json"]);
        let map = json!({"pad_token": "<gone>"});
        message(
            open_with(&vocabulary, &Value::Null, &map),
            &["model/special_tokens_map.json", "`pad_token`"],
        );
    }

    #[test]
    fn a_folder_without_a_tokenizer_says_so() {
        message(Tokenizer::open(Path::new("/no/such/model")), &["cannot read /no/such/model/tokenizer.json"]);
    }
}
