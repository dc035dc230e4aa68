//! Opening a model and its transcoders, and reading a prompt.
//!
//! `attribute` opens by its plan, since it knows beforehand whether it all fits; the rest of this it uses too.

use crate::args::{Dtype, ModelArgs, ProductsArg, PromptArgs};
use crate::chat;
use crate::failure::{Code, Failure};
use crate::hub::Finder;
use crate::say::say_notices;
use circuit_index::TokenId;
use circuit_intervention::Interventions;
use circuit_model::tokenizer::{Prompt, Tokenizer};
use circuit_model::{Model, chat_prefix_notice};
use circuit_replacement::LocalReplacement;
use circuit_torch::runtime;
use circuit_transcoder::TranscoderSet;
use std::path::{Path, PathBuf};
use tch::{Device, Kind};

/// A model, its transcoders and its tokenizer.
pub(crate) struct Opened {
    pub(crate) model: Model,
    pub(crate) set: TranscoderSet,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) model_folder: PathBuf,
    ignored: usize,
}

impl Opened {
    pub(crate) fn new(args: &ModelArgs) -> Result<Self, Failure> {
        let (found, set) = Finder::new(args.offline).pair(args.model.as_deref(), &args.transcoder_set)?;
        let (model_folder, transcoders) = (found.folder.clone(), set.folder);
        set_threads(args.threads)?;
        let device = device(args.device.as_deref())?;
        let tokenizer = Tokenizer::open(&model_folder).map_err(Failure::tokenizer)?;
        let model = Model::open(&model_folder, kind(args.dtype), device)?;
        let (n_layers, d_model) = (model.spec().n_layers(), model.spec().d_model);
        let set = TranscoderSet::open(&transcoders, n_layers, d_model, model.wide_kind(), device)?;
        let ignored = args.ignored_positions.or(found.ignored_positions());
        let ignored = ignored.unwrap_or(model.spec().ignored_positions);
        Ok(Self { model, set, tokenizer, model_folder, ignored })
    }

    /// Says what is worth knowing about a prompt before it is run.
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

/// The prompt of the arguments.
pub(crate) fn prompt(args: &PromptArgs, tokenizer: &Tokenizer) -> Result<Prompt, Failure> {
    let text = match (&args.prompt, &args.prompt_ids, &args.prompt_file) {
        (_, Some(ids), _) => {
            let ids: Vec<_> = ids.iter().map(|&id| TokenId(id)).collect();
            return tokenizer.prompt_from_ids(&ids).map_err(Failure::text);
        }
        (Some(text), _, _) => text.clone(),
        (_, _, Some(path)) => text_of(path)?,
        _ => return Err(no_prompt()),
    };
    chat::prompt(&text, &args.chat, tokenizer)
}

pub(crate) fn no_prompt() -> Failure {
    Failure::usage("no prompt: give one of --prompt, --prompt-ids, --prompt-file")
}

fn text_of(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| Failure::new(Code::Prompt, format!("{}: {e}", path.display())))
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
