//! Arguments as they are typed: Python circuit-tracer's flags and ours. Nothing is looked up or checked here but form.

use crate::bench::BenchArgs;
use crate::chat::parse_option;
use crate::closer_args::{ExplainEdgeArgs, GenerateArgs, InterveneArgs, PathsArgs, QueryKeyArgs, VerifyArgs};
use crate::train_args::{EvaluateWhat, PagesArgs, TrainWhat};
use circuit_model::chat::{ChatDate, ChatValue};
use circuit_model::tokenizer::FirstToken;
use circuit_replacement::Products;
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const EXIT_CODES: &str = "Exit codes: 0 done; 2 impossible arguments; 3 a model, transcoder set or graph that cannot be read or \
understood; 4 a prompt or targets that do not fit the model; 5 an output that cannot be written; 6 the device or LibTorch; \
1 anything else.";

/// Attribution graphs of language models: what affects what on a prompt, and by how much.
#[derive(Parser, Debug)]
#[command(name = "circuit-tracer", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Trace a prompt: find its attribution graph, prune it, write its files, print a summary.
    Attribute(Box<AttributeArgs>),
    /// From a raw graph (.safetensors or .pt): its pruned JSON files, or the other raw form.
    #[command(name = "graph-files", alias = "graph_files")]
    GraphFiles(GraphFilesArgs),
    /// Show graphs in the browser: a server for a folder of graph files, and the page.
    #[command(alias = "start-server", alias = "start_server")]
    Serve(ServeArgs),
    /// Replacement and completeness scores of a raw graph, full, pruned, or of a subgraph.
    Scores(ScoresArgs),
    /// Which attention heads carry an edge of a raw graph, layer by layer: their shares and what passes by add up to the edge.
    #[command(name = "explain-edge", alias = "explain_edge")]
    ExplainEdge(ExplainEdgeArgs),
    /// The strongest paths through a raw graph, from a token (or any node) to an output.
    Paths(PathsArgs),
    /// Why a head looks where it looks: the pairs of sources that make up its attention scores.
    #[command(name = "query-key", alias = "query_key")]
    QueryKey(QueryKeyArgs),
    /// Set, scale or remove features, and see what the model says then.
    Intervene(Box<InterveneArgs>),
    /// Write on after a prompt, with edits of features and without.
    Generate(Box<GenerateArgs>),
    /// Check a raw graph: with everything held, nodes must move what it says; with nothing held, how well it predicts what happens
    /// when features are removed.
    Verify(VerifyArgs),
    /// Train transcoders of a model.
    #[command(subcommand)]
    Train(TrainWhat),
    /// Judge a transcoder set.
    #[command(subcommand)]
    Evaluate(EvaluateWhat),
    /// Write what the page shows of features: examples, histogram, promoted tokens. A run that was cut off goes on.
    #[command(name = "feature-pages", alias = "feature_pages")]
    FeaturePages(PagesArgs),
    /// Rewrite a transcoder set of any readable layout into the one whose files are used as they lie.
    Convert(ConvertArgs),
    /// What a model, a transcoder set or a graph file is.
    Describe(DescribeArgs),
    /// The tensors of files, folders or names on the hub, by their headers alone.
    Inspect(InspectArgs),
    /// Bring a model, a transcoder set or both from the hub into the cache.
    Download(DownloadArgs),
    /// What the hub's cache holds, and removing it.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// What this machine has: LibTorch, devices, memory; and whether a prompt would fit.
    Doctor(Box<DoctorArgs>),
    /// Measure: how long each phase takes on random weights of a published shape.
    Bench(BenchArgs),
}

/// Types of numbers.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub(crate) enum Dtype {
    /// 32 bits.
    #[value(alias = "fp32")]
    Float32,
    /// 16 bits, the range of float32.
    #[value(alias = "bf16")]
    Bfloat16,
    /// 16 bits.
    #[value(alias = "fp16")]
    Float16,
    /// 64 bits, for checks.
    #[value(alias = "fp64")]
    Float64,
}

impl Dtype {
    /// PyTorch's word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Bfloat16 => "bfloat16",
            Self::Float16 => "float16",
            Self::Float64 => "float64",
        }
    }
}

/// Thresholds of pruning.
#[derive(clap::Args, Debug, Clone, Copy)]
pub(crate) struct ThresholdArgs {
    /// Keep the nodes that carry this share of the influence, 0 to 1.
    #[arg(long, alias = "node_threshold", default_value_t = 0.8, allow_negative_numbers = true)]
    pub(crate) node_threshold: f64,
    /// Keep the edges that carry this share, 0 to 1.
    #[arg(long, alias = "edge_threshold", default_value_t = 0.98, allow_negative_numbers = true)]
    pub(crate) edge_threshold: f64,
}

/// A prompt as a chat.
#[derive(clap::Args, Debug)]
pub(crate) struct ChatArgs {
    /// The prompt is what the user says to an instruct model, or a JSON list of turns, [{"role": …, "content": …}, …]: it goes
    /// through the model's own chat template.
    #[arg(long, conflicts_with = "prompt_ids")]
    pub(crate) chat: bool,
    /// A further name for the chat template, such as enable_thinking=false; may be given several times.
    #[arg(long = "chat-option", alias = "chat_option", value_name = "NAME=VALUE", requires = "chat", value_parser = parse_option)]
    pub(crate) chat_options: Vec<(String, ChatValue)>,
    /// The date for chat templates that ask for today's; most of them use a fixed one without it. A day alone means midnight.
    #[arg(long, alias = "chat_date", value_name = "YYYY-MM-DD[THH:MM[:SS]]", requires = "chat")]
    pub(crate) chat_date: Option<ChatDate>,
    /// The name of the chat template, where a model has several. Without it, `tool_use` is taken if there is the option tools,
    /// and otherwise `default`.
    #[arg(long, alias = "chat_template", value_name = "NAME", requires = "chat")]
    pub(crate) chat_template: Option<String>,
    /// Leave the last turn open: the model goes on right behind its text. It must be a turn of the assistant; an empty one asks
    /// for an answer, as without this.
    #[arg(long = "continue", requires = "chat")]
    pub(crate) continue_last: bool,
}

/// `attribute`.
#[derive(clap::Args, Debug)]
pub(crate) struct AttributeArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    /// Raw graph to write: .safetensors, or .pt for Python's Graph.from_pt.
    #[arg(short, long = "graph-output-path", aliases = ["graph_output_path", "output"])]
    pub(crate) output: Option<PathBuf>,
    /// Name of the graph in JSON files; needs --graph-file-dir.
    #[arg(long)]
    pub(crate) slug: Option<String>,
    /// Folder for <slug>.json and graph-metadata.json; needs --slug.
    #[arg(long, alias = "graph_file_dir")]
    pub(crate) graph_file_dir: Option<PathBuf>,
    /// At most this many target logits.
    #[arg(long, alias = "max_n_logits", default_value_t = 10)]
    pub(crate) max_n_logits: usize,
    /// Fewest most probable tokens whose probabilities reach this sum, 0 to 1.
    #[arg(long, alias = "desired_logit_prob", default_value_t = 0.95, allow_negative_numbers = true)]
    pub(crate) desired_logit_prob: f64,
    /// Targets: token ids, separated by commas.
    #[arg(long, alias = "target_ids", value_delimiter = ',', group = "the_targets")]
    pub(crate) target_ids: Option<Vec<u32>>,
    /// Targets: a string of one token; may be given several times.
    #[arg(long, alias = "target_strings", allow_hyphen_values = true, group = "the_targets")]
    pub(crate) target_strings: Option<Vec<String>>,
    /// Targets: a JSON file of ids, strings, or weighted named directions {label, weight, plus, minus, scale}.
    #[arg(long, group = "the_targets")]
    pub(crate) targets: Option<PathBuf>,
    /// Rows per batch; with --update-interval it fixes the ranking of features and nothing else.
    #[arg(long, alias = "batch_size", default_value_t = 256)]
    pub(crate) batch_size: usize,
    /// Batches between two rankings.
    #[arg(long, alias = "update_interval", default_value_t = 4)]
    pub(crate) update_interval: usize,
    /// At most this many features get rows: a number (0: target rows alone) or `all`.
    #[arg(long, alias = "max_feature_nodes", default_value = "7500", value_parser = parse_limit)]
    pub(crate) max_feature_nodes: FeatureLimit,
    #[command(flatten)]
    pub(crate) thresholds: ThresholdArgs,
    /// Print one JSON object instead of the summary.
    #[arg(long)]
    pub(crate) json: bool,
    /// What the page shows at first: the view (pins, groups, labels) of another graph file, or a file with a view alone.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) view: Option<PathBuf>,
    /// Write JSON that fits Neuronpedia's schema; warns of files larger than the 100 MiB that Neuronpedia takes.
    #[arg(long)]
    pub(crate) neuronpedia: bool,
    /// Largest .pt to write (it is square), such as 4G.
    #[arg(long, alias = "pt_limit", default_value = "8G", value_parser = parse_bytes)]
    pub(crate) pt_limit: u64,
    /// Serve the folder of graphs once the files are written; needs --slug.
    #[arg(long)]
    pub(crate) server: bool,
    /// Port of the server (see --server), 8041 unless given; 0 for any that is free.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Feature records for the server (see --server); as in `serve`, may be given several times.
    #[arg(long = "features-dir", alias = "features_dir", value_name = "[SCAN=]DIR|NAME")]
    pub(crate) features_dirs: Vec<String>,
    /// Accepted for habit's sake: there is one engine.
    #[arg(long)]
    pub(crate) backend: Option<String>,
    /// Accepted for habit's sake: encoders are always read from the mapped files, layer by layer.
    #[arg(long, alias = "lazy_encoder")]
    pub(crate) lazy_encoder: bool,
    /// Accepted for habit's sake, as is --no-lazy-decoder: decoder rows are always read for active features alone.
    #[arg(long, aliases = ["lazy_decoder", "no-lazy-decoder", "no_lazy_decoder"])]
    pub(crate) lazy_decoder: bool,
    /// Accepted for habit's sake: weights stay in the mapped files, from which encoders are streamed, so there is nothing to move
    /// away.
    #[arg(long)]
    pub(crate) offload: Option<String>,
    /// Only tell what will be fetched, read, needed and written, from headers alone; of names on the hub, configs and tokenizers
    /// are fetched.
    #[arg(long, alias = "dry_run")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    /// Accepted for habit's sake: progress and timings are always on standard error.
    #[arg(long)]
    pub(crate) verbose: bool,
}

/// What is not kept in memory.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub(crate) enum Spare {
    /// Attention patterns are made anew of queries and keys.
    Patterns,
    /// Patterns as rows need them are made anew for each group of rows.
    Folded,
    /// What features and errors write is made anew for each group of rows.
    Writes,
    /// Rows are on disk while features are ranked.
    Rows,
}

/// In which type products are taken.
#[derive(Clone, Copy, Debug, Default, ValueEnum, PartialEq, Eq)]
pub(crate) enum ProductsArg {
    /// That of the computation: float32, or float64 for weights in float64.
    #[default]
    Wide,
    /// Factors are rounded to 8 significant bits; sums stay float32. Faster where the hardware knows the type.
    #[value(alias = "bf16")]
    Bfloat16,
}

impl ProductsArg {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::Bfloat16 => "bfloat16",
        }
    }

    pub(crate) fn products(self) -> Products {
        match self {
            Self::Wide => Products::Wide,
            Self::Bfloat16 => Products::Bfloat16,
        }
    }
}

/// How rows are computed, and what a plan of memory goes by.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct BudgetArgs {
    /// Type in which the products of the rows are taken; gradients and sums are at least float32 in any case.
    #[arg(long, value_enum, default_value_t = ProductsArg::Wide)]
    pub(crate) products: ProductsArg,
    /// Memory that this process may allocate, such as 8G; what the machine has free unless given.
    #[arg(long, value_parser = parse_bytes)]
    pub(crate) memory: Option<u64>,
    /// Features active at a position of a layer, for the plan that is made before they are counted.
    #[arg(long, alias = "expected_active", value_parser = parse_count)]
    pub(crate) expected_active: Option<f64>,
    /// Folder for rows that memory has no room for while features are ranked: they lie in a file without a name, which is gone when
    /// the program ends. TMPDIR or /var/tmp unless given.
    #[arg(long, alias = "scratch_dir", value_name = "DIR")]
    pub(crate) scratch_dir: Option<PathBuf>,
    /// Spare memory by this even where there is enough; otherwise what is spared is chosen so that it fits. Separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) spare: Vec<Spare>,
}

fn parse_count(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0);
    number.ok_or_else(|| "expected a number that is not negative".into())
}

/// Where Python's command line serves.
pub(crate) const PORT: u16 = 8041;

/// `serve`.
#[derive(clap::Args, Debug)]
pub(crate) struct ServeArgs {
    /// Folder with graph files (<slug>.json).
    #[arg(long, alias = "graph_file_dir")]
    pub(crate) graph_file_dir: PathBuf,
    /// Port to listen on; 0 for any that is free.
    #[arg(long, default_value_t = PORT)]
    pub(crate) port: u16,
    /// Address to listen on. Anything but this machine's own loopback shows the graphs to the network, and lets it change them.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// A further name by which the server may be called, such as that of a proxy in front of it; may be given several times.
    #[arg(long, alias = "allow_host", value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,
    /// Folder with feature records: a transcoder set, or single files <scan>/<number>.json. Say which scan it belongs to
    /// where its config.yaml does not. Or a transcoder set on the hub, owner/repo[/sub/folder][@revision], whose pages are fetched
    /// as they are looked at; nothing is fetched that is not named here. May be given several times.
    #[arg(long = "features-dir", alias = "features_dir", value_name = "[SCAN=]DIR|NAME")]
    pub(crate) features_dirs: Vec<String>,
    /// Ask no server: of sets on the hub, show the feature pages that were seen before.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Folder with the built page, in place of the one in this program.
    #[arg(long, alias = "frontend_dir")]
    pub(crate) frontend_dir: Option<PathBuf>,
    /// Log every request.
    #[arg(long)]
    pub(crate) verbose: bool,
}

/// `--max-feature-nodes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FeatureLimit(pub(crate) Option<usize>);

fn parse_limit(text: &str) -> Result<FeatureLimit, String> {
    match text {
        "all" => Ok(FeatureLimit(None)),
        _ => text.parse().map(|n| FeatureLimit(Some(n))).map_err(|_| "expected a number or `all`".into()),
    }
}

/// Bytes, with K, M, G or T for powers of 1024.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let unit = text.chars().last().and_then(|c| "KMGT".find(c.to_ascii_uppercase()));
    let (digits, power) = match unit {
        Some(i) => (&text[..text.len() - 1], 10 * (i as u32 + 1)),
        None => (text, 0),
    };
    let number: Option<u64> = digits.parse().ok();
    number.and_then(|n| n.checked_mul(1 << power)).ok_or_else(|| "expected bytes, such as 4G".into())
}

/// `graph-files`.
#[derive(clap::Args, Debug)]
pub(crate) struct GraphFilesArgs {
    /// Raw graph, .safetensors or .pt.
    pub(crate) graph: PathBuf,
    /// Name of the graph; needs --graph-file-dir.
    #[arg(long)]
    pub(crate) slug: Option<String>,
    /// Folder for <slug>.json and graph-metadata.json; needs --slug.
    #[arg(long, alias = "graph_file_dir")]
    pub(crate) graph_file_dir: Option<PathBuf>,
    /// The raw graph in the other form, .safetensors or .pt.
    #[arg(short, long = "graph-output-path", aliases = ["graph_output_path", "output"])]
    pub(crate) output: Option<PathBuf>,
    /// Largest .pt to write (it is square), such as 4G.
    #[arg(long, alias = "pt_limit", default_value = "8G", value_parser = parse_bytes)]
    pub(crate) pt_limit: u64,
    /// The model (a folder, or a name on the hub), for the words of a graph that holds only token ids, as Python's .pt files do.
    #[arg(short, long)]
    pub(crate) model: Option<String>,
    /// Ask no server: take what is in the hub's cache.
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) thresholds: ThresholdArgs,
    /// What the page shows at first: the view (pins, groups, labels) of another graph file, or a file with a view alone.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) view: Option<PathBuf>,
    /// Write JSON that fits Neuronpedia's schema; warns of files larger than the 100 MiB that Neuronpedia takes.
    #[arg(long)]
    pub(crate) neuronpedia: bool,
}

/// A model and its transcoders.
#[derive(clap::Args, Debug)]
pub(crate) struct ModelArgs {
    /// Model: a local folder with config.json, safetensors and tokenizer.json, or a name on the hub, owner/repo[@revision].
    /// Without it, the one that the set was made for.
    #[arg(short, long)]
    pub(crate) model: Option<String>,
    /// Transcoder set: a local folder with config.yaml, a run of sparsify, or a name on the hub,
    /// owner/repo[/sub/folder][@revision]; `gemma` and `llama` are short for published ones.
    #[arg(short, long = "transcoder-set", aliases = ["transcoder_set", "transcoders"])]
    pub(crate) transcoder_set: String,
    /// What is put in front of a prompt that does not begin with a special token: the text of a token, an id, or `none`.
    /// Unless given: the first special token of bos, eos and pad, as in the Python library with TransformerLens (nnsight and
    /// Neuronpedia take pad before eos). With `none` the first token of the prompt is at position 0, which attribution ignores.
    #[arg(long, alias = "first_token", value_name = "TOKEN|ID|none", allow_hyphen_values = true)]
    pub(crate) first_token: Option<FirstToken>,
    /// How many leading positions have neither features nor errors; the model's description knows.
    #[arg(long, alias = "ignored_positions")]
    pub(crate) ignored_positions: Option<usize>,
    /// Type of the weights; the pull-back is carried in at least float32.
    #[arg(long, value_enum, default_value_t = Dtype::Float32)]
    pub(crate) dtype: Dtype,
    /// Ask no server: take what is in the hub's cache.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Refuse a model whose config.json has keys of unknown meaning, instead of ignoring them with a warning.
    #[arg(long, alias = "strict_config")]
    pub(crate) strict_config: bool,
    /// cpu, cuda or cuda:N; the first GPU if there is one.
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// Threads for products on the CPU.
    #[arg(long)]
    pub(crate) threads: Option<usize>,
}

/// A prompt, given in one of three ways.
#[derive(clap::Args, Debug)]
pub(crate) struct PromptArgs {
    /// The prompt. Its tokens are shown as transformers 5 decodes them, without `clean_up_tokenization_spaces`.
    #[arg(short, long, allow_hyphen_values = true, group = "the_prompt")]
    pub(crate) prompt: Option<String>,
    /// The prompt as token ids, separated by commas. Like a text it gets a token in front: see --first-token.
    #[arg(long, alias = "prompt_ids", value_delimiter = ',', group = "the_prompt")]
    pub(crate) prompt_ids: Option<Vec<u32>>,
    /// A file that holds the prompt as UTF-8 text. One line end at the end of the file and a byte order mark are left out; all
    /// else is part of the prompt.
    #[arg(long, alias = "prompt_file", group = "the_prompt")]
    pub(crate) prompt_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) chat: ChatArgs,
}

impl PromptArgs {
    /// Whether there is one.
    pub(crate) fn given(&self) -> bool {
        self.prompt.is_some() || self.prompt_ids.is_some() || self.prompt_file.is_some()
    }
}

/// `scores`.
#[derive(clap::Args, Debug)]
pub(crate) struct ScoresArgs {
    /// Raw graph, .safetensors or .pt.
    pub(crate) graph: PathBuf,
    #[command(flatten)]
    pub(crate) thresholds: ThresholdArgs,
    /// Feature nodes of a subgraph, as in graph files (layer_index_position), separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub(crate) nodes: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `convert`.
#[derive(clap::Args, Debug)]
pub(crate) struct ConvertArgs {
    /// Transcoder set: a local folder, or a name on the hub.
    pub(crate) set: String,
    /// Ask no server.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Folder for config.yaml and the files of the layers. The config comes last: without it, what is there is no set.
    #[arg(short, long)]
    pub(crate) output: PathBuf,
    /// Type of the matrices; as stored unless given. Biases and thresholds always stay as they are.
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<Dtype>,
    /// Replace the set in a folder that is not empty; other files there stay.
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// `describe`.
#[derive(clap::Args, Debug)]
pub(crate) struct DescribeArgs {
    /// Model or transcoder set (a folder, or a name on the hub), or graph file (.safetensors, .pt, .json).
    pub(crate) path: String,
    /// Ask no server: take what is in the hub's cache.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Refuse a model whose config.json has keys of unknown meaning, instead of ignoring them with a warning.
    #[arg(long, alias = "strict_config")]
    pub(crate) strict_config: bool,
}

/// `inspect`.
#[derive(clap::Args, Debug)]
pub(crate) struct InspectArgs {
    /// A .safetensors or .npz file, a folder with some, or a name on the hub: owner/repo[/folder or file][@revision].
    pub(crate) path: String,
    /// Ask no server: take what is in the hub's cache.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `download`.
#[derive(clap::Args, Debug)]
pub(crate) struct DownloadArgs {
    /// Model: owner/repo[@revision].
    #[arg(short, long)]
    pub(crate) model: Option<String>,
    /// Transcoder set: owner/repo[/sub/folder][@revision], `gemma`, `llama`, or a local folder whose config.yaml lists files on
    /// the hub.
    #[arg(short, long = "transcoder-set", aliases = ["transcoder_set", "transcoders"])]
    pub(crate) transcoder_set: Option<String>,
    /// Refuse a model whose config.json has keys of unknown meaning, instead of ignoring them with a warning.
    #[arg(long, alias = "strict_config")]
    pub(crate) strict_config: bool,
    /// Only tell what would be fetched, and whether there is room for it.
    #[arg(long, alias = "dry_run")]
    pub(crate) dry_run: bool,
}

/// `cache`.
#[derive(Subcommand, Debug)]
pub(crate) enum CacheCommand {
    /// Repositories and revisions with their sizes.
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Remove repositories, or single revisions of them, by their exact names.
    Remove {
        /// owner/repo or owner/repo@revision; a revision is a commit, or a branch or tag in the cache.
        #[arg(required = true)]
        names: Vec<String>,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
}

/// `doctor`.
#[derive(clap::Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Plan for this model: a local folder, or a name on the hub, of whose weights only headers are read.
    #[arg(short, long, requires = "transcoder_set")]
    pub(crate) model: Option<String>,
    /// Plan for this transcoder set, likewise.
    #[arg(short, long = "transcoder-set", aliases = ["transcoder_set", "transcoders"], requires = "model")]
    pub(crate) transcoder_set: Option<String>,
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    /// Plan for any prompt of so many tokens.
    #[arg(long, group = "the_prompt", requires = "model")]
    pub(crate) tokens: Option<usize>,
    /// As in `attribute`.
    #[arg(long, alias = "first_token", value_name = "TOKEN|ID|none", allow_hyphen_values = true)]
    pub(crate) first_token: Option<FirstToken>,
    /// As in `attribute`.
    #[arg(long, alias = "max_n_logits", default_value_t = 10)]
    pub(crate) max_n_logits: usize,
    /// As in `attribute`.
    #[arg(long, alias = "max_feature_nodes", default_value = "7500", value_parser = parse_limit)]
    pub(crate) max_feature_nodes: FeatureLimit,
    /// As in `attribute`.
    #[arg(long, alias = "ignored_positions")]
    pub(crate) ignored_positions: Option<usize>,
    /// As in `attribute`.
    #[arg(long, value_enum, default_value_t = Dtype::Float32)]
    pub(crate) dtype: Dtype,
    /// cpu, cuda or cuda:N; the first GPU if there is one.
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// Ask no server: plan with what is in the hub's cache.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Refuse a model whose config.json has keys of unknown meaning, instead of ignoring them with a warning.
    #[arg(long, alias = "strict_config")]
    pub(crate) strict_config: bool,
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn limits_and_sizes() {
        assert_eq!(parse_limit("all"), Ok(FeatureLimit(None)));
        assert_eq!(parse_limit("0"), Ok(FeatureLimit(Some(0))));
        assert!(parse_limit("-1").is_err());
        assert_eq!(parse_bytes("2k"), Ok(2048));
        assert_eq!(parse_bytes("17"), Ok(17));
        assert!(
            parse_bytes("").is_err() && parse_bytes("G").is_err() && parse_bytes("99999999999T").is_err()
        );
    }
}
