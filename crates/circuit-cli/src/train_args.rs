//! Arguments of `train`, `evaluate` and `feature-pages`. Nothing is looked up or checked here but form.

use crate::args::Dtype;
use circuit_model::tokenizer::FirstToken;
use clap::{Subcommand, ValueEnum};
use std::path::PathBuf;

/// What can be trained.
#[derive(Subcommand, Debug)]
pub(crate) enum TrainWhat {
    /// Transcoders of a model's MLPs, in the published layout. A run that was cut off goes on when it is started again.
    Transcoders(Box<TrainArgs>),
}

/// What can be judged.
#[derive(Subcommand, Debug)]
pub(crate) enum EvaluateWhat {
    /// A transcoder set: explained variance, L0, dead features, loss with MLPs replaced, replacement score.
    Transcoders(EvaluateArgs),
}

/// A model and a corpus.
#[derive(clap::Args, Debug)]
pub(crate) struct CorpusArgs {
    /// Model: a local folder with config.json, safetensors and tokenizer.json, or a name on the hub.
    #[arg(short, long)]
    pub(crate) model: String,
    /// Ask no server.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Refuse a model whose config.json has keys of unknown meaning, instead of ignoring them with a warning.
    #[arg(long, alias = "strict_config")]
    pub(crate) strict_config: bool,
    /// Text files in UTF-8, one document a line.
    #[arg(long, required = true, num_args = 1..)]
    pub(crate) corpus: Vec<PathBuf>,
    /// What is put in front of a document that does not begin with a special token: the text of a token, an id, or `none`.
    /// Unless given: the first special token of bos, eos and pad.
    #[arg(long, alias = "first_token", value_name = "TOKEN|ID|none", allow_hyphen_values = true)]
    pub(crate) first_token: Option<FirstToken>,
    /// Longest document, tokens; longer ones are cut into several.
    #[arg(long, default_value_t = 256)]
    pub(crate) window: usize,
    /// How many leading positions have no features; the model's description knows.
    #[arg(long, alias = "ignored_positions")]
    pub(crate) ignored_positions: Option<usize>,
    /// Type of the model's weights.
    #[arg(long, value_enum, default_value_t = Dtype::Float32)]
    pub(crate) dtype: Dtype,
    /// cpu, cuda or cuda:N; the first GPU if there is one.
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// Threads for products on the CPU; a resumed run is the same to the bit with the same number.
    #[arg(long)]
    pub(crate) threads: Option<usize>,
}

/// A transcoder set.
#[derive(clap::Args, Debug)]
pub(crate) struct SetArgs {
    /// Transcoder set: a local folder, or a name on the hub.
    #[arg(short, long = "transcoder-set", aliases = ["transcoder_set", "transcoders"])]
    pub(crate) transcoder_set: String,
}

/// Activation functions.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Activation {
    /// With an L1 penalty.
    Relu,
    /// With learnt thresholds and an L0 penalty.
    Jumprelu,
    /// The k largest.
    Topk,
}

/// Types for stored weights.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StoredDtype {
    /// 32 bits.
    Float32,
    /// 16 bits.
    Bfloat16,
}

/// `train transcoders`.
#[derive(clap::Args, Debug)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) corpus: CorpusArgs,
    /// Folder for the set, its metrics.jsonl, and the checkpoint of a run under way.
    #[arg(short, long)]
    pub(crate) output: PathBuf,
    /// Features of each layer.
    #[arg(long, default_value_t = 512)]
    pub(crate) features: usize,
    /// Features write to the layers above their own too.
    #[arg(long)]
    pub(crate) cross_layer: bool,
    /// A linear path past the features.
    #[arg(long)]
    pub(crate) skip: bool,
    /// Activation function.
    #[arg(long, value_enum, default_value = "relu")]
    pub(crate) activation: Activation,
    /// Features that topk keeps.
    #[arg(long, default_value_t = 32)]
    pub(crate) k: usize,
    /// Width of jumprelu's gradient window, in units of the normalised input.
    #[arg(long, default_value_t = 0.1)]
    pub(crate) bandwidth: f64,
    /// Weight of the penalty; .006 for relu and .001 for jumprelu unless given.
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) sparsity: Option<f64>,
    /// Share of the steps in which the penalty grows.
    #[arg(long, default_value_t = 0.2, allow_negative_numbers = true)]
    pub(crate) sparsity_warm_up: f64,
    /// Count each token's error in relation to what the MLP writes there: tokens where that is little weigh as much as others.
    #[arg(long)]
    pub(crate) relative_error: bool,
    /// Hook that features read; unless given that of the model's family, which is mlp.hook_in for most.
    #[arg(long)]
    pub(crate) reads: Option<String>,
    /// Hook that features write; unless given that of the model's family, which is mlp.hook_out for most.
    #[arg(long)]
    pub(crate) writes: Option<String>,
    /// Steps.
    #[arg(long, default_value_t = 1400)]
    pub(crate) steps: usize,
    /// Tokens of a step.
    #[arg(long, default_value_t = 1024)]
    pub(crate) batch_rows: usize,
    /// Steps whose tokens are mixed with each other.
    #[arg(long, default_value_t = 8)]
    pub(crate) chunk_batches: usize,
    /// How much less a token counts for standing behind the same words in many documents: 0 as often as it is there, 1 once.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) balance: f64,
    /// Highest learning rate.
    #[arg(long, default_value_t = 2e-3, allow_negative_numbers = true)]
    pub(crate) learning_rate: f64,
    /// Steps in which the learning rate rises.
    #[arg(long, default_value_t = 50)]
    pub(crate) warm_up: usize,
    /// Share of the steps, at the end, in which it falls to zero.
    #[arg(long, default_value_t = 0.3, allow_negative_numbers = true)]
    pub(crate) decay: f64,
    /// A feature that has not fired for so many steps gets a new direction.
    #[arg(long, default_value_t = 100)]
    pub(crate) dead_after: usize,
    /// Seed of all that is drawn.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Steps between two checkpoints; 0: none.
    #[arg(long, default_value_t = 200)]
    pub(crate) checkpoint_every: usize,
    /// Steps between two lines of metrics.jsonl.
    #[arg(long, default_value_t = 10, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) log_every: usize,
    /// Type in which weights are stored.
    #[arg(long, value_enum, default_value = "float32")]
    pub(crate) stored: StoredDtype,
    /// The model's name in config.yaml; its folder's unless given.
    #[arg(long)]
    pub(crate) model_name: Option<String>,
    /// The place of the feature pages in config.yaml; the model's name unless given.
    #[arg(long)]
    pub(crate) scan: Option<String>,
    /// Begin anew where a checkpoint or a set is there.
    #[arg(long)]
    pub(crate) restart: bool,
}

/// `evaluate transcoders`.
#[derive(clap::Args, Debug)]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    pub(crate) corpus: CorpusArgs,
    #[command(flatten)]
    pub(crate) set: SetArgs,
    /// Documents, less their last token, on which replacement and completeness are measured.
    #[arg(long, default_value_t = 20)]
    pub(crate) prompts: usize,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `feature-pages`.
#[derive(clap::Args, Debug)]
pub(crate) struct PagesArgs {
    #[command(flatten)]
    pub(crate) corpus: CorpusArgs,
    #[command(flatten)]
    pub(crate) set: SetArgs,
    /// Folder for index.json.gz and layer_N.bin; `features` in the set's own folder is where they are looked for.
    #[arg(short, long)]
    pub(crate) output: PathBuf,
    /// Top examples.
    #[arg(long, default_value_t = 20)]
    pub(crate) examples: usize,
    /// Intervals of activations from which examples are drawn.
    #[arg(long, default_value_t = 5)]
    pub(crate) intervals: usize,
    /// Examples of each interval.
    #[arg(long, default_value_t = 5)]
    pub(crate) per_interval: usize,
    /// Tokens shown before and after.
    #[arg(long, default_value_t = 16)]
    pub(crate) context: usize,
    /// Bars of the histogram.
    #[arg(long, default_value_t = 40)]
    pub(crate) bars: usize,
    /// Tokens promoted and suppressed most.
    #[arg(long, default_value_t = 10)]
    pub(crate) logits: usize,
    /// Seed of the samples.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Memory for what is gathered; layers that do not fit together are walked one after the other.
    #[arg(long, default_value_t = 2048)]
    pub(crate) memory_mib: usize,
}
