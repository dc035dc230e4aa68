//! The turns of a chat, and other values for a template, read from JSON.
//!
//! JSON is read here as Python reads it: an integer keeps all its digits. What a template does with the values is not here.

use super::ChatError;
use super::values::Dict;
use minijinja::value::Value;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::str::FromStr;

/// A value that a chat template can be given. [`str::parse`] reads one from JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatValue {
    /// Null, which is `none` for a template.
    None,
    /// True or false.
    Truth(bool),
    /// A number without a point.
    Integer(i128),
    /// A number with a point or an exponent.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// A dictionary in its order. Of two entries of one name the later value counts.
    Dictionary(Vec<(String, Self)>),
}

impl ChatValue {
    /// The value as the engine knows it.
    pub(super) fn value(&self) -> Value {
        match self {
            Self::None => ().into(),
            Self::Truth(truth) => (*truth).into(),
            // Small numbers are compared and printed faster.
            Self::Integer(number) => i64::try_from(*number).map_or_else(|_| (*number).into(), Value::from),
            Self::Float(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
            Self::List(items) => items.iter().map(Self::value).collect(),
            Self::Dictionary(entries) => dictionary(entries),
        }
    }
}

fn dictionary(entries: &[(String, ChatValue)]) -> Value {
    Dict::of(entries.iter().map(|(name, value)| (name.clone(), value.value())).collect())
}

impl From<&str> for ChatValue {
    /// A text.
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl FromStr for ChatValue {
    type Err = ChatError;

    /// From JSON.
    fn from_str(json: &str) -> Result<Self, ChatError> {
        let bad = |e| ChatError::turns(format!("a value is not JSON: {}", syntax(&e)));
        let raw: &RawValue = serde_json::from_str(json).map_err(bad)?;
        read(raw, 0).map_err(|reason| ChatError::turns(format!("a value {reason}")))
    }
}

/// The turns of a chat.
#[derive(Clone, Debug, PartialEq)]
pub struct Turns(pub(super) Vec<Turn>);

/// One turn: what it says of itself, in the order of the file.
pub(super) type Turn = Vec<(String, ChatValue)>;

/// The key of a turn's speaker.
pub(super) const ROLE: &str = "role";
/// The key of a turn's text.
pub(super) const CONTENT: &str = "content";

/// The key of a turn that calls tools.
const CALLS: &str = "tool_calls";
const NULL: &str = "null";

impl Turns {
    /// One turn of the user.
    #[must_use]
    pub fn user(text: &str) -> Self {
        Self(vec![vec![(ROLE.into(), "user".into()), (CONTENT.into(), text.into())]])
    }

    /// Reads a prompt: a JSON list of turns if it begins with `[{`, and otherwise the words of the user.
    ///
    /// # Errors
    /// If it begins like a list of turns but is not one, or if a turn has no role, or has neither content nor anything else.
    pub fn of_prompt(prompt: &str) -> Result<Self, ChatError> {
        let listed =
            prompt.trim_start().strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with('{'));
        if !listed {
            return Ok(Self::user(prompt));
        }
        let turns: Vec<&RawValue> = serde_json::from_str(prompt)
            .map_err(|e| ChatError::turns(format!("not a JSON list of turns: {}", syntax(&e))))?;
        turns.into_iter().enumerate().map(|(nth, raw)| turn(nth, raw)).collect::<Result<_, _>>().map(Self)
    }

    /// The messages as a template sees them.
    pub(super) fn messages(&self) -> Value {
        self.0.iter().map(|turn| dictionary(turn)).collect()
    }
}

/// One turn. A key with null is as good as no key, as in transformers 5. But a turn that calls tools keeps a content of null, which
/// templates made for transformers 4 ask for (`message.content is none`).
fn turn(nth: usize, raw: &RawValue) -> Result<Turn, ChatError> {
    let bad = |reason: String| ChatError::turns(format!("turn {nth} {reason}"));
    let Ok(Entries(entries)) = serde_json::from_str(raw.get()) else {
        return Err(bad(format!("is {}, expected an object with `{ROLE}` and `{CONTENT}`", kind(raw))));
    };
    let find = |key: &str| entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value);
    match find(ROLE) {
        Some(role) if role.get().starts_with('"') => {}
        Some(role) => return Err(bad(format!("has {} as `{ROLE}`, expected a text", kind(role)))),
        None => return Err(bad(format!("has no `{ROLE}`, expected a text such as \"user\""))),
    }
    match find(CONTENT).map(|content| (content, content.get().as_bytes().first())) {
        // A turn that calls tools may have null as its content, or none.
        Some((_, Some(b'"' | b'[' | b'{' | b'n'))) => {}
        Some((content, _)) => {
            let found = kind(content);
            return Err(bad(format!("has {found} as `{CONTENT}`, expected a text, a list of parts or null")));
        }
        None if entries.len() > 1 => {}
        None => return Err(bad(format!("has no `{CONTENT}`, expected a text or a list of parts"))),
    }
    let calls = find(CALLS).is_some_and(|calls| calls.get() != NULL);
    let stays = |name: &str, value: &RawValue| value.get() != NULL || (name == CONTENT && calls);
    entries
        .into_iter()
        .filter(|(name, value)| stays(name, value))
        .map(|(name, value)| read(value, 0).map(|value| (name, value)))
        .collect::<Result<_, _>>()
        .map_err(bad)
}

/// What a JSON value is, for a message.
fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'"') => "a text",
        Some(b'[') => "a list",
        Some(b'{') => "an object",
        Some(b't' | b'f') => "a truth value",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// A syntax error of JSON with its place.
fn syntax(error: &serde_json::Error) -> String {
    error.to_string()
}

/// A value of JSON as a template sees it.
fn read(raw: &RawValue, depth: usize) -> Result<ChatValue, String> {
    const DEEPEST: usize = 100;
    if depth > DEEPEST {
        return Err(format!("is nested more than {DEEPEST} levels deep"));
    }
    let text = raw.get();
    // The text is valid JSON: whoever made the `RawValue` looked.
    let failed = |e: serde_json::Error| syntax(&e);
    Ok(match text.as_bytes().first() {
        Some(b'{') => {
            let Entries(entries) = serde_json::from_str(text).map_err(failed)?;
            let entries = entries.into_iter().map(|(name, value)| Ok((name, read(value, depth + 1)?)));
            ChatValue::Dictionary(entries.collect::<Result<_, String>>()?)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(failed)?;
            ChatValue::List(items.into_iter().map(|item| read(item, depth + 1)).collect::<Result<_, _>>()?)
        }
        Some(b'"') => ChatValue::Text(serde_json::from_str(text).map_err(failed)?),
        Some(b't') => ChatValue::Truth(true),
        Some(b'f') => ChatValue::Truth(false),
        Some(b'n') => ChatValue::None,
        _ => number(text)?,
    })
}

/// A number: without point and exponent an integer, as in Python.
fn number(text: &str) -> Result<ChatValue, String> {
    if text.contains(['.', 'e', 'E']) {
        return text.parse().map(ChatValue::Float).map_err(|e| format!("has the number {text}: {e}"));
    }
    text.parse()
        .map(ChatValue::Integer)
        .map_err(|_| format!("has the integer {text}, expected one of at most 38 digits"))
}

/// The entries of a JSON object in their order.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}
