//! `--chat`: a prompt as turns, through the model's own chat template.

use crate::args::ChatArgs;
use crate::failure::{Code, Failure};
use crate::say::say;
use circuit_model::chat::{ChatError, ChatOptions, Turns};
use circuit_model::tokenizer::{Prompt, Tokenizer};
use serde_json::Value;
use std::fmt::Write;

/// The tokens of a prompt as it is typed; those of a chat are told, since the template decides about most of them.
pub(crate) fn prompt(text: &str, args: &ChatArgs, tokenizer: &Tokenizer) -> Result<Prompt, Failure> {
    if !args.chat {
        return tokenizer.encode_prompt(text).map_err(Failure::text);
    }
    let turns = Turns::of_prompt(text)?;
    let options = ChatOptions { names: args.chat_options.iter().cloned().collect(), today: args.chat_date };
    let text = tokenizer.chat_template()?.render(&turns, &options)?;
    let prompt = tokenizer.encode_prompt(&text).map_err(Failure::text)?;
    let mut line = String::from("chat:");
    for (p, token) in prompt.token_strings.iter().enumerate() {
        let _ = write!(line, " {p}:\"{}\"", token.escape_debug());
    }
    say(line);
    Ok(prompt)
}

/// `NAME=VALUE`, the value being JSON where it is that, and else a text.
pub(crate) fn parse_option(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.into(), value))
}

impl From<ChatError> for Failure {
    fn from(error: ChatError) -> Self {
        let code = match error {
            ChatError::Template { .. } | ChatError::Turns { .. } => Code::Prompt,
            _ => Code::Input,
        };
        let failure = Self::new(code, error.to_string());
        match error {
            ChatError::Template { reason, .. } if reason.contains("today's date") => {
                failure.hint("--chat-date YYYY-MM-DD gives it")
            }
            ChatError::NoTemplate { .. } => {
                failure.hint("a base model has none: give the whole text with --prompt")
            }
            _ => failure,
        }
    }
}
