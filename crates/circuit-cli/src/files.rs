//! Raw graphs read back, and written as JSON files of pruned ones or in the other raw form: `graph-files`.

use crate::args::GraphFilesArgs;
use crate::failure::{Code, Failure};
use crate::hub::{Finder, Need};
use crate::open;
use crate::plan::{self, RawFile};
use crate::say::{say, say_notices};
use crate::stop::CleanStop;
use crate::{neuronpedia, view};
use circuit_format::{
    GraphFileOptions, Kept, Neuronpedia, PtGraph, PtLimit, read_pt, read_safetensors, write_graph_files,
};
use circuit_graph::{Graph, Pruned, Thresholds, prune};
use std::path::{Path, PathBuf};

/// The most that a `.pt` may take unpacked when it is read: a guard against bombs, far above real ones.
const PT_READ_LIMIT: PtLimit = PtLimit(256 << 30);

pub(crate) fn run(args: GraphFilesArgs) -> Result<String, Failure> {
    let thresholds = plan::thresholds(args.thresholds)?;
    let json = plan::json_place(args.slug.as_deref(), args.graph_file_dir.as_deref())?;
    let raw = args.output.map(|path| RawFile::new(path, args.pt_limit)).transpose()?;
    if json.is_none() && raw.is_none() {
        return Err(Failure::usage("nothing to write: give --slug with --graph-file-dir, or --output"));
    }
    let RawGraph { mut graph, words_known, transcoder_list } = read_raw(&args.graph)?;
    match &args.model {
        Some(model) => {
            let model = Finder::new(args.offline).model_part(model, Need::Tokenizer)?;
            let tokenizer = open::tokenizer(&model.folder, None)?;
            let words = graph.tokens.iter().map(|&token| tokenizer.decode_token(token));
            graph.token_strings = words.collect::<Result<_, _>>().map_err(Failure::text)?;
        }
        None if !words_known => say(format_args!(
            "warning: {} holds token ids without their words; -m MODEL brings them",
            args.graph.display()
        )),
        None => {}
    }
    let view = args.view.as_deref().map(view::read).transpose()?.unwrap_or_default();
    let _stop = CleanStop::begin()?;
    let json = json.map(|(folder, slug)| {
        let pruned = prune(&graph, thresholds);
        let neuronpedia = args
            .neuronpedia
            .then(|| Neuronpedia { edge_threshold: Some(thresholds.edge()), ..Neuronpedia::default() });
        let options = GraphFileOptions {
            slug,
            scan: None,
            transcoder_list,
            node_threshold: Some(thresholds.node()),
            view,
            neuronpedia,
        };
        write_json(&folder, &graph, (&pruned, thresholds), &options)
    });
    let raw = raw.map(|raw| raw.write(&graph));
    let written: Vec<_> = [raw, json].into_iter().flatten().collect::<Result<_, _>>()?;
    Ok(written.iter().map(|path| format!("{}\n", path.display())).collect())
}

/// A raw graph as read.
pub(crate) struct RawGraph {
    pub(crate) graph: Graph,
    /// Whether the file holds the words of its tokens.
    words_known: bool,
    /// The set of each layer, where the file names several.
    transcoder_list: Vec<String>,
}

/// A raw graph by its file's ending.
pub(crate) fn read_raw(path: &Path) -> Result<RawGraph, Failure> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("safetensors") => {
            let graph = read_safetensors(path).map_err(Failure::reading)?;
            Ok(RawGraph { graph, words_known: true, transcoder_list: Vec::new() })
        }
        Some("pt") => {
            let PtGraph { graph, token_strings_known, transcoder_list, .. } =
                read_pt(path, PT_READ_LIMIT).map_err(Failure::reading)?;
            Ok(RawGraph { graph, words_known: token_strings_known, transcoder_list })
        }
        _ => {
            Err(Failure::new(Code::Usage, format!("{}: a raw graph is .safetensors or .pt", path.display())))
        }
    }
}

/// The edges that pruning kept, and each node's cumulative share of influence, as files hold them.
pub(crate) fn kept<'a>(
    graph: &Graph,
    pruned: &'a Pruned,
) -> (impl Iterator<Item = (usize, usize)> + Clone + 'a, Vec<f32>) {
    let edges = (0..graph.rows.n_rows())
        .flat_map(move |row| pruned.row(row).iter().map(move |&column| (row, column as usize)));
    (edges, pruned.cumulative().iter().map(|&share| share as f32).collect())
}

/// Writes `<slug>.json` and its entry in the listing, and prints what is to be said about the file; gives the file's path.
pub(crate) fn write_json(
    folder: &Path,
    graph: &Graph,
    (pruned, thresholds): (&Pruned, Thresholds),
    options: &GraphFileOptions,
) -> Result<PathBuf, Failure> {
    let (edges, cumulative) = kept(graph, pruned);
    let kept = Kept { nodes: pruned.kept(), edges, cumulative: &cumulative };
    let written = write_graph_files(folder, graph, &kept, options).map_err(Failure::writing)?;
    say_notices(written.notices());
    if options.neuronpedia.is_some() {
        let size = std::fs::metadata(&written.path).map_or(0, |file| file.len());
        let limit = neuronpedia::LIMIT;
        let notice =
            neuronpedia::check_size(&written.path, graph, (pruned, thresholds), options, (size, limit))?;
        say_notices(&notice);
    }
    Ok(written.path)
}
