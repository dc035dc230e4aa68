//! `inspect`: the tensors of files, folders and names on the hub, by their headers alone.
//!
//! On the hub the headers are read by range: some kilobytes of each file, however large it is. Nothing is kept.

use crate::args::InspectArgs;
use crate::failure::{Code, Failure};
use crate::hub::{Finder, Place, bytes, is_tensor_file, place};
use circuit_hub::{HubError, HubFile, HubName, Snapshot};
use circuit_torch::{StoredHeader, tensor_headers};
use circuit_transcoder::SetOutline;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// A config is a page at most.
const LARGEST_CONFIG: u64 = 1 << 20;

/// A file that was looked into.
struct Inspected {
    name: String,
    size: u64,
    tensors: Vec<StoredHeader>,
}

pub(crate) fn run(args: &InspectArgs) -> Result<String, Failure> {
    let finder = Finder::new(args.offline);
    let files = match place(&args.path, "file or")? {
        Place::Local(path) => local(&path, &finder)?,
        Place::Hub(name) => on_hub(&name, &finder)?,
    };
    if files.is_empty() {
        return Err(Failure::new(Code::Input, format!("{}: no .safetensors or .npz file", args.path)));
    }
    Ok(if args.json { as_json(&files) } else { as_text(&files) })
}

fn local(path: &Path, finder: &Finder) -> Result<Vec<Inspected>, Failure> {
    if !path.is_dir() {
        return Ok(vec![local_file(path, path.display().to_string())?]);
    }
    let mut names = Vec::new();
    let mut below = vec![String::new()];
    while let Some(prefix) = below.pop() {
        let folder = path.join(&prefix);
        let bad = |e: std::io::Error| Failure::new(Code::Input, format!("{}: {e}", folder.display()));
        for entry in std::fs::read_dir(&folder).map_err(bad)? {
            let entry = entry.map_err(bad)?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            // A link to a folder may lead back here; a link to a file is how the cache keeps files.
            let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if folder && !name.starts_with('.') {
                below.push(format!("{name}/"));
            } else if !folder && is_tensor_file(&name) {
                names.push(name);
            }
        }
    }
    names.sort();
    let mut files = Vec::new();
    for name in names {
        files.push(local_file(&path.join(&name), name)?);
    }
    if path.join("config.yaml").is_file() {
        listed(&SetOutline::read(path)?, finder, &mut files)?;
    }
    Ok(files)
}

fn local_file(path: &Path, name: String) -> Result<Inspected, Failure> {
    let bad = |reason: String| Failure::new(Code::Input, format!("{}: {reason}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| bad(e.to_string()))?;
    let size = file.metadata().map_err(|e| bad(e.to_string()))?.len();
    let tensors = tensor_headers(std::io::BufReader::new(file)).map_err(bad)?;
    Ok(Inspected { name, size, tensors })
}

fn on_hub(name: &HubName, finder: &Finder) -> Result<Vec<Inspected>, Failure> {
    let snapshot = finder.snapshot(&name.repo, &name.revision())?;
    if snapshot.files.contains_key(&name.folder) {
        return Ok(vec![remote(&snapshot, &name.folder, finder, name.folder.clone())?]);
    }
    let mut files = Vec::new();
    for file in snapshot.files.keys() {
        if let Some(within) = name.within(file).filter(|within| is_tensor_file(within)) {
            files.push(remote(&snapshot, file, finder, within.to_owned())?);
        }
    }
    let config = name.file("config.yaml");
    if let Some(info) = snapshot.files.get(&config) {
        let text = finder.hub()?.read(&snapshot, &config, 0..info.size.min(LARGEST_CONFIG))?;
        let shown = format!("{}/{config}", name.repo);
        let outline = SetOutline::parse(Path::new(&shown), &String::from_utf8_lossy(&text))?;
        listed(&outline, finder, &mut files)?;
    }
    Ok(files)
}

/// The files that a set lists by their addresses.
fn listed(outline: &SetOutline, finder: &Finder, files: &mut Vec<Inspected>) -> Result<(), Failure> {
    for address in &outline.addresses {
        let file: HubFile = address.parse().map_err(HubError::from)?;
        let snapshot = finder.snapshot(&file.repo, &file.revision.clone().unwrap_or_default())?;
        files.push(remote(&snapshot, &file.path, finder, address.clone())?);
    }
    Ok(())
}

fn remote(snapshot: &Snapshot, file: &str, finder: &Finder, name: String) -> Result<Inspected, Failure> {
    let open = finder.hub()?.open(snapshot, file)?;
    let size = open.size();
    let tensors = tensor_headers(open)
        .map_err(|reason| Failure::new(Code::Input, format!("{}/{file}: {reason}", snapshot.repo)))?;
    Ok(Inspected { name, size, tensors })
}

fn as_text(files: &[Inspected]) -> String {
    let mut text = String::new();
    for file in files {
        let _ = writeln!(text, "{}  {}", file.name, bytes(file.size));
        for StoredHeader { name, dtype, shape, bytes: size } in &file.tensors {
            let _ = writeln!(text, "  {name:<44} {dtype:<5} {:<24} {}", format!("{shape:?}"), bytes(*size));
        }
    }
    let tensors: usize = files.iter().map(|file| file.tensors.len()).sum();
    let (numbers, size) = totals(files);
    let _ = writeln!(text, "{} files, {tensors} tensors, {numbers} numbers, {}", files.len(), bytes(size));
    text
}

/// Numbers in all tensors, and bytes of all files.
fn totals(files: &[Inspected]) -> (u128, u64) {
    let product =
        |shape: &[i64]| shape.iter().map(|&n| n.unsigned_abs().into()).fold(1u128, u128::saturating_mul);
    let tensors = files.iter().flat_map(|file| &file.tensors);
    (tensors.map(|tensor| product(&tensor.shape)).sum(), files.iter().map(|file| file.size).sum())
}

fn as_json(files: &[Inspected]) -> String {
    let file = |file: &Inspected| -> Value {
        let tensor =
            |t: &StoredHeader| json!({"name": t.name, "dtype": t.dtype, "shape": t.shape, "bytes": t.bytes});
        json!({
            "file": file.name,
            "bytes": file.size,
            "tensors": file.tensors.iter().map(tensor).collect::<Vec<_>>(),
        })
    };
    let (numbers, size) = totals(files);
    let numbers = u64::try_from(numbers).unwrap_or(u64::MAX);
    let value =
        json!({"files": files.iter().map(file).collect::<Vec<_>>(), "numbers": numbers, "bytes": size});
    format!("{value}\n")
}
