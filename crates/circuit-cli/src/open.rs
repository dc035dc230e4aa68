//! Opening a model and its transcoders, and reading a prompt.
//!
//! `attribute` opens by its plan, since it knows beforehand whether it all fits; the rest of this it uses too.

use crate::args::{Dtype, ModelArgs, ProductsArg, PromptArgs};
use crate::chat;
use crate::failure::{Code, Failure};
use crate::hub::Finder;
use crate::say::say_notices;
use circuit_index::{Notice, TokenId};
use circuit_intervention::Interventions;
use circuit_model::text::{self, Text};
use circuit_model::tokenizer::{FirstToken, Prompt, Tokenizer};
use circuit_model::{Model, chat_prefix_notice};
use circuit_replacement::LocalReplacement;
use circuit_torch::runtime;
use circuit_transcoder::TranscoderSet;
use serde_json::Value;
use std::path::Path;
use tch::{Device, Kind};

/// A model, its transcoders and its tokenizer.
pub(crate) struct Opened {
    pub(crate) model: Model,
    pub(crate) set: TranscoderSet,
    pub(crate) tokenizer: Tokenizer,
    ignored: usize,
}

impl Opened {
    pub(crate) fn new(args: &ModelArgs) -> Result<Self, Failure> {
        let finder = Finder::new(args.offline).strict(args.strict_config);
        let (found, set) = finder.pair(args.model.as_deref(), &args.transcoder_set)?;
        let (model_folder, transcoders) = (found.folder.clone(), set.folder);
        set_threads(args.threads)?;
        let device = device(args.device.as_deref())?;
        let tokenizer = tokenizer(&model_folder, args.first_token.as_ref())?;
        let model = Model::open(&model_folder, kind(args.dtype), device)?;
        say_notices(model.notices());
        let (n_layers, d_model) = (model.spec().n_layers(), model.spec().d_model);
        let set = TranscoderSet::open(&transcoders, n_layers, d_model, model.wide_kind(), device)?;
        say_notices(set.notices());
        let ignored = args.ignored_positions.or(found.ignored_positions());
        let ignored = ignored.unwrap_or(model.spec().ignored_positions);
        Ok(Self { model, set, tokenizer, ignored })
    }

    /// Prints the notices about a prompt before it is run.
    pub(crate) fn note(&self, tokens: &[TokenId]) {
        say_notices(&chat_prefix_notice(self.model.spec(), self.ignored, tokens));
    }

    /// The model with features that can be edited.
    pub(crate) fn interventions(&self) -> Result<Interventions<'_>, Failure> {
        Ok(Interventions::new(&self.model, &self.set, self.ignored)?)
    }

    /// The model and its transcoders on a prompt.
    pub(crate) fn on(&self, tokens: &[TokenId]) -> Result<LocalReplacement<'_>, Failure> {
        self.note(tokens);
        Ok(LocalReplacement::new(&self.model, &self.set, tokens, self.ignored)?)
    }
}

/// The tokenizer of a model folder with the token that was chosen to stand in front of prompts; prints what was noticed.
pub(crate) fn tokenizer(folder: &Path, first: Option<&FirstToken>) -> Result<Tokenizer, Failure> {
    let tokenizer = Tokenizer::open(folder).map_err(Failure::tokenizer)?;
    say_notices(tokenizer.notices());
    match first {
        Some(choice) => tokenizer.with_first_token(choice).map_err(Failure::tokenizer),
        None => Ok(tokenizer),
    }
}

/// The prompt of the arguments; prints what is unusual about it.
pub(crate) fn prompt(args: &PromptArgs, tokenizer: &Tokenizer) -> Result<Prompt, Failure> {
    let prompt = match (&args.prompt, &args.prompt_ids, &args.prompt_file) {
        (_, Some(ids), _) => {
            let ids: Vec<_> = ids.iter().map(|&id| TokenId(id)).collect();
            tokenizer.prompt_from_ids(&ids).map_err(Failure::text)?
        }
        (Some(text), _, _) => {
            say_notices(text::unusual_characters("--prompt", text).as_ref());
            prompt_of_text(text, args, tokenizer)?
        }
        (_, _, Some(path)) => {
            let Text { text, notices } = text::read_prompt(path)?;
            say_notices(&notices);
            if text.is_empty() {
                let holds = if notices.is_empty() { "is empty" } else { "holds nothing but a line end" };
                let message = format!("{}: the file {holds}, expected a prompt", path.display());
                return Err(Failure::new(Code::Prompt, message));
            }
            prompt_of_text(&text, args, tokenizer)?
        }
        _ => return Err(no_prompt()),
    };
    say_notices(&prompt.notices);
    Ok(prompt)
}

pub(crate) fn no_prompt() -> Failure {
    Failure::usage("no prompt: give one of --prompt, --prompt-ids, --prompt-file")
}

/// A prompt from text, through the chat template if `--chat` asks for it.
fn prompt_of_text(text: &str, args: &PromptArgs, tokenizer: &Tokenizer) -> Result<Prompt, Failure> {
    if args.chat.chat
        && let Some(token) = typed_special(text, tokenizer)
    {
        say_notices([&Notice::warning(format!(
            "a text given to --chat begins with the special token {token:?}, and the chat template puts its own there: text that \
             went through the template before is to be given without --chat"
        ))]);
    }
    chat::prompt(text, &args.chat, tokenizer)
}

/// The special token that a turn of a chat begins with: the user's words, or the content of one of a list of turns.
fn typed_special(text: &str, tokenizer: &Tokenizer) -> Option<String> {
    let turns: Vec<serde_json::Map<String, Value>> = serde_json::from_str(text).unwrap_or_default();
    let contents = turns.iter().filter_map(|turn| turn.get("content")?.as_str());
    match turns.is_empty() {
        true => tokenizer.leading_special(text),
        false => contents.filter_map(|content| tokenizer.leading_special(content)).next(),
    }
}

/// LibTorch's threads, and those of ranking and pruning.
pub(crate) fn set_threads(threads: Option<usize>) -> Result<(), Failure> {
    let Some(threads) = threads else { return Ok(()) };
    runtime::set_threads(threads).map_err(|e| Failure::usage(e.to_string()))?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.map_err(|e| Failure::usage(format!("--threads {threads}: {e}")))
}

/// The device of a name; the first GPU if there is one and none is named.
pub(crate) fn device(name: Option<&str>) -> Result<Device, Failure> {
    Ok(match name {
        Some(name) => runtime::parse_device(name)?,
        None if runtime::cuda_status().devices() > 0 => Device::Cuda(0),
        None => Device::Cpu,
    })
}

/// Refuses products that this device would take longer for, and less exactly.
pub(crate) fn check_products(products: ProductsArg, device: Device) -> Result<(), Failure> {
    if products == ProductsArg::Wide || device != Device::Cpu || runtime::has_bfloat16() {
        return Ok(());
    }
    let message = "--products bfloat16: this processor has no instructions for it, and would be slower";
    Err(Failure::new(Code::Device, message).hint("leave it out, or choose a GPU with --device"))
}

/// LibTorch's word for a type.
pub(crate) fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::Float32 => Kind::Float,
        Dtype::Bfloat16 => Kind::BFloat16,
        Dtype::Float16 => Kind::Half,
        Dtype::Float64 => Kind::Double,
    }
}
