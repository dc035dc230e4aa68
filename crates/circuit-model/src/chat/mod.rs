//! Chat templates: turns of a chat, as the text that a model was trained on.
//!
//! A model folder brings its template along, in the language of Jinja as Hugging Face's transformers speak it. What comes out
//! is text: the tokenizer turns it into tokens like any other prompt, so a template's own special token at the start is not
//! doubled. A template is input like any other file: it runs with bounded fuel and sees the turns, the special tokens and
//! what the caller passes, and nothing of this machine, neither files nor the clock: a prompt is the same tomorrow.

mod day;
mod engine;
mod filters;
mod folder;
mod json;
mod methods;
mod open;
mod source;
mod turns;
mod values;

use crate::tokenizer::SpecialToken;
pub use day::ChatDate;
use engine::Why;
use folder::Templates;
use minijinja::value::Value;
use std::io;
use std::path::{Path, PathBuf};
pub use turns::{ChatValue, Turns};

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
    /// A file holds no template where one should be.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The model has no template. Base models mostly have none.
    #[error("{}: no chat template: {}", dir.display(), folder::places())]
    NoTemplate {
        /// The model folder.
        dir: PathBuf,
    },
    /// The model has several templates, but none of the wanted name.
    #[error("{}: no chat template `{wanted}`; there are: {}", path.display(), names.join(", "))]
    NoSuchTemplate {
        /// The file or folder with the templates.
        path: PathBuf,
        /// The name that was asked for.
        wanted: String,
        /// The names that there are.
        names: Vec<String>,
    },
    /// The template is damaged, or it refused the chat.
    #[error("{}: the chat template {reason}{}", path.display(), on(*line))]
    Template {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// The line of the template.
        line: Option<usize>,
    },
    /// The template asks for today's date, and none was given.
    #[error("{}: the chat template asks for today's date, which it must be given{}", path.display(), on(*line))]
    NoDate {
        /// The file.
        path: PathBuf,
        /// The line of the template.
        line: Option<usize>,
    },
    /// The given date is no date.
    #[error("`{text}` is not a date, expected YYYY-MM-DD or YYYY-MM-DDTHH:MM[:SS]")]
    BadDate {
        /// What was given.
        text: String,
    },
    /// The turns cannot be used.
    #[error("the chat: {reason}")]
    Turns {
        /// What is wrong with them.
        reason: String,
    },
    /// The last turn was to be left open, but a prompt for an answer was asked for as well.
    #[error("a chat whose last turn goes on cannot have `add_generation_prompt` as well")]
    Conflict,
}

impl ChatError {
    fn turns(reason: String) -> Self {
        Self::Turns { reason }
    }
}

fn on(line: Option<usize>) -> String {
    line.map(|line| format!(" (line {line})")).unwrap_or_default()
}

/// How a chat ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastTurn {
    /// All turns are complete. Then comes what the template puts in front of an answer.
    #[default]
    Complete,
    /// The last turn is the beginning of the model's answer, which goes on right behind its text.
    GoesOn,
}

/// What a template is given besides the turns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatOptions {
    /// Further names, such as `enable_thinking`, with their values. Which ones have an effect depends on the template.
    pub names: Vec<(String, ChatValue)>,
    /// The date for templates that ask for today's.
    pub date: Option<ChatDate>,
    /// The name of the template, where a model has several. Without it, `tool_use` is taken if there are tools, and
    /// otherwise `default`.
    pub template: Option<String>,
    /// How the chat ends.
    pub last_turn: LastTurn,
}

impl ChatOptions {
    fn find(&self, name: &str) -> Option<&ChatValue> {
        self.names.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value)
    }
}

/// The chat templates of a model folder.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatTemplate {
    templates: Templates,
    /// Special tokens under the names that templates know them by.
    special: Vec<(String, ChatValue)>,
}

/// The name under which a template finds the turns.
const MESSAGES: &str = "messages";
/// The name that asks a template for what stands in front of an answer.
const GENERATION_PROMPT: &str = "add_generation_prompt";
const TOOLS: &str = "tools";

impl ChatTemplate {
    /// Finds the templates of a folder whose tokenizer names these special tokens.
    pub(crate) fn open(dir: &Path, special: &[SpecialToken]) -> Result<Self, ChatError> {
        Ok(Self { templates: Templates::open(dir)?, special: folder::names(special) })
    }

    /// The file of the templates, or the folder if each has a file of its own.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.templates.path()
    }

    /// The text of a chat, up to where the model would answer, or go on with its answer.
    ///
    /// # Errors
    /// If there is no template of the wanted name, if the template is damaged, refuses the chat or does not come to an end,
    /// or if the last turn cannot be left open.
    pub fn render(&self, turns: &Turns, options: &ChatOptions) -> Result<String, ChatError> {
        let tools = options.find(TOOLS).is_some_and(|tools| *tools != ChatValue::None);
        let (path, source) = self.templates.choose(options.template.as_deref(), tools)?;
        let text = |turns: &Turns, prompt: bool| {
            let context = self.context(turns, options, prompt);
            engine::render(source, context, options.date).map_err(|refusal| match refusal.why {
                Why::NoDate => ChatError::NoDate { path: path.into(), line: refusal.line },
                Why::Other(reason) => ChatError::Template { path: path.into(), reason, line: refusal.line },
            })
        };
        match options.last_turn {
            LastTurn::Complete => text(turns, true),
            LastTurn::GoesOn
                if options.find(GENERATION_PROMPT).is_some_and(|asked| asked.value().is_true()) =>
            {
                Err(ChatError::Conflict)
            }
            LastTurn::GoesOn => open::render(turns, text),
        }
    }

    /// All that a template can name.
    fn context(&self, turns: &Turns, options: &ChatOptions, prompt: bool) -> Value {
        let special = self.special.iter();
        let mut context: Vec<_> = special.map(|(name, value)| (name.clone(), value.value())).collect();
        context.push((GENERATION_PROMPT.into(), prompt.into()));
        context.push((TOOLS.into(), ().into()));
        context.push(("documents".into(), ().into()));
        context.extend(options.names.iter().map(|(name, value)| (name.clone(), value.value())));
        context.push((MESSAGES.into(), turns.messages()));
        Value::from_pairs(context)
    }
}
