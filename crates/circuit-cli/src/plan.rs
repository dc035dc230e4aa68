//! From arguments to a plan: everything that can be refused before weights are read is refused here.

use crate::args::{AttributeArgs, ThresholdArgs};
use crate::failure::{Code, Failure};
use crate::hub::{Ahead, Finder, FoundModel};
use crate::open;
use crate::say::say;
use crate::serve;
use crate::view;
use circuit_format::{
    PtLimit, QParams, Slug, check_destination, check_pt_size, pt_size, read_listing, write_pt,
    write_safetensors,
};
use circuit_graph::{Graph, Thresholds};
use circuit_index::NodeLayout;
use circuit_transcoder::SetFolder;
use std::path::{Path, PathBuf};
use tch::{Device, Kind};

/// A raw graph's file.
pub(crate) enum RawFile {
    Safetensors(PathBuf),
    /// Square, so at most so large.
    Pt(PathBuf, PtLimit),
}

impl RawFile {
    /// The form that a file's ending names, in a folder that is there.
    pub(crate) fn new(path: PathBuf, pt_limit: u64) -> Result<Self, Failure> {
        let shown = path.display();
        let raw = match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => Self::Safetensors(path),
            Some("pt") => Self::Pt(path, PtLimit(pt_limit)),
            Some("json") => {
                return Err(Failure::usage(format!("{shown}: a raw graph is .safetensors or .pt"))
                    .hint("JSON files are written with --slug and --graph-file-dir"));
            }
            _ => return Err(Failure::usage(format!("{shown}: a raw graph is .safetensors or .pt"))),
        };
        check_place(raw.path())?;
        Ok(raw)
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Safetensors(path) | Self::Pt(path, _) => path,
        }
    }

    /// Refuses what will be too large before it is computed.
    pub(crate) fn check_size(&self, layout: NodeLayout) -> Result<(), Failure> {
        match self {
            Self::Safetensors(_) => Ok(()),
            Self::Pt(path, limit) => check_pt_size(path, layout, *limit).map_err(Failure::writing),
        }
    }

    /// Writes the graph; gives the file's path.
    pub(crate) fn write(&self, graph: &Graph) -> Result<PathBuf, Failure> {
        match self {
            Self::Safetensors(path) => write_safetensors(path, graph),
            Self::Pt(path, limit) => {
                say(format_args!("{}: a .pt is square, {} bytes", path.display(), pt_size(graph)));
                write_pt(path, graph, *limit)
            }
        }
        .map_err(Failure::writing)?;
        Ok(self.path().into())
    }
}

/// What `attribute` will do.
pub(crate) struct Plan {
    /// The model, which has a name where it comes from the hub. Its weights may still have to be fetched.
    pub(crate) model: FoundModel,
    /// The transcoders, likewise.
    pub(crate) transcoders: SetFolder,
    pub(crate) kind: Kind,
    pub(crate) dtype: &'static str,
    pub(crate) device: Device,
    pub(crate) thresholds: Thresholds,
    pub(crate) raw: Option<RawFile>,
    pub(crate) json: Option<(PathBuf, Slug)>,
    /// What the page shows of the JSON file at first.
    pub(crate) view: QParams,
    pub(crate) server: Option<serve::Plan>,
}

impl Plan {
    /// The plan, and what it is made for as far as that is known before weights are fetched.
    pub(crate) fn new(args: &AttributeArgs) -> Result<(Self, Ahead), Failure> {
        if !args.prompt.given() {
            return Err(open::no_prompt());
        }
        if args.batch_size == 0 || args.update_interval == 0 {
            return Err(Failure::usage("--batch-size and --update-interval must be at least 1"));
        }
        if args.batch_size.checked_mul(args.update_interval).is_none() {
            return Err(Failure::usage("--batch-size times --update-interval is no number of rows"));
        }
        if args.max_n_logits == 0 {
            return Err(Failure::usage("--max-n-logits must be at least 1"));
        }
        if !(0.0..=1.0).contains(&args.desired_logit_prob) {
            let found = args.desired_logit_prob;
            return Err(Failure::usage(format!("--desired-logit-prob is {found}, expected 0 to 1")));
        }
        let thresholds = thresholds(args.thresholds)?;
        let view = args.view.as_deref().map(view::read).transpose()?.unwrap_or_default();
        let json = json_place(args.slug.as_deref(), args.graph_file_dir.as_deref())?;
        let mut server = match (args.server, &json) {
            (false, _) => None,
            (true, Some((dir, slug))) => Some(serve::Plan::after_attribution(args, dir, slug.as_str())?),
            (true, None) => {
                return Err(Failure::usage(
                    "--server needs a graph to show: give --slug and --graph-file-dir",
                ));
            }
        };
        let raw = args.output.clone().map(|path| RawFile::new(path, args.pt_limit)).transpose()?;
        open::set_threads(args.model.threads)?;
        let device = open::device(args.model.device.as_deref())?;
        open::check_products(args.budget.products, device)?;
        let (kind, dtype) = (open::kind(args.model.dtype), args.model.dtype.name());
        // The last thing, since it may take a while.
        let finder = Finder::new(args.model.offline).strict(args.model.strict_config);
        let (model, set) = (args.model.model.as_deref(), &args.model.transcoder_set);
        let ahead = Ahead::new(finder, model, set, !args.dry_run)?;
        if let Some(server) = &mut server {
            server.show_pages_of(&ahead.set, args.model.offline)?;
        }
        let (model, transcoders) = (ahead.model.clone(), ahead.set.folder.clone());
        let plan = Self { model, transcoders, kind, dtype, device, thresholds, raw, json, view, server };
        Ok((plan, ahead))
    }
}

/// Thresholds within 0 to 1.
pub(crate) fn thresholds(args: ThresholdArgs) -> Result<Thresholds, Failure> {
    Ok(Thresholds::new(args.node_threshold, args.edge_threshold)?)
}

/// The last part of a folder's path, also of `.`.
pub(crate) fn folder_name(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.into());
    whole.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Where JSON files go, if anywhere: a folder that is there or can be made, with room for a file of the slug's name.
pub(crate) fn json_place(
    slug: Option<&str>,
    folder: Option<&Path>,
) -> Result<Option<(PathBuf, Slug)>, Failure> {
    match (slug, folder) {
        (None, None) => Ok(None),
        (Some(slug), Some(folder)) => {
            let slug = Slug::new(slug).map_err(Failure::writing)?;
            check_folder(folder)?;
            check_destination(&folder.join(format!("{slug}.json"))).map_err(Failure::writing)?;
            // A damaged list of graphs is found now and not after the work.
            read_listing(folder).map_err(Failure::writing)?;
            Ok(Some((folder.into(), slug)))
        }
        (Some(_), None) => Err(Failure::usage("--slug is given, but not --graph-file-dir")),
        (None, Some(_)) => Err(Failure::usage("--graph-file-dir is given, but not --slug")),
    }
}

/// The folder of an output must be there before hours are spent on it.
fn check_place(path: &Path) -> Result<(), Failure> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        let why = if parent.exists() { "is not a folder" } else { "does not exist" };
        return Err(Failure::new(Code::Output, format!("{}: {} {why}", path.display(), parent.display())));
    }
    check_destination(path).map_err(Failure::writing)
}

/// A folder that is there or can be made: the nearest part of its path that exists must be a folder.
fn check_folder(path: &Path) -> Result<(), Failure> {
    let nearest = path.ancestors().find(|p| !p.as_os_str().is_empty() && p.exists());
    match nearest {
        Some(part) if !part.is_dir() => {
            Err(Failure::new(Code::Output, format!("{}: {} is not a folder", path.display(), part.display())))
        }
        _ => Ok(()),
    }
}
