//! `--chat`: a prompt as turns, through the model's own chat template.

use crate::args::ChatArgs;
use crate::failure::{Code, Failure};
use crate::say::say;
use circuit_model::chat::{ChatError, ChatOptions, ChatValue, LastTurn, Turns};
use circuit_model::tokenizer::{Prompt, Tokenizer};
use std::fmt::Write;

/// The tokens of a prompt as it is typed. Those of a chat are printed, since the template decides about most of them.
pub(crate) fn prompt(text: &str, args: &ChatArgs, tokenizer: &Tokenizer) -> Result<Prompt, Failure> {
    if !args.chat {
        return tokenizer.encode_prompt(text).map_err(Failure::text);
    }
    let turns = Turns::of_prompt(text)?;
    let text = tokenizer.chat_template()?.render(&turns, &options(args))?;
    let prompt = tokenizer.encode_prompt(&text).map_err(Failure::text)?;
    let mut line = String::from("chat:");
    for (p, token) in prompt.token_strings.iter().enumerate() {
        let _ = write!(line, " {p}:\"{}\"", token.escape_debug());
    }
    say(line);
    Ok(prompt)
}

fn options(args: &ChatArgs) -> ChatOptions {
    ChatOptions {
        names: args.chat_options.clone(),
        date: args.chat_date,
        template: args.chat_template.clone(),
        last_turn: if args.continue_last { LastTurn::GoesOn } else { LastTurn::Complete },
    }
}

/// `NAME=VALUE`. The value is JSON if it can be read as JSON, and otherwise a text.
pub(crate) fn parse_option(text: &str) -> Result<(String, ChatValue), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = value.parse().unwrap_or_else(|_| value.into());
    Ok((name.into(), value))
}

impl From<ChatError> for Failure {
    fn from(error: ChatError) -> Self {
        let code = match error {
            ChatError::Template { .. } | ChatError::NoDate { .. } | ChatError::Turns { .. } => Code::Prompt,
            ChatError::Conflict | ChatError::NoSuchTemplate { .. } | ChatError::BadDate { .. } => Code::Usage,
            _ => Code::Input,
        };
        let failure = Self::new(code, error.to_string());
        match error {
            ChatError::NoDate { .. } => failure.hint("--chat-date YYYY-MM-DD gives it"),
            ChatError::NoSuchTemplate { .. } => failure.hint("--chat-template NAME chooses one"),
            ChatError::Conflict => failure.hint("leave out one of --continue and add_generation_prompt"),
            ChatError::NoTemplate { .. } => {
                failure.hint("a base model has none: give the whole text with --prompt")
            }
            _ => failure,
        }
    }
}
