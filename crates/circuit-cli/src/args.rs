//! Arguments as they are typed: Python circuit-tracer's flags and ours. Nothing is looked up or checked here but form.

use crate::train_args::{EvaluateWhat, PagesArgs, TrainWhat};
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
    /// Train transcoders of a model.
    #[command(subcommand)]
    Train(TrainWhat),
    /// Judge a transcoder set.
    #[command(subcommand)]
    Evaluate(EvaluateWhat),
    /// Write what the page shows of features: examples, histogram, promoted tokens. A run that was cut off goes on.
    #[command(name = "feature-pages", alias = "feature_pages")]
    FeaturePages(PagesArgs),
    /// What a model folder, a transcoder folder or a graph file is.
    Describe(DescribeArgs),
    /// What this machine has: LibTorch, devices, memory.
    Doctor(DoctorArgs),
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

/// `attribute`.
#[derive(clap::Args, Debug)]
pub(crate) struct AttributeArgs {
    /// Model: a local folder with config.json, safetensors and tokenizer.json.
    #[arg(short, long)]
    pub(crate) model: Option<String>,
    /// Transcoder set: a local folder with config.yaml, or a run of sparsify.
    #[arg(short, long = "transcoder-set", aliases = ["transcoder_set", "transcoders"])]
    pub(crate) transcoder_set: String,
    /// The prompt.
    #[arg(short, long, allow_hyphen_values = true, group = "the_prompt")]
    pub(crate) prompt: Option<String>,
    /// The prompt as token ids, separated by commas.
    #[arg(long, alias = "prompt_ids", value_delimiter = ',', group = "the_prompt")]
    pub(crate) prompt_ids: Option<Vec<u32>>,
    /// A file that holds the prompt, every byte of it.
    #[arg(long, alias = "prompt_file", group = "the_prompt")]
    pub(crate) prompt_file: Option<PathBuf>,
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
    /// How many leading positions have neither features nor errors; the model's description knows.
    #[arg(long, alias = "ignored_positions")]
    pub(crate) ignored_positions: Option<usize>,
    /// Type of the weights; the pull-back is carried in at least float32.
    #[arg(long, value_enum, default_value_t = Dtype::Float32)]
    pub(crate) dtype: Dtype,
    /// cpu, cuda or cuda:N; the first GPU if there is one.
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// Threads for products on the CPU.
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Print one JSON object instead of the summary.
    #[arg(long)]
    pub(crate) json: bool,
    /// What the page shows at first: the view (pins, groups, labels) of another graph file, or a file with a view alone.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) view: Option<PathBuf>,
    /// Write JSON that fits Neuronpedia's schema.
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
    #[arg(long = "features-dir", alias = "features_dir", value_name = "[SCAN=]DIR")]
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
    /// Accepted for habit's sake: weights are mapped, so there is nothing to move away.
    #[arg(long)]
    pub(crate) offload: Option<String>,
    /// Accepted for habit's sake: progress and timings are always on standard error.
    #[arg(long)]
    pub(crate) verbose: bool,
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
    /// where its config.yaml does not. May be given several times.
    #[arg(long = "features-dir", alias = "features_dir", value_name = "[SCAN=]DIR")]
    pub(crate) features_dirs: Vec<String>,
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
    /// Folder of the model, for the words of a graph that holds only token ids, as Python's .pt files do.
    #[arg(short, long)]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) thresholds: ThresholdArgs,
    /// What the page shows at first: the view (pins, groups, labels) of another graph file, or a file with a view alone.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) view: Option<PathBuf>,
    /// Write JSON that fits Neuronpedia's schema.
    #[arg(long)]
    pub(crate) neuronpedia: bool,
}

/// A model and its transcoders, for looking closer.
#[derive(clap::Args, Debug)]
pub(crate) struct ModelArgs {
    /// Model: a local folder with config.json, safetensors and tokenizer.json.
    #[arg(short, long)]
    pub(crate) model: String,
    /// Transcoder set: a local folder.
    #[arg(short, long = "transcoder-set", aliases = ["transcoder_set", "transcoders"])]
    pub(crate) transcoder_set: String,
    /// How many leading positions have neither features nor errors; the model's description knows.
    #[arg(long, alias = "ignored_positions")]
    pub(crate) ignored_positions: Option<usize>,
    /// Type of the weights.
    #[arg(long, value_enum, default_value_t = Dtype::Float32)]
    pub(crate) dtype: Dtype,
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
    /// The prompt.
    #[arg(short, long, allow_hyphen_values = true, group = "the_prompt")]
    pub(crate) prompt: Option<String>,
    /// The prompt as token ids, separated by commas.
    #[arg(long, alias = "prompt_ids", value_delimiter = ',', group = "the_prompt")]
    pub(crate) prompt_ids: Option<Vec<u32>>,
    /// A file that holds the prompt, every byte of it.
    #[arg(long, alias = "prompt_file", group = "the_prompt")]
    pub(crate) prompt_file: Option<PathBuf>,
}

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

/// `describe`.
#[derive(clap::Args, Debug)]
pub(crate) struct DescribeArgs {
    /// Model folder, transcoder folder, or graph file (.safetensors, .pt, .json).
    pub(crate) path: PathBuf,
}

/// `doctor`.
#[derive(clap::Args, Debug)]
pub(crate) struct DoctorArgs {
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
