//! Arguments of the commands that look closer at what a graph says, and test it: `explain-edge`, `paths`, `query-key`, `intervene`,
//! `generate`, `verify`. Nothing is looked up or checked here but form.

use crate::args::{ModelArgs, PromptArgs, ThresholdArgs};
use std::path::PathBuf;

/// `explain-edge`.
#[derive(clap::Args, Debug)]
pub(crate) struct ExplainEdgeArgs {
    /// Raw graph, .safetensors or .pt.
    pub(crate) graph: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Where the edge begins: a node as graph files name it.
    #[arg(long)]
    pub(crate) from: String,
    /// Where it ends: a feature, or a target by its id or its word.
    #[arg(long)]
    pub(crate) to: String,
    /// Only this layer's attention.
    #[arg(long)]
    pub(crate) layer: Option<usize>,
    /// So many heads of each layer.
    #[arg(long, default_value_t = 4)]
    pub(crate) top: usize,
    /// Print one JSON object, with every head.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `paths`.
#[derive(clap::Args, Debug)]
pub(crate) struct PathsArgs {
    /// Raw graph, .safetensors or .pt.
    pub(crate) graph: PathBuf,
    /// Where paths begin: a node as graph files name it; all tokens and errors unless given.
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// The target where they end, by its id or its word; the first unless given.
    #[arg(long)]
    pub(crate) to: Option<String>,
    /// So many paths.
    #[arg(long, default_value_t = 10)]
    pub(crate) top: usize,
    #[command(flatten)]
    pub(crate) thresholds: ThresholdArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `query-key`.
#[derive(clap::Args, Debug)]
pub(crate) struct QueryKeyArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    /// The layer.
    #[arg(long)]
    pub(crate) layer: usize,
    /// The (query) head.
    #[arg(long)]
    pub(crate) head: usize,
    /// The position that looks; counted from the end if negative.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) query: i64,
    /// The position looked at; the three with the most attention unless given.
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) key: Option<i64>,
    /// So many pairs.
    #[arg(long, default_value_t = 10)]
    pub(crate) top: usize,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Edits of features. A feature is `layer_feature@position`; positions may be `10`, `-1` (from the end), `3:7`, `3:` or several
/// with commas. A value may be one number, or one for each position with commas.
#[derive(clap::Args, Debug)]
pub(crate) struct EditArgs {
    /// Set a feature, such as 2_1543@10=0 or 2_1543@3:5=1,2 (a value for each position); may be given several times, as all of these.
    #[arg(long, value_name = "FEATURE=VALUE")]
    pub(crate) set: Vec<String>,
    /// Multiply a feature's undisturbed activation, such as 1_77@-1=2.
    #[arg(long, value_name = "FEATURE=FACTOR")]
    pub(crate) scale: Vec<String>,
    /// Add to a feature's activation.
    #[arg(long, value_name = "FEATURE=VALUE")]
    pub(crate) add: Vec<String>,
    /// Remove a feature.
    #[arg(long, value_name = "FEATURE")]
    pub(crate) ablate: Vec<String>,
    /// A graph file whose groups (supernodes) the next two name.
    #[arg(long, value_name = "GRAPH.json")]
    pub(crate) graph: Option<PathBuf>,
    /// Remove all features of a group; of several with one label, such as `capital (2)`.
    #[arg(long, alias = "ablate_group", value_name = "LABEL")]
    pub(crate) ablate_group: Vec<String>,
    /// Multiply all features of a group.
    #[arg(long, alias = "scale_group", value_name = "LABEL=FACTOR")]
    pub(crate) scale_group: Vec<String>,
    /// A JSON list of named interventions, each run by itself: `interventions` with layer, pos (3, -1, a list or a slice), feature and one of value, scale and add (a number, or one for each position).
    #[arg(long, value_name = "FILE.json")]
    pub(crate) edits: Option<PathBuf>,
    /// Hold nothing; unless given, attention patterns are held.
    #[arg(long, alias = "freeze_nothing", conflicts_with = "constrain")]
    pub(crate) freeze_nothing: bool,
    /// Hold patterns and these layers' transcoder outputs (`all`, or such as 3-7): direct effects.
    #[arg(long, alias = "constrained_layers", value_name = "LAYERS")]
    pub(crate) constrain: Option<String>,
}

impl EditArgs {
    /// Whether there is an edit among them.
    pub(crate) fn any(&self) -> bool {
        let lists = [&self.set, &self.scale, &self.add, &self.ablate, &self.ablate_group, &self.scale_group];
        lists.iter().any(|list| !list.is_empty()) || self.edits.is_some()
    }
}

/// `intervene`.
#[derive(clap::Args, Debug)]
pub(crate) struct InterveneArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    /// Many prompts: a file with a JSON text, or an object with `prompt`, on each line.
    #[arg(long, value_name = "FILE.jsonl", conflicts_with = "the_prompt")]
    pub(crate) prompts: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) edit: EditArgs,
    /// Entries of --edits that write on stop at the end of a sequence.
    #[arg(long, alias = "stop_at_eos")]
    pub(crate) stop_at_eos: bool,
    /// Features to tell before and after.
    #[arg(long, value_name = "FEATURE")]
    pub(crate) watch: Vec<String>,
    /// Tokens told: so many of the most probable before, and after.
    #[arg(long, default_value_t = 5)]
    pub(crate) top: usize,
    /// Write <name>.logits (positions, vocabulary) and <name>.activations (layers, positions, features) of each.
    #[arg(short, long, value_name = "FILE.safetensors")]
    pub(crate) output: Option<PathBuf>,
    /// Print one JSON object for each.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `generate`.
#[derive(clap::Args, Debug)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    #[command(flatten)]
    pub(crate) edit: EditArgs,
    /// At most this many tokens.
    #[arg(long, alias = "max_new_tokens", default_value_t = 20)]
    pub(crate) max_new_tokens: usize,
    /// 0 takes the most probable token; else tokens are drawn, from logits divided by this.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) temperature: f64,
    /// Draw among so many of the most probable.
    #[arg(long, alias = "top_k")]
    pub(crate) top_k: Option<usize>,
    /// Draw among the fewest most probable that reach this probability.
    #[arg(long, alias = "top_p", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f64>,
    /// Draws follow from it.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Go on past the end of a sequence.
    #[arg(long, alias = "ignore_eos")]
    pub(crate) ignore_eos: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `verify`.
#[derive(clap::Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Raw graph, .safetensors or .pt.
    pub(crate) graph: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Every node.
    #[arg(long)]
    pub(crate) all: bool,
    /// These nodes, as graph files name them, separated by commas.
    #[arg(long, value_delimiter = ',', conflicts_with = "all")]
    pub(crate) nodes: Vec<String>,
    /// Without either: about so many of each kind.
    #[arg(long, default_value_t = 20)]
    pub(crate) sample: usize,
    /// Only the exact check with everything held, not how well the graph predicts what the model does.
    #[arg(long, alias = "frozen_only", conflicts_with_all = ["plot", "freeze_attention"])]
    pub(crate) frozen_only: bool,
    /// Hold attention patterns while features are removed: graphs take them as given.
    #[arg(long, alias = "freeze_attention")]
    pub(crate) freeze_attention: bool,
    /// Draw predicted and measured effects.
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// So many of those that differ are told.
    #[arg(long, default_value_t = 10)]
    pub(crate) top: usize,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
