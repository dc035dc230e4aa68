//! Text to tokens and back, and the special token that stands in front of every prompt.
//!
//! A model folder holds `tokenizer.json`, which the `tokenizers` crate reads, and files that name special tokens
//! (`special.rs`) and add tokens (`added.rs`). Position 0 of a prompt is ignored by attribution, so a special token must
//! stand there: [`Tokenizer::encode_prompt`] and [`Tokenizer::prompt_from_ids`] put one in front unless the first token
//! already is one (`first.rs`). `special: true` in `tokenizer.json` is not the test: the sets differ.
//!
//! Text is decoded as in transformers 5: `clean_up_tokenization_spaces`, by which transformers 4 takes the space away from
//! ` .`, is not applied. Ids are not checked against the size of the model, which this module does not know. Chat
//! templates: `chat.rs`. Read [`Prompt`] first.

mod added;
mod ends;
mod error;
mod first;
mod special;
#[cfg(test)]
mod tests;

pub use ends::EndTokens;
pub use error::TokenizerError;
pub use first::FirstToken;
pub use special::{SpecialRole, SpecialToken};

use crate::chat::{ChatError, ChatTemplate};
use crate::{family, text};
use added::VocabularyFile;
use circuit_index::{Notice, TokenId};
use first::Front;
use serde_json::{Map, Value};
use special::{Named, SPECIAL_MAP, Sources};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The file that holds the vocabulary.
const TOKENIZER_FILE: &str = "tokenizer.json";
/// The file that names special tokens and the tokenizer's class.
const CONFIG_FILE: &str = "tokenizer_config.json";
/// The model's description, for what the tokenizer's own files leave out.
const MODEL_FILE: &str = "config.json";

/// A prompt as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// All tokens decoded together, the special token in front included.
    pub text: String,
    /// `[pos]` the tokens. The first one is special, unless nothing was put in front.
    pub tokens: Vec<TokenId>,
    /// `[pos]` each token decoded alone: bytes that are no text by themselves become U+FFFD. What a decoder does at the
    /// start of a text (SentencePiece without its leading space) it does to each of them, as in Python.
    pub token_strings: Vec<String>,
    /// What is unusual about the start of the prompt.
    pub notices: Vec<Notice>,
}

/// The tokenizer of a model folder.
#[derive(Debug)]
pub struct Tokenizer {
    dir: PathBuf,
    inner: tokenizers::Tokenizer,
    /// By role, then in the order of the files.
    special: Vec<SpecialToken>,
    /// Those of them that the model has seen: the files give their ids.
    known: Vec<SpecialToken>,
    front: Front,
    /// Whether `front` is the usual one.
    usual_front: bool,
    notices: Vec<Notice>,
}

/// The contents of the files of a model folder; all but the first may be missing.
#[derive(Debug, Default)]
struct Files {
    vocabulary: Vec<u8>,
    config: Option<Vec<u8>>,
    special_map: Option<Vec<u8>>,
    added: Option<Vec<u8>>,
    model: Option<Vec<u8>>,
}

impl Files {
    fn read(dir: &Path) -> Result<Self, TokenizerError> {
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read(&path).map_err(|source| TokenizerError::Read { path, source })
        };
        let optional = |name| match read(name) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(TokenizerError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        Ok(Self {
            vocabulary: read(TOKENIZER_FILE)?,
            config: optional(CONFIG_FILE)?,
            special_map: optional(SPECIAL_MAP)?,
            added: optional(added::ADDED_FILE)?,
            model: optional(MODEL_FILE)?,
        })
    }
}

impl Tokenizer {
    /// Reads the tokenizer of a model folder. Only `tokenizer.json` must be there.
    ///
    /// # Errors
    /// If a file cannot be read or is damaged, or asks for what would give other tokens in transformers.
    pub fn open(dir: &Path) -> Result<Self, TokenizerError> {
        Self::from_files(dir, &Files::read(dir)?)
    }

    /// A tokenizer from the contents of its files; `dir` is for messages only.
    fn from_files(dir: &Path, files: &Files) -> Result<Self, TokenizerError> {
        let (file, mut inner) = vocabulary(&dir.join(TOKENIZER_FILE), &files.vocabulary)?;
        let mut notices = vec![];
        let sources = sources(dir, files, &file)?;
        let text =
            |object: &Map<String, Value>, key| object.get(key).and_then(Value::as_str).map(str::to_owned);
        let class_name =
            text(&sources.config, "tokenizer_class").or_else(|| text(&sources.model, "tokenizer_class"));
        let model_type = text(&sources.model, "model_type");
        let class = family::tokenizer_class(class_name.as_deref(), model_type.as_deref());

        added::apply_settings(&mut inner, &sources.config, class, &dir.join(CONFIG_FILE), &mut notices)?;
        let mut named = sources.named(class, &mut notices);
        // A default that the vocabulary does not have belongs to other vocabularies of the class.
        named.retain(|n| n.place.is_some() || inner.token_to_id(&n.token.content).is_some());
        let (file_of_added, of_files) = match added::has_decoder(&sources.config) {
            true => (CONFIG_FILE, added::decoder_tokens(&sources.config, &mut notices)),
            false => {
                let older = object(&dir.join(added::ADDED_FILE), files.added.as_deref())?;
                (added::ADDED_FILE, added::older_tokens(&older, &file.added_tokens, &named))
            }
        };
        let known = |inner: &tokenizers::Tokenizer, n: &Named| {
            inner.token_to_id(&n.token.content).is_some()
                || of_files.iter().any(|(_, token)| token.content == n.token.content)
        };
        if !named.iter().any(|n| known(&inner, n)) {
            let fallback = sources.fallback(|id| inner.id_to_token(id));
            named.extend(fallback.into_iter().filter(|n| inner.token_to_id(&n.token.content).is_some()));
        }
        let was_known: Vec<_> = named.iter().map(|n| known(&inner, n)).collect();
        guarded(|| {
            added::add(&mut inner, &of_files, &named);
            Ok(())
        })
        .map_err(|reason| TokenizerError::Damaged { path: dir.join(TOKENIZER_FILE), reason })?;
        notices.extend(added::other_ids(&inner, file_of_added, &of_files));

        let mut special: Vec<(SpecialToken, bool)> = vec![];
        for (Named { role, token, place }, known) in named.into_iter().zip(was_known) {
            let Some(id) = inner.token_to_id(&token.content).map(TokenId) else { continue };
            if let (false, Some((file, key))) = (known, place) {
                notices.push(Notice::warning(format!(
                    "{file}: `{key}` names {:?}, which {TOKENIZER_FILE} beside it does not have; it gets id {id}, as in \
                     transformers, and is never put in front of a prompt",
                    token.content
                )));
            }
            let token = SpecialToken { role, text: token.content, id };
            if !special.iter().any(|(other, _)| *other == token) {
                special.push((token, known));
            }
        }
        special.sort_by_key(|(token, _)| token.role); // stable: within a role, files keep their order
        let known: Vec<_> =
            special.iter().filter(|(_, known)| *known).map(|(token, _)| token.clone()).collect();
        let special = special.into_iter().map(|(token, _)| token).collect();
        let front = first::usual(&known);
        Ok(Self { dir: dir.into(), inner, special, known, front, usual_front: true, notices })
    }

    /// Chooses what is put in front of prompts.
    ///
    /// # Errors
    /// If the choice is a text that is not a token.
    pub fn with_first_token(mut self, choice: &FirstToken) -> Result<Self, TokenizerError> {
        self.usual_front = *choice == FirstToken::Special;
        self.front = match choice {
            FirstToken::Special => first::usual(&self.known),
            FirstToken::Nothing => Front::Nothing,
            FirstToken::Id(id) => Front::Token(*id),
            FirstToken::Text(text) => {
                let exact = self.inner.token_to_id(text).map(TokenId);
                // A vocabulary may write a space otherwise than a text does.
                let same = |id: &TokenId| self.decode_token(*id).is_ok_and(|decoded| decoded == *text);
                let found = exact.or_else(|| self.single_token(text).ok().filter(same));
                Front::Token(found.ok_or_else(|| TokenizerError::UnknownFirstToken {
                    dir: self.dir.clone(),
                    text: text.clone(),
                })?)
            }
        };
        Ok(self)
    }

    /// The token that is put in front of prompts; `None` if nothing is.
    #[must_use]
    pub fn first_token(&self) -> Option<TokenId> {
        match self.front {
            Front::Token(id) => Some(id),
            Front::Nothing | Front::Unknown => None,
        }
    }

    /// What was found while the tokenizer was opened and is not an error.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// A note where other tools put another token in front of this model's prompts than is put there.
    #[must_use]
    pub fn first_token_note(&self) -> Option<Notice> {
        if self.usual_front { first::difference(&self.known) } else { None }
    }

    /// The tokens of a prompt, a special token in front. The tokenizer's own template is not applied.
    ///
    /// # Errors
    /// If the prompt has no tokens, or needs a special token and there is none.
    pub fn encode_prompt(&self, prompt: &str) -> Result<Prompt, TokenizerError> {
        let ids = self.encode(prompt)?;
        let unled = ids.first().is_some_and(|&first| !self.may_lead(first));
        if unled && self.front == Front::Unknown {
            return Err(TokenizerError::NoSpecialToken { dir: self.dir.clone() });
        }
        self.prompt_from_ids(&ids)
    }

    /// The chat template of the model folder.
    ///
    /// # Errors
    /// If there is none, or its file cannot be read.
    pub fn chat_template(&self) -> Result<ChatTemplate, ChatError> {
        ChatTemplate::open(&self.dir, &self.special)
    }

    /// A prompt from token ids, a special token in front. Where no special token is known, the ids stay as they are. An id
    /// that the tokenizer does not have is kept and has no text, since a model's vocabulary may be the larger one; that ids
    /// fit the model is for the caller to check.
    ///
    /// # Errors
    /// If there are no ids.
    pub fn prompt_from_ids(&self, ids: &[TokenId]) -> Result<Prompt, TokenizerError> {
        let first = *ids.first().ok_or(TokenizerError::EmptyPrompt)?;
        let mut tokens = Vec::with_capacity(ids.len() + 1);
        let mut notices = vec![];
        if !self.may_lead(first) {
            match self.first_token() {
                Some(front) => {
                    tokens.push(front);
                    notices.extend(self.first_token_note());
                }
                None => notices.push(self.nothing_in_front(first)?),
            }
        }
        tokens.extend_from_slice(ids);
        notices.extend(self.doubled(&tokens)?);
        let token_strings = tokens.iter().map(|&id| self.decode_token(id)).collect::<Result<_, _>>()?;
        Ok(Prompt { text: self.decode(&tokens)?, tokens, token_strings, notices })
    }

    /// Whether a prompt that begins with this token gets nothing in front: it is special, or the one that is put there.
    #[must_use]
    pub fn may_lead(&self, first: TokenId) -> bool {
        self.is_special(first) || self.first_token() == Some(first)
    }

    /// A notice for a prompt that begins with an ordinary token.
    fn nothing_in_front(&self, first: TokenId) -> Result<Notice, TokenizerError> {
        let word = self.decode_token(first)?;
        let tail = format!("position 0 is {word:?}, where attribution finds no features");
        Ok(match self.front {
            Front::Unknown => {
                Notice::warning(format!("no special token is known to put in front of the prompt: {tail}"))
            }
            _ => Notice::note(format!("nothing is put in front of the prompt: {tail}")),
        })
    }

    /// A warning if a prompt begins twice with the same special token.
    fn doubled(&self, tokens: &[TokenId]) -> Result<Option<Notice>, TokenizerError> {
        let &[first, second, ..] = tokens else { return Ok(None) };
        if first != second || !self.may_lead(first) {
            return Ok(None);
        }
        let text = self.decode_token(first)?;
        Ok(Some(Notice::warning(format!(
            "the prompt begins twice with {text:?}; one is enough, since nothing is put in front of a special token"
        ))))
    }

    /// The special token that a text begins with, if it begins with one; spaces in front of it do not count. Here
    /// every token counts that a file of the folder marks as special.
    #[must_use]
    pub fn leading_special(&self, text: &str) -> Option<String> {
        let text = text.trim_start();
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder().values();
        let added = added.filter(|token| token.special).map(|token| token.content.as_str());
        let all = added.chain(self.special.iter().map(|token| token.text.as_str()));
        all.filter(|token| !token.is_empty() && text.starts_with(token))
            .max_by_key(|token| token.len())
            .map(str::to_owned)
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

    /// The tokens that are special for this model, by role.
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

/// The `tokenizers` crate's tokenizer of a `tokenizer.json`, and the parts of the file that are needed beside it.
fn vocabulary(path: &Path, bytes: &[u8]) -> Result<(VocabularyFile, tokenizers::Tokenizer), TokenizerError> {
    let bytes = text::without_mark(bytes);
    let damaged = |reason| TokenizerError::Damaged { path: path.into(), reason };
    // First, since this also finds cut-off files: the library panics where JSON ends within a decoder.
    let file: VocabularyFile = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    let inner = guarded(|| {
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes)?;
        // A prompt is neither cut nor filled up, whatever the file says about batches.
        inner.with_truncation(None)?;
        inner.with_padding(None);
        Ok(inner)
    })
    .map_err(damaged)?;
    // The library gives an added token the next free id if its own does not fit, and goes on: every later prompt would
    // have wrong tokens.
    for token in &file.added_tokens {
        match inner.token_to_id(&token.content) {
            Some(found) if found != token.id => {
                return Err(TokenizerError::AddedTokenId {
                    path: path.into(),
                    token: token.content.clone(),
                    declared: token.id,
                    found,
                });
            }
            _ => {}
        }
    }
    Ok((file, inner))
}

/// The sources of special tokens among the files.
fn sources(dir: &Path, files: &Files, file: &VocabularyFile) -> Result<Sources, TokenizerError> {
    let config = object(&dir.join(CONFIG_FILE), files.config.as_deref())?;
    let map = object(&dir.join(SPECIAL_MAP), files.special_map.as_deref());
    let (map, unread_map) = match added::has_decoder(&config) {
        true => (Map::new(), map.unwrap_or_default()),
        false => (map?, Map::new()),
    };
    // What is wrong with it is for the model's own reader to say.
    let model = object(&dir.join(MODEL_FILE), files.model.as_deref()).unwrap_or_default();
    Ok(Sources { config, map, unread_map, model, padding: file.pad_token() })
}

/// The JSON object of a file; an empty one for a file that is not there.
fn object(path: &Path, bytes: Option<&[u8]>) -> Result<Map<String, Value>, TokenizerError> {
    let Some(bytes) = bytes else { return Ok(Map::new()) };
    serde_json::from_slice(text::without_mark(bytes)).map_err(|error| TokenizerError::Damaged {
        path: path.into(),
        reason: format!("expected a JSON object, but {error}"),
    })
}
