//! `generate`: what the model writes after a prompt, with edits of features and without.

use crate::closer_args::GenerateArgs;
use crate::edit_args::{self, Target};
use crate::failure::Failure;
use crate::intervene::{note_outside, note_unchanged, place};
use crate::nodes::shown;
use crate::open::{self, Opened};
use crate::say::say_notices;
use circuit_index::{Notice, TokenId};
use circuit_intervention::{Freeze, GenerateConfig, Request};
use circuit_model::Sampling;
use circuit_model::tokenizer::{EndTokens, Tokenizer};
use serde_json::json;
use std::io::{IsTerminal, Write as _};
use std::num::NonZeroUsize;

pub(crate) fn run(args: GenerateArgs) -> Result<String, Failure> {
    if args.edit.edits.is_some() {
        return Err(Failure::usage("--edits holds whole interventions: they are `intervene`'s"));
    }
    let top_k =
        args.top_k.map(|k| NonZeroUsize::new(k).ok_or_else(|| Failure::usage("--top-k must be at least 1")));
    let sampling = Sampling {
        temperature: args.temperature,
        top_k: top_k.transpose()?,
        top_p: args.top_p,
        seed: args.seed,
    };
    let opened = Opened::new(&args.model)?;
    let prompt = open::prompt(&args.prompt, &opened.tokenizer)?;
    opened.note(&prompt.tokens);
    let edited = args.edit.any();
    let (edits, freeze) = match edited {
        true => {
            let n_layers = opened.model.spec().n_layers();
            let on = Target { n_pos: prompt.tokens.len(), n_layers, generates: true };
            let entry = edit_args::entries(&args.edit, on)?.remove(0);
            (entry.edits, entry.freeze)
        }
        false => (Vec::new(), Freeze::Nothing),
    };
    let stop = if args.ignore_eos { Vec::new() } else { end_tokens(&opened.tokenizer)? };
    let config = GenerateConfig { max_new_tokens: args.max_new_tokens, sampling, stop };
    let interventions = opened.interventions()?;
    let word = |token: TokenId| opened.tokenizer.decode_token(token).unwrap_or_else(|_| format!("<{token}>"));
    let mut stdout = std::io::stdout();
    let stream = !args.json && stdout.is_terminal();
    if stream {
        let _ = write!(stdout, "{}", prompt.text);
    }
    let request = Request { tokens: prompt.tokens.clone(), edits };
    let found = interventions.generate(&request, &freeze, &config, |token| {
        if stream {
            let _ = write!(stdout, "{}", word(token)).and_then(|()| stdout.flush());
        }
        true
    })?;
    note_outside("", &request.edits, &found.outcome);
    note_unchanged("", &request.edits, &found.outcome);
    let new = &found.tokens[found.n_prompt..];
    if args.json {
        let value = json!({
            "prompt": prompt.text,
            "unchanged": found.outcome.unchanged.iter().map(|&i| place(&request.edits[i])).collect::<Vec<_>>(),
            "tokens": found.tokens.iter().map(|t| t.0).collect::<Vec<_>>(),
            "new_tokens": new.iter().map(|&t| json!({"token_id": t.0, "token": word(t)})).collect::<Vec<_>>(),
        });
        return Ok(format!("{value}\n"));
    }
    if stream {
        return Ok("\n".into());
    }
    let words: Vec<_> = new.iter().map(|&token| shown(&word(token))).collect();
    Ok(format!("{}\n{}\n", shown(&prompt.text), words.join(" ")))
}

/// The tokens that end a sequence, with a note if no source names one.
pub(crate) fn end_tokens(tokenizer: &Tokenizer) -> Result<Vec<TokenId>, Failure> {
    let EndTokens { tokens, .. } = tokenizer.end_tokens().map_err(Failure::tokenizer)?;
    if tokens.is_empty() {
        say_notices([&Notice::note(
            "no token is known that ends a sequence: generation_config.json, config.json and the tokenizer name none, so that \
             only the number of tokens ends it",
        )]);
    }
    Ok(tokens)
}
