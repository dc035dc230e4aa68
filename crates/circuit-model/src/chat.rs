//! Chat templates: turns of a chat, as the text that a model was trained on.
//!
//! A model folder brings its template along, in the language of Jinja as Hugging Face's transformers speak it; this is that
//! language, and the names it knows. What comes out is text: the tokenizer turns it into tokens like any other prompt, so a
//! template's own special token at the start is not doubled. A template is input like any other file: it runs with bounded fuel and
//! sees the turns, the special tokens and what the caller passes, and nothing of this machine, neither files nor the clock: a prompt
//! is the same tomorrow.

use crate::tokenizer::{SpecialRole, SpecialToken};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value as JinjaValue};
use minijinja::{Environment, Error, ErrorKind};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use time::format_description;

/// Where templates stand, the first that has one being taken: a file of its own, a key of the tokenizer's config, a file of older
/// folders whose model also sees.
const TEMPLATE_FILE: &str = "chat_template.jinja";
const TEMPLATE_CONFIGS: [&str; 2] = ["tokenizer_config.json", "chat_template.json"];
const TEMPLATE_KEY: &str = "chat_template";

/// What a template may do, in steps (a step also pays for 64 bytes): a long chat takes some ten thousand.
const FUEL: u64 = 5_000_000;

/// Why a chat could not become a text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// A file of the model folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file that holds no template where one should be.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A model without a template: a base model, mostly.
    #[error(
        "{}: no chat template: neither {TEMPLATE_FILE}, nor `{TEMPLATE_KEY}` in {} or {}",
        dir.display(), TEMPLATE_CONFIGS[0], TEMPLATE_CONFIGS[1]
    )]
    NoTemplate {
        /// The model folder.
        dir: PathBuf,
    },
    /// A template that is none, or that gave up.
    #[error("{}: the chat template {reason}", path.display())]
    Template {
        /// The file.
        path: PathBuf,
        /// What is wrong, and on which line.
        reason: String,
    },
    /// Turns that are none.
    #[error("the chat: {reason}")]
    Turns {
        /// What is wrong with them.
        reason: String,
    },
}

/// The turns of a chat.
#[derive(Clone, Debug, PartialEq)]
pub struct Turns(Vec<Value>);

impl Turns {
    /// One turn of the user.
    #[must_use]
    pub fn user(text: &str) -> Self {
        Self(vec![json!({"role": "user", "content": text})])
    }

    /// A prompt as it is typed: a JSON list of turns, which begins with `[{`, or else the words of the user.
    ///
    /// # Errors
    /// If it begins like a list of turns and is none, or a turn has no role or no content.
    pub fn of_prompt(prompt: &str) -> Result<Self, ChatError> {
        let listed =
            prompt.trim_start().strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with('{'));
        if !listed {
            return Ok(Self::user(prompt));
        }
        let bad = |reason: String| ChatError::Turns { reason };
        let turns: Vec<Map<String, Value>> =
            serde_json::from_str(prompt).map_err(|e| bad(format!("no JSON list of turns: {e}")))?;
        for (nth, turn) in turns.iter().enumerate() {
            let is = |key: &str, fits: fn(&Value) -> bool| turn.get(key).is_some_and(fits);
            if !is("role", Value::is_string) {
                return Err(bad(format!("turn {nth} has no text `role`")));
            }
            // Content may come in parts; a turn that only calls tools has none, and says so.
            if !is("content", |v| v.is_string() || v.is_array() || v.is_null()) {
                return Err(bad(format!("turn {nth} has no `content`, a text or a list of parts")));
            }
        }
        // Templates ask whether a key is there; as in transformers, null is as good as no key.
        let with_values = |turn: Map<String, Value>| {
            Value::Object(turn.into_iter().filter(|(_, value)| !value.is_null()).collect())
        };
        Ok(Self(turns.into_iter().map(with_values).collect()))
    }
}

/// What a template is told besides the turns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatOptions {
    /// Further names, such as `enable_thinking`; which there are is the template's own affair.
    pub names: Map<String, Value>,
    /// The day for templates that ask for today's.
    pub today: Option<Day>,
}

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(time::Date);

impl FromStr for Day {
    type Err = ChatError;

    /// From `2026-01-31`.
    fn from_str(text: &str) -> Result<Self, ChatError> {
        let bad = || ChatError::Turns { reason: format!("`{text}` is no day, expected YYYY-MM-DD") };
        let format = format_description::parse_borrowed::<2>("[year]-[month]-[day]").map_err(|_| bad())?;
        time::Date::parse(text, &format).map(Self).map_err(|_| bad())
    }
}

impl Day {
    /// The day at midnight in one of Python's formats, such as `%d %b %Y`.
    fn written(self, format: &str) -> Result<String, Error> {
        let bad = |e: &dyn std::fmt::Display| {
            Error::new(ErrorKind::InvalidOperation, format!("strftime_now({format:?}): {e}"))
        };
        let items = format_description::parse_strftime_borrowed(format).map_err(|e| bad(&e))?;
        self.0.midnight().format(&items).map_err(|e| bad(&e))
    }
}

/// The chat template of a model folder.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatTemplate {
    /// The file it stands in.
    path: PathBuf,
    source: String,
    /// Special tokens under the names that templates know them by.
    special: Map<String, Value>,
}

impl ChatTemplate {
    /// Finds the template of a folder whose tokenizer names these special tokens.
    pub(crate) fn open(dir: &Path, special: &[SpecialToken]) -> Result<Self, ChatError> {
        let found = |path, source| Ok(Self { path, source, special: names(special) });
        if let Some((path, bytes)) = read(dir, TEMPLATE_FILE)? {
            let source = String::from_utf8(bytes);
            let source =
                source.map_err(|e| ChatError::Damaged { path: path.clone(), reason: e.to_string() })?;
            return found(path, source);
        }
        for name in TEMPLATE_CONFIGS {
            let Some((path, bytes)) = read(dir, name)? else { continue };
            let bad = |reason: String| ChatError::Damaged { path: path.clone(), reason };
            let config: Map<String, Value> =
                serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
            let source = match config.get(TEMPLATE_KEY) {
                None | Some(Value::Null) => continue,
                Some(Value::String(source)) => source.clone(),
                Some(Value::Array(several)) => the_default(several).map_err(bad)?,
                Some(_) => return Err(bad(format!("`{TEMPLATE_KEY}` is neither a text nor a list"))),
            };
            return found(path, source);
        }
        Err(ChatError::NoTemplate { dir: dir.into() })
    }

    /// The file it stands in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of a chat, up to where the model would answer.
    ///
    /// # Errors
    /// If the template is none, refuses the chat, or does not come to an end.
    pub fn render(&self, turns: &Turns, options: &ChatOptions) -> Result<String, ChatError> {
        let failed = |error: Error| ChatError::Template { path: self.path.clone(), reason: reason(&error) };
        let mut environment = environment();
        if let Some(day) = options.today {
            environment.add_function("strftime_now", move |format: String| day.written(&format));
        }
        let source = plain_blocks(&self.source);
        let template = environment.template_from_str(&source).map_err(failed)?;
        let mut context = self.special.clone();
        context.insert("add_generation_prompt".into(), true.into());
        context.insert("tools".into(), Value::Null);
        context.insert("documents".into(), Value::Null);
        context.extend(options.names.clone());
        context.insert("messages".into(), Value::Array(turns.0.clone()));
        template.render(Serde(&context)).map_err(failed)
    }
}

/// The language as transformers speak it: blocks take their line with them, Python's methods, JSON as Python writes it. Not there
/// unless a day is given: `strftime_now`, the clock. Most templates that look for it know a date without it.
fn environment<'a>() -> Environment<'a> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the usual delimiters differ"));
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |message: String| -> Result<JinjaValue, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment
}

/// A template whose `{% generation %}` blocks, by which training marks the model's own words, are blocks without effect.
fn plain_blocks(source: &str) -> Cow<'_, str> {
    if !source.contains("generation") {
        return source.into();
    }
    let (mut plain, mut rest) = (String::with_capacity(source.len()), source);
    while let Some((before, tag)) = rest.split_once("{%") {
        let Some((inside, after)) = tag.split_once("%}") else { break };
        let signs: &[char] = &['-', '+'];
        let other = match inside.trim_matches(signs).trim() {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => "",
        };
        let name = inside.trim_matches(signs).trim();
        let inside = if other.is_empty() { inside.to_owned() } else { inside.replace(name, other) };
        plain.extend([before, "{%", &inside, "%}"]);
        rest = after;
    }
    (plain + rest).into()
}

/// A file of a folder, if it is there.
fn read(dir: &Path, name: &str) -> Result<Option<(PathBuf, Vec<u8>)>, ChatError> {
    let path = dir.join(name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some((path, bytes))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ChatError::Read { path, source }),
    }
}

/// Of several named templates the one called `default`.
fn the_default(several: &[Value]) -> Result<String, String> {
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let named = several.iter().map(|entry| Some((text(entry, "name")?, text(entry, "template")?)));
    let named: Vec<_> = named
        .collect::<Option<_>>()
        .ok_or_else(|| format!("`{TEMPLATE_KEY}` holds something without `name` and `template`"))?;
    let default = named.iter().find(|(name, _)| name == "default").map(|(_, template)| template.clone());
    let names = || named.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    default.ok_or_else(|| format!("`{TEMPLATE_KEY}` names no template `default`; it has {}", names()))
}

/// Special tokens by the names that templates know.
fn names(special: &[SpecialToken]) -> Map<String, Value> {
    let of = |role| special.iter().filter(move |token| token.role == role).map(|token| token.text.clone());
    let single = SpecialRole::SINGLE_KEYS.iter();
    let single = single.filter_map(|&(key, role)| Some((key.to_owned(), of(role).next()?.into())));
    let many: Vec<Value> = of(SpecialRole::Additional).map(Value::from).collect();
    single.chain((!many.is_empty()).then(|| ("additional_special_tokens".to_owned(), many.into()))).collect()
}

/// `tojson`, with the spaces of Python and without escapes for web pages.
fn to_json(value: &JinjaValue, indent: Option<usize>, options: Kwargs) -> Result<String, Error> {
    let indent = indent.map_or_else(|| options.get("indent"), |n| Ok(Some(n)))?;
    for ignored in ["ensure_ascii", "separators", "sort_keys"] {
        if options.has(ignored) {
            let reason = format!("`{ignored}` of tojson is not supported");
            return Err(Error::new(ErrorKind::InvalidOperation, reason));
        }
    }
    options.assert_all_used()?;
    let failed = |e: serde_json::Error| Error::new(ErrorKind::BadSerialization, e.to_string());
    let mut bytes = Vec::new();
    match indent {
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            value
                .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
                .map_err(failed)?;
        }
        None => {
            value
                .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Spaced))
                .map_err(failed)?;
        }
    }
    String::from_utf8(bytes).map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))
}

/// A space behind each comma and colon.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

/// What went wrong, for a reader: the template's own words where it refused.
fn reason(error: &Error) -> String {
    let what = match error.kind() {
        ErrorKind::UnknownFunction if error.detail().is_some_and(|d| d.contains("strftime_now")) => {
            "asks for today's date, which it must be given".to_owned()
        }
        ErrorKind::OutOfFuel => "does not come to an end".to_owned(),
        ErrorKind::InvalidOperation => match error.detail() {
            Some(detail) => format!("refuses: {detail}"),
            None => error.kind().to_string(),
        },
        kind => match error.detail() {
            Some(detail) => format!("fails: {kind}: {detail}"),
            None => format!("fails: {kind}"),
        },
    };
    error.line().map_or_else(|| what.clone(), |line| format!("{what} (line {line})"))
}
