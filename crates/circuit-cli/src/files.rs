//! Raw graphs read back, and JSON files of pruned ones: `graph-files`.

use crate::args::GraphFilesArgs;
use crate::failure::{Code, Failure};
use crate::plan;
use circuit_format::{
    GraphFileOptions, Kept, Neuronpedia, PtLimit, Slug, read_pt, read_safetensors, write_graph_files,
};
use circuit_graph::{Graph, Pruned, Thresholds, prune};
use std::path::{Path, PathBuf};

/// The most that a `.pt` may take unpacked when it is read: a guard against bombs, far above real ones.
const PT_READ_LIMIT: PtLimit = PtLimit(256 << 30);

pub(crate) fn run(args: GraphFilesArgs) -> Result<String, Failure> {
    let thresholds = plan::thresholds(args.thresholds)?;
    let slug = Slug::new(&args.slug).map_err(Failure::writing)?;
    let graph = read_raw(&args.graph)?;
    let pruned = prune(&graph, thresholds);
    let neuronpedia = args
        .neuronpedia
        .then(|| Neuronpedia { edge_threshold: Some(thresholds.edge()), ..Neuronpedia::default() });
    let path = write_json(&args.graph_file_dir, &slug, &graph, &pruned, thresholds, neuronpedia)?;
    Ok(format!("{}\n", path.display()))
}

/// A raw graph by its file's ending.
pub(crate) fn read_raw(path: &Path) -> Result<Graph, Failure> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("safetensors") => read_safetensors(path).map_err(Failure::reading),
        Some("pt") => Ok(read_pt(path, PT_READ_LIMIT).map_err(Failure::reading)?.graph),
        _ => {
            Err(Failure::new(Code::Usage, format!("{}: a raw graph is .safetensors or .pt", path.display())))
        }
    }
}

/// Writes `<slug>.json` and its entry in the listing; gives the file's path.
pub(crate) fn write_json(
    folder: &Path,
    slug: &Slug,
    graph: &Graph,
    pruned: &Pruned,
    thresholds: Thresholds,
    neuronpedia: Option<Neuronpedia>,
) -> Result<PathBuf, Failure> {
    let edges = (0..graph.rows.n_rows())
        .flat_map(|row| pruned.row(row).iter().map(move |&column| (row, column as usize)));
    let cumulative: Vec<f32> = pruned.cumulative().iter().map(|&share| share as f32).collect();
    let kept = Kept { nodes: pruned.kept(), edges, cumulative: &cumulative };
    let options = GraphFileOptions {
        slug: slug.clone(),
        scan: None,
        transcoder_list: Vec::new(),
        node_threshold: Some(thresholds.node()),
        neuronpedia,
    };
    Ok(write_graph_files(folder, graph, &kept, &options).map_err(Failure::writing)?.path)
}
